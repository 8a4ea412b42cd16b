"""The OpenAPI document as the server is: its errors and its keys, for clients that are generated.

Knows which statuses a route can answer with, by its path and method. FastAPI's own 422 is none of
them: what does not fit a body is a 400 here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stemfirst_server.api.edge import ADMIN_ROUTES, OPEN_ROUTES, OPERATORS_ROUTES

if TYPE_CHECKING:
    from fastapi import FastAPI

_MEANINGS = {
    "400": "The request can never succeed as it stands; the message names the field",
    "401": "The key is missing or wrong",
    "403": "The route is the operator's",
    "404": "The model, or what the path names, is not here",
    "409": "A prefix reference is unknown, or a reload cannot be done now",
    "413": "The body is too large",
    "415": "The body is not sent as application/json",
    "429": "There is no room now; `Retry-After` says when to come again",
    "500": "The server failed on this request",
    "503": "The model is loading, or the server is draining or ending",
}
_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}
_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {"message": _TEXT, "type": _TEXT, "param": _MAYBE, "code": _MAYBE},
            }
        },
    },
    "AnthropicError": {
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": _TEXT, "message": _TEXT},
            },
        },
    },
}
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def describe(app: FastAPI) -> None:
    """Have the app's document tell its errors and keys."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            parts = document.setdefault("components", {})
            schemas = parts.setdefault("schemas", {})
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            schemas.update(_SCHEMAS)
            parts["securitySchemes"] = _KEYS
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    _add_errors(path, method, operation)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _add_errors(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    name = "AnthropicError" if path.startswith("/v1/messages") else "Error"
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    for status in _statuses(path, method):
        responses.setdefault(status, {"description": _MEANINGS[status], "content": content})
    if path not in OPEN_ROUTES:
        # A server without keys asks for none.
        operation["security"] = [{"bearer": []}, {"x-api-key": []}, {}]


def _statuses(path: str, method: str) -> list[str]:
    if path in OPEN_ROUTES:
        return []
    is_operators = path in OPERATORS_ROUTES or path.startswith(ADMIN_ROUTES)
    found = ["400", "403" if is_operators else "401", "404", "500", "503"]
    if method == "post":
        found += ["409", "413", "415", "429"]
    return sorted(found)
