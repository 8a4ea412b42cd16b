"""Around every request: an id, a limit on its size, the key, and one line in the log.

Knows ASGI and headers; does not know routes beyond which need a key, and never reads a body's
text. Written against ASGI itself, because wrapping streams costs what streaming saves.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from stemfirst_server.api.failures import ApiError, internal_error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("stemfirst.requests")

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Edge:
    """The outermost layer of the app.

    Args:
        app: what answers.
        api_keys: accepted keys; none means that everybody may ask.
        most_body_bytes: larger bodies are refused before they are read whole.
    """

    def __init__(self, app: ASGIApp, *, api_keys: tuple[str, ...], most_body_bytes: int) -> None:
        self._app = app
        self._api_keys = tuple(key.encode() for key in api_keys)
        self._most_body_bytes = most_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})
        scope["state"] |= {"request_id": request_id, "api_key": bearer(headers)}
        began = time.monotonic()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await refusal.response()(scope, receive, sending)
            else:
                await self._app(scope, self._bounded(receive), sending)
        except ApiError as error:
            if status:
                raise
            await error.response()(scope, receive, sending)
        except Exception:
            log.exception("%s failed", request_id)
            if not status:
                await internal_error().response()(scope, receive, sending)
        finally:
            log.info(
                "%s %s %s %s %.0f ms",
                request_id,
                scope["method"],
                scope["path"].encode("ascii", "backslashreplace").decode(),
                status or "-",
                (time.monotonic() - began) * 1000,
            )

    def _refusal(self, scope: Scope, headers: Headers) -> ApiError | None:
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._most_body_bytes:
            return self._too_large()
        if not self._api_keys or not scope["path"].startswith("/v1"):
            return None
        key = (bearer(headers) or "").encode()
        # Every key is compared, so that the time tells nothing about which one nearly fits.
        if sum(hmac.compare_digest(key, known) for known in self._api_keys):
            return None
        return ApiError(
            401,
            "The API key is missing or wrong: send it as Authorization: Bearer <key>",
            kind="authentication_error",
            code="invalid_api_key",
        )

    def _bounded(self, receive: Receive) -> Receive:
        seen = 0

        async def receiving() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._most_body_bytes:
                    raise self._too_large()
            return message

        return receiving

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"The body is larger than {self._most_body_bytes} bytes",
            code="request_too_large",
        )


def bearer(headers: Headers) -> str | None:
    """Return the key of an Authorization header, or None."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None
