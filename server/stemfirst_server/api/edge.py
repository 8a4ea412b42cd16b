"""Around every request: an id, a limit on its size, the key, and one line in the log.

Knows ASGI and headers; does not know routes beyond which need a key, and never reads a body's
text. Written against ASGI itself, because wrapping streams costs what streaming saves.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from stemfirst_server.api import failures
from stemfirst_server.api.failures import ApiError
from stemfirst_server.errors import OverloadedError
from stemfirst_server.logs import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from stemfirst_server.tenants import Keys

log = logging.getLogger("stemfirst.requests")

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


OPERATORS_ROUTES = frozenset({"/metrics", "/v1/savings/tenants"})
"""Routes that tell of all tenants."""


ADMIN_ROUTES = "/v1/admin/"
"""Routes that change what all tenants meet."""


OPEN_ROUTES = frozenset({"/health", "/health/ready", "/ready"})
"""Routes that need no key; every other one is a tenant's."""


_FOR_OTHERS = frozenset({"forwarded", "x-real-ip", "via"})
"""Headers of proxies, as is all that begins with `x-forwarded-`."""


class _SlowReaderError(Exception):
    """The client reads nothing; its connection is of no more use."""


@dataclass(slots=True)
class _Held:
    """Bytes of one request's body that were read."""

    nbytes: int = 0


class Edge:
    """The outermost layer of the app.

    Args:
        app: what answers.
        keys: who may ask, and whose request it is.
        write_timeout_s: a client that reads nothing for so long is let go.
        on_slow: told when one is.
        on_refused: told when a body finds no room, with the reason.
        most_body_bytes: larger bodies are refused before they are read whole.
        most_held_bytes: bodies of all requests under way together.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        most_body_bytes: int,
        most_held_bytes: int,
        write_timeout_s: float = 60.0,
        on_slow: Callable[[], None] = lambda: None,
        on_refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._app = app
        self._keys = keys
        self._most_body_bytes = most_body_bytes
        self._most_held_bytes = most_held_bytes
        self._held_bytes = 0
        self._write_timeout_s = write_timeout_s
        self._on_slow = on_slow
        self._on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})
        key = key_of(headers)
        scope["state"] |= {"request_id": request_id, "api_key": key}
        held = _Held()
        began = time.monotonic()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = MutableHeaders(scope=message)
                told["x-request-id"] = request_id
                if scope["path"].startswith("/v1/messages"):
                    told["request-id"] = request_id  # where Anthropic's clients look
            try:
                async with asyncio.timeout(self._write_timeout_s):
                    await send(message)
            except TimeoutError:
                raise _SlowReaderError from None

        try:
            self._admit(scope, headers, key)
            await self._app(scope, self._bounded(receive, held), sending)
        except ApiError as error:
            if status:
                raise
            await error.response(scope["path"])(scope, receive, sending)
        except asyncio.CancelledError:
            # The process is told to end now; uvicorn would log this as a fault, and send a 500.
            if not status:
                await failures.ending().response(scope["path"])(scope, receive, sending)
        except _SlowReaderError:
            log.warning("%s: nobody read its answer, so it was ended", request_id)
            self._on_slow()
            _cut(send)
        except Exception:
            log.exception("%s failed", request_id)
            if not status:
                await failures.internal_error().response(scope["path"])(scope, receive, sending)
        finally:
            self._held_bytes -= held.nbytes
            _log_line(scope, status, (time.monotonic() - began) * 1000)

    def _admit(self, scope: Scope, headers: Headers, key: str | None) -> None:
        """Refuse a request by its head alone, or note whose it is.

        Raises:
            ApiError: it is too large, or its key does not open this route.
        """
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._most_body_bytes:
            raise self._too_large()
        path = scope["path"]
        if path in OPERATORS_ROUTES or path.startswith(ADMIN_ROUTES):
            if not self._is_operator(scope, key):
                raise failures.not_an_operator()
        elif path not in OPEN_ROUTES:
            tenant = self._keys.tenant(key)
            if tenant is None:
                raise failures.wrong_key()
            scope["state"]["tenant"] = tenant

    def _is_operator(self, scope: Scope, key: str | None) -> bool:
        if self._keys.guards_operations:
            return self._keys.is_admin(key)
        # Without any key everybody may look, and who sits at this machine may act.
        return not scope["path"].startswith(ADMIN_ROUTES) or _is_here(scope)

    def _bounded(self, receive: Receive, held: _Held) -> Receive:
        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                more = len(message.get("body", b""))
                held.nbytes += more
                self._held_bytes += more
                if held.nbytes > self._most_body_bytes:
                    raise self._too_large()
                if self._held_bytes > self._most_held_bytes:
                    full = OverloadedError(
                        "the requests under way are too large together; try again later",
                        reason="bodies_too_large",
                        retry_after_s=1,
                    )
                    self._on_refused(full.reason)
                    # The app reads this body, and lets pass what is an `ApiError` already.
                    raise failures.from_server_error(full)
            return message

        return receiving

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"The body is larger than {self._most_body_bytes} bytes",
            code="request_too_large",
        )


def _log_line(scope: Scope, status: int, ms: float) -> None:
    state = scope["state"]
    path = scope["path"].encode("ascii", "backslashreplace").decode()
    fields = {
        "request_id": state["request_id"],
        "method": scope["method"],
        "path": path,
        "status": status or None,
        "ms": round(ms, 1),
    }
    tenant = state.get("tenant")
    if tenant is not None and tenant.name:
        fields["tenant"] = tenant.name
    fields |= state.get("account", {})
    log.info(
        "%s %s %s %s %.0f ms",
        state["request_id"],
        scope["method"],
        path,
        status or "-",
        ms,
        extra={FIELDS: fields},
    )


def _cut(send: Send) -> None:
    """End the connection with what was not read of it.

    ASGI has no word for that, and closing in order would wait for the reader. uvicorn's `send` is
    a method of the object that holds the transport; another server's is left to its own limits.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()


def key_of(headers: Headers) -> str | None:
    """Return the key of a request, as OpenAI's or Anthropic's clients send it, or None."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key", "").strip() or None


def _is_here(scope: Scope) -> bool:
    """Whether a program of this machine asks, for nobody else and by no page in a browser."""
    client, headers = scope.get("client"), Headers(scope=scope)
    if client is None or not _is_loopback(client[0]):
        return False
    if any(name in _FOR_OTHERS or name.startswith("x-forwarded-") for name in headers):
        return False
    # A page of another site may send a body-less POST; one whose own name leads to this machine
    # is of the same site, and is told by that name. A proxy that adds no header often is too.
    host = headers.get("host", "")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    try:
        asked = urlsplit(f"//{host}").hostname or ""
        is_own_page = urlsplit(headers.get("origin", f"//{host}")).netloc == host
    except ValueError:
        return False
    return is_own_page and (asked == "localhost" or _is_loopback(asked))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
