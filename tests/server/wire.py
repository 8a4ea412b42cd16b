"""HTTP/1.1 by hand: clients that leave, do not read, or ask much, at little cost of their own."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def request_bytes(path: str, body: Any, **headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: test", "content-type: application/json"]
    lines += [f"content-length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> Connection:
        return cls(*await asyncio.open_connection(*address(url), limit=2**24))

    async def post(self, path: str, body: Any, **headers: str) -> Reply:
        """Send a request and read its whole answer, streamed or not."""
        self._writer.write(request_bytes(path, body, **headers))
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        found = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            found[name.lower()] = value.strip()
        if "content-length" in found:
            data = await self._reader.readexactly(int(found["content-length"]))
        else:
            data = b""
            while size := int(await self._reader.readline(), 16):
                data += await self._reader.readexactly(size)
                await self._reader.readexactly(2)
            await self._reader.readexactly(2)
        return Reply(int(head[0].split()[1]), found, data)

    async def post_and_leave(
        self, path: str, body: Any, *, after_bytes: int, after_s: float = 0.0, **headers: str
    ) -> None:
        """Send a request, read some of its answer, and cut the connection."""
        self._writer.write(request_bytes(path, body, **headers))
        await self._writer.drain()
        with suppress(TimeoutError):  # an answer may be shorter
            async with asyncio.timeout(2.0):
                await self._reader.readexactly(after_bytes)
        await asyncio.sleep(after_s)
        self.close()

    def close(self) -> None:
        self._writer.transport.abort()


@contextmanager
def unread(url: str, path: str, body: Any) -> Iterator[socket.socket]:
    """Send a request and read nothing of its answer."""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect(address(url))
        made.sendall(request_bytes(path, body))
        yield made


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds."""

    threads: int
    files: int
    rss_mb: float


def footprint(pid: int) -> Footprint:
    proc = Path("/proc", str(pid))
    status = dict(
        line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line
    )
    return Footprint(
        int(status["Threads"]),
        len(list((proc / "fd").iterdir())),
        int(status["VmRSS"].split()[0]) / 1024,
    )
