"""Every error that a client can see, in OpenAI's shape.

    {"error": {"message": "...", "type": "invalid_request_error", "param": "...", "code": "..."}}

Knows statuses, types and codes. A message here is fit for any reader: no traceback, no path, no
text of anybody's prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.exceptions import HTTPException

from stemfirst_server.api.encoding import Answered
from stemfirst_server.errors import (
    ContextLengthError,
    DrainingError,
    EngineStoppedError,
    FormatFailedError,
    InvalidRequestError,
    OverloadedError,
    PrefixUnknownError,
    ServerError,
)


class ApiError(HTTPException):
    """An answer that is an error; the kind of exception that FastAPI lets pass while it reads.

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
        super().__init__(status, message)
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

    def response(self, path: str) -> Answered:
        """Return the whole response, in the shape that clients of the route at `path` read."""
        headers = {}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(self.retry_after_s)
        if self.status == 409:
            # Clients of OpenAI's repeat a 409 as it is, which cannot help here.
            headers["x-should-retry"] = "false"
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        body = anthropic_body(self) if path.startswith("/v1/messages") else self.body()
        return Answered(body, self.status, headers=headers)


_ANTHROPIC_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}


def anthropic_body(error: ApiError) -> dict[str, Any]:
    """Return an error's JSON in Anthropic's shape; a field at fault is named in the message."""
    kind = "api_error" if error.status >= 500 else "invalid_request_error"
    kind = _ANTHROPIC_KINDS.get(error.status, kind)
    return {"type": "error", "error": {"type": kind, "message": error.message}}


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


def ending() -> ApiError:
    """Return the answer to a request that the end of the server cuts off."""
    return ApiError(
        503,
        "The server is ending and did not finish this request; ask another one",
        kind="server_error",
        code="server_ending",
    )


def left() -> ApiError:
    """Return the answer that nobody reads: its client left. The status is nginx's, for the log."""
    return ApiError(499, "The client left before this was answered", code="client_left")


def wrong_key() -> ApiError:
    """Return the answer to a key that is nobody's."""
    return ApiError(
        401,
        "The API key is missing or wrong: send it as Authorization: Bearer <key> or x-api-key",
        kind="authentication_error",
        code="invalid_api_key",
    )


def not_an_operator() -> ApiError:
    """Return the answer to a tenant, or nobody, on an operator's route."""
    return ApiError(
        403,
        "This route is the operator's: send the key of --admin-key as Authorization: Bearer <key>; "
        "a server without keys takes it from programs of its own machine only",
        kind="permission_error",
        code="admin_key_needed",
    )


def nested_too_deep() -> ApiError:
    """Return the answer to JSON whose nesting exceeds what a program can follow."""
    return ApiError(
        400, "The body is nested too deeply: flatten its tools or content", code="nested_too_deeply"
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
    if isinstance(error, PrefixUnknownError):
        return ApiError(409, str(error), parameter=error.parameter, code="prefix_unknown")
    if isinstance(error, FormatFailedError):
        return ApiError(
            400, f"{str(error)[:1].upper()}{str(error)[1:]}", code="format_cannot_be_followed"
        )
    if isinstance(error, InvalidRequestError):
        return ApiError(400, str(error), parameter=error.parameter)
    if isinstance(error, OverloadedError):
        return ApiError(
            429,
            str(error),
            kind="rate_limit_error",
            code=error.reason,
            retry_after_s=error.retry_after_s,
        )
    if isinstance(error, DrainingError):
        return ApiError(
            503, str(error), kind="server_error", code="server_draining", retry_after_s=5
        )
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
    first = _nearest(errors)
    kind = str(first.get("type", ""))
    if kind == "json_invalid":
        return ApiError(400, "The body is not valid JSON", code="invalid_json")
    steps = [str(step) for step in first.get("loc", ()) if step != "body"]
    place = ".".join(step for step in steps if not _is_type(step)) or None
    if kind == "missing" and place is None:
        return ApiError(400, "The body is missing: send a JSON object", code="invalid_json")
    if place is None and isinstance(first.get("input"), bytes):
        return ApiError(
            415,
            "The body is read as JSON only under its own type: send the header "
            "content-type: application/json",
            code="unsupported_content_type",
        )
    message = str(first.get("msg", "not valid"))
    if kind != "missing":
        message += f", got {shortened(first.get('input'))}"
    return ApiError(400, f"{place or 'body'}: {message}", parameter=place)


def _nearest(errors: Sequence[Any]) -> Any:
    """Return the error to tell: of a field that may be of several types, in the one that was meant.

    That is the one which was read furthest before something did not fit.
    """
    places = [tuple(error.get("loc", ())) for error in errors]
    field = places[0][:2]
    first_of_type: dict[str, int] = {}
    for index, place in enumerate(places):
        if place[:2] == field and len(place) > 2 and _is_type(str(place[2])):
            first_of_type.setdefault(str(place[2]), index)

    def how_far(index: int) -> tuple[int, ...]:
        return tuple(step for step in places[index] if isinstance(step, int))

    return errors[max(first_of_type.values(), key=how_far, default=0)]


def _is_type(step: str) -> bool:
    """Whether a step of a place names one of several types, which no client sent."""
    return step in ("str", "int", "float", "bool") or "[" in step


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
