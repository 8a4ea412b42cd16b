"""One streamed request, timed: HTTP/1.1 and server-sent events over a kept connection.

By hand, because a client library's own time would be part of each figure: this costs tens of
microseconds a chunk. Knows OpenAI's chat route and what any server of it says of usage.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from stemfirst.errors import StemfirstError
from stemfirst.usage import NOTHING, Usage, usage_of

_MOST_LINE_BYTES = 2**24


class EndpointError(StemfirstError):
    """The endpoint's address makes no sense."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request.

    Attributes:
        began_s: when it was sent, from the start of the run.
        error: what went wrong, in a few words: a status or a fault of the connection; or None.
        ttft_s: until the first text; None without any.
        e2e_s: until the end.
        usage: tokens, as the server counts them.
        saved_ms: prefill that the server estimates a hit avoided; None where it says nothing.
        saved_money: the same in the server's currency.
        currency: its name; None where the server says none.
        text: the answer.
    """

    began_s: float
    error: str | None = None
    ttft_s: float | None = None
    e2e_s: float = 0.0
    usage: Usage = NOTHING
    saved_ms: float | None = None
    saved_money: float | None = None
    currency: str | None = None
    text: str = ""

    @property
    def tpot_s(self) -> float | None:
        """Time for each output token behind the first; None with fewer than two."""
        count = self.usage.output_tokens
        if self.ttft_s is None or count is None or count < 2:
            return None
        return (self.e2e_s - self.ttft_s) / (count - 1)


class Endpoint:
    """An OpenAI-compatible server, such as `http://127.0.0.1:8000/v1`.

    Raises:
        EndpointError: the address is none.
    """

    def __init__(self, base_url: str, *, api_key: str | None, timeout_s: float) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EndpointError(
                f"the address must be like http://127.0.0.1:8000/v1, got {base_url!r}"
            )
        self._host = parts.hostname
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._root = parts.path.rstrip("/")
        self._headers = [f"host: {parts.netloc.rpartition('@')[2]}", "accept: */*"]
        if api_key:
            self._headers.append(f"authorization: Bearer {api_key}")
        self._timeout_s = timeout_s
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def first_model(self) -> str:
        """Return the first model that the server lists.

        Raises:
            EndpointError: it lists none, wants another key, or is not there.
        """
        status = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                status, body = await self._whole("GET", "/models", b"")
            found = json.loads(body)["data"][0]["id"]
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise EndpointError(f"nobody answers at {self._host}:{self._port}: {error}") from error
        except (ValueError, LookupError, TypeError) as error:
            remedy = {
                401: "it wants a key: --api-key, or OPENAI_API_KEY",
                403: "it wants another key: --api-key, or OPENAI_API_KEY",
                404: f"does the address end in /v1? It is {self._root or 'without a path'} now",
            }.get(status, "name one with --model")
            raise EndpointError(
                f"the server lists no models (status {status}): {remedy}"
            ) from error
        return str(found)

    async def ask(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        model: str,
        output_tokens: int,
        started_at: float,
        extra: Mapping[str, Any],
    ) -> Outcome:
        """Ask for a streamed answer; what fails is an outcome too."""
        body = {
            "model": model,
            "messages": messages,
            "max_tokens": output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **extra,
        }
        data = json.dumps(body).encode()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._timed(data, began, began - started_at)
        except TimeoutError:
            error = f"no end within {self._timeout_s:g} s"
        except (OSError, ValueError, asyncio.IncompleteReadError) as fault:
            error = type(fault).__name__
        return Outcome(began - started_at, error=error, e2e_s=time.perf_counter() - began)

    def close(self) -> None:
        """Let the connections go."""
        for _, writer in self._idle:
            writer.transport.abort()
        self._idle.clear()

    async def _timed(self, data: bytes, began: float, began_s: float) -> Outcome:
        reader, writer = await self._connection()
        try:
            writer.write(self._head("POST", "/chat/completions", len(data)) + data)
            status, chunks = await _answer(reader)
            if status != 200:
                text = b"".join([chunk async for chunk in chunks]).decode("utf-8", "replace")
                self._idle.append((reader, writer))
                return Outcome(began_s, f"status {status}: {_message(text)}"[:120])
            first: float | None = None
            pieces: list[str] = []
            usage, report = NOTHING, None
            error = None
            async for event in _events(chunks):
                for choice in event.get("choices") or ():
                    delta = choice.get("delta") or {}
                    text = delta.get("content") or delta.get("reasoning_content") or ""
                    if text or delta.get("tool_calls"):
                        first = first or time.perf_counter()
                        pieces.append(text)
                if event.get("usage"):
                    usage = usage_of(event["usage"])
                report = event.get("stemfirst") or report
                if event.get("error"):
                    error = str(event["error"])[:120]
            ended = time.perf_counter()
        except BaseException:
            writer.transport.abort()
            raise
        self._idle.append((reader, writer))
        saved = ((report or {}).get("time") or {}).get("prefill_ms_saved") or {}
        cost = (report or {}).get("cost") or {}
        return Outcome(
            began_s,
            error,
            None if first is None else first - began,
            ended - began,
            usage,
            saved.get("est"),
            cost.get("saved"),
            cost.get("currency"),
            "".join(pieces),
        )

    async def _whole(self, method: str, path: str, data: bytes) -> tuple[int, bytes]:
        reader, writer = await self._connection()
        writer.write(self._head(method, path, len(data)) + data)
        status, chunks = await _answer(reader)
        body = b"".join([chunk async for chunk in chunks])
        self._idle.append((reader, writer))
        return status, body

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
        tls = ssl.create_default_context() if self._is_tls else None
        return await asyncio.open_connection(
            self._host, self._port, ssl=tls, limit=_MOST_LINE_BYTES
        )

    def _head(self, method: str, path: str, length: int) -> bytes:
        lines = [f"{method} {self._root}{path} HTTP/1.1", *self._headers]
        lines += ["content-type: application/json", f"content-length: {length}"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def _answer(reader: asyncio.StreamReader) -> tuple[int, AsyncIterator[bytes]]:
    """Return the status and the body as it comes."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip().lower()
    status = int(head[0].split()[1])
    if headers.get("transfer-encoding") == "chunked":
        return status, _chunked(reader)
    return status, _sized(reader, int(headers.get("content-length", "0")))


async def _sized(reader: asyncio.StreamReader, length: int) -> AsyncIterator[bytes]:
    yield await reader.readexactly(length)


async def _chunked(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        data = await reader.readexactly(size + 2)
        if size == 0:
            return
        yield data[:-2]


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    held = b""
    async for chunk in chunks:
        held += chunk.replace(b"\r\n", b"\n")
        while (end := held.find(b"\n\n")) >= 0:
            block, held = held[:end], held[end + 2 :]
            for line in block.split(b"\n"):
                if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                    event = json.loads(line[5:])
                    if isinstance(event, dict):
                        yield event


def _message(text: str) -> str:
    try:
        error = json.loads(text)["error"]
        return str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError):
        return text
