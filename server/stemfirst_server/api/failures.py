"""Every error that a client can see, in OpenAI's shape.

    {"error": {"message": "...", "type": "invalid_request_error", "param": "...", "code": "..."}}

Knows statuses, types and codes. A message here is fit for any reader: no traceback, no path, no
text of anybody's prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse

from stemfirst_server.errors import (
    ContextLengthError,
    EngineStoppedError,
    InvalidRequestError,
    ServerError,
)


class ApiError(Exception):
    """An answer that is an error.

    Attributes:
        status: of the HTTP response.
        message: for the person who reads it.
        kind: OpenAI's `type`.
        parameter: the field at fault, or None.
        code: a word for programs, or None.
        retry_after_s: seconds after which trying again makes sense, or None.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        parameter: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.parameter = parameter
        self.code = code
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """Return the response's JSON."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.parameter,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        """Return the whole response."""
        headers = {}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(self.retry_after_s)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers=headers)


def unknown_model(asked: str, served: Sequence[str]) -> ApiError:
    """Return the answer to a model that is not served here."""
    return ApiError(
        404,
        f"The model {shortened(asked)} is not served here; served: {', '.join(served)}",
        parameter="model",
        code="model_not_found",
    )


def not_ready() -> ApiError:
    """Return the answer while the model is loading."""
    return ApiError(
        503,
        "The model is still loading; try again in a moment",
        kind="server_error",
        code="model_loading",
        retry_after_s=1,
    )


def internal_error() -> ApiError:
    """Return the answer to a fault of ours; what it was stands in the log only."""
    return ApiError(
        500, "The server failed on this request; its log says more", kind="server_error"
    )


def from_server_error(error: ServerError) -> ApiError:
    """Return the answer to what the server raised on purpose."""
    if isinstance(error, ContextLengthError):
        return ApiError(
            400,
            str(error),
            parameter=error.parameter or "messages",
            code="context_length_exceeded",
        )
    if isinstance(error, InvalidRequestError):
        return ApiError(400, str(error), parameter=error.parameter)
    if isinstance(error, EngineStoppedError):
        return ApiError(
            503,
            "The server is stopping; try again later",
            kind="server_error",
            code="server_stopping",
            retry_after_s=5,
        )
    return internal_error()


def from_validation(errors: Sequence[Any]) -> ApiError:
    """Return the answer to a body that is not JSON or not of the right shape."""
    first = errors[0]
    kind = str(first.get("type", ""))
    if kind == "json_invalid":
        return ApiError(400, "The body is not valid JSON", code="invalid_json")
    place = ".".join(str(step) for step in first.get("loc", ()) if step != "body") or None
    if kind == "missing" and place is None:
        return ApiError(400, "The body is missing: send a JSON object", code="invalid_json")
    message = str(first.get("msg", "not valid"))
    if kind != "missing":
        message += f", got {shortened(first.get('input'))}"
    return ApiError(400, f"{place or 'body'}: {message}", parameter=place)


def shortened(value: object) -> str:
    """Return a value as an error may show it: on one line, and not long."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python will print
        return "a very large number"
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= 60 else f"{text[:60]}…"
