"""A real local HTTP server that speaks the OpenAI shape and is not ours, for tests of clients.

It records what it was sent, and answers as the test sets it up: with usage in any shape, as a
stream, cut off, late, or with an error first.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from stemfirst.references import prefix_bytes
from stemfirst.server_process import ServerProcess

OPENAI_USAGE = {
    "prompt_tokens": 2_000,
    "completion_tokens": 3,
    "total_tokens": 2_003,
    "prompt_tokens_details": {"cached_tokens": 1_536, "cache_write_tokens": 0},
}

ANTHROPIC_USAGE = {
    "input_tokens": 64,
    "cache_read_input_tokens": 1_536,
    "cache_creation_input_tokens": 400,
    "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 3,
}


@dataclass
class Seen:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Peer:
    """A server at `url`; change its fields to change its answers."""

    capabilities: dict[str, Any] | str | None = None
    """What `GET /v1/stemfirst` answers; None for 404."""
    refusal: int = 404
    """How it is refused."""
    usage: dict[str, Any] | None = field(default_factory=lambda: dict(OPENAI_USAGE))
    report: dict[str, Any] | None = None
    pieces: tuple[str, ...] = ("Hel", "lo", "!")
    deltas: tuple[dict[str, Any], ...] = ()
    """What a chat stream's chunks say instead of `pieces`."""
    cut_after: int | None = None
    """Chunks after which a stream's connection breaks."""
    ends_politely: bool = False
    """Whether a stream that is cut ends as a whole one does."""
    stalls: bool = False
    """Whether a stream stops in its middle until the reader has gone."""
    failures: list[int] = field(default_factory=list)
    """Status codes to answer the next completions with."""
    held: dict[str, dict[str, Any]] | None = None
    """Prefixes by digest, where this server takes references; a test may empty it."""
    ttl_s: float = 3600
    acknowledged: dict[str, Any] | None = None
    whole: list[dict[str, Any]] = field(default_factory=list)
    """Bodies with every reference put back."""
    seen: list[Seen] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Peer:
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                peer.seen.append(Seen("GET", self.path, _headers(self), None))
                if self.path == "/v1/stemfirst" and peer.capabilities is not None:
                    self.reply(200, peer.capabilities)
                else:
                    self.reply(peer.refusal, {"error": {"message": "Not Found"}})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                peer.seen.append(Seen("POST", self.path, _headers(self), body))
                body = peer.unfolded(body)
                if peer.failures:
                    self.reply(peer.failures.pop(0), {"error": {"message": "try again"}})
                elif body is None:
                    error = {
                        "message": "unknown",
                        "param": "stemfirst.ref",
                        "code": "prefix_unknown",
                    }
                    self.reply(409, {"error": error})
                elif body.get("stream"):
                    self.stream(body)
                elif self.path == "/v1/responses":
                    self.reply(200, peer.response(body))
                elif self.path.startswith("/v1/messages"):
                    self.reply(200, peer.message(body))
                elif self.path.startswith("/projects"):
                    self.reply(404, {"error": {"message": "no such model here"}})
                else:
                    self.reply(200, peer.completion(body))

            def reply(self, status: int, body: object) -> None:
                data = body if isinstance(body, str) else json.dumps(body)
                self.send_response(status)
                kind = "text/html" if isinstance(body, str) else "application/json"
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data.encode())))
                self.send_header("retry-after-ms", "1")
                if status == 409:
                    self.send_header("x-should-retry", "false")
                self.end_headers()
                self.wfile.write(data.encode())

            def stream(self, body: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                if self.path.startswith("/v1/messages"):
                    for event in peer.message_events(body):
                        self.chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n")
                    self.chunk("")
                    return
                is_response = self.path == "/v1/responses"
                events = peer.response_events(body) if is_response else peer.events(body)
                for count, event in enumerate(events):
                    if peer.cut_after == count:
                        if peer.stalls:
                            peer.released.wait(30)
                        if peer.ends_politely:
                            self.chunk("")
                        self.close_connection = True
                        return
                    self.chunk(f"data: {json.dumps(event)}\n\n")
                self.chunk("data: [DONE]\n\n")
                self.chunk("")

            def chunk(self, text: str) -> None:
                data = text.encode()
                try:
                    self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                except OSError:
                    self.close_connection = True

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # readers that leave early are part of the tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def posts(self) -> list[Seen]:
        """The requests that asked for something."""
        return [item for item in self.seen if item.method == "POST"]

    @property
    def probes(self) -> list[Seen]:
        """The requests that asked whether this server is ours."""
        return [item for item in self.seen if item.path == "/v1/stemfirst"]

    def unfolded(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return the body with its reference put back, None where it is unknown; keep a put."""
        field = body.get("stemfirst") or {}
        self.acknowledged = None
        if self.held is None:
            return body
        ref, put = field.get("ref"), field.get("put")
        if ref:
            prefix = self.held.get(ref["h"])
            if prefix is None:
                return None
            assert body["messages"][0] == {"role": "stemfirst", "content": ref["h"]}
            assert "tools" not in body
            body = {**body, "messages": [*prefix["messages"], *body["messages"][1:]]}
            body |= {"tools": prefix["tools"]} if prefix["tools"] else {}
        elif put:
            prefix = {"messages": body["messages"][: put["messages"]], "tools": body.get("tools")}
            data = prefix_bytes(prefix["messages"], prefix["tools"])
            assert put["n"] == len(data)
            self.held[put["h"]] = prefix
        if ref or put:
            self.acknowledged = {"h": (ref or put)["h"], "n": 1, "ttl_s": self.ttl_s}
        self.whole.append(body)
        return body

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a whole answer."""
        message = {"role": "assistant", "content": "".join(self.pieces)}
        answer: dict[str, Any] = {
            "id": "c-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }
        if self.usage is not None:
            answer["usage"] = self.usage
        if self.acknowledged:
            answer["stemfirst"] = {**(self.report or {}), "ref": self.acknowledged}
        elif self.report is not None:
            answer["stemfirst"] = self.report
        return answer

    def response(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a whole answer in the shape of the Responses API."""
        content = [{"type": "output_text", "text": "".join(self.pieces), "annotations": []}]
        return {
            "id": "r-1",
            "object": "response",
            "created_at": 1,
            "model": body["model"],
            "status": "completed",
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "output": [
                {
                    "id": "m-1",
                    "type": "message",
                    "role": "assistant",
                    "status": "completed",
                    "content": content,
                }
            ],
            "usage": {
                "input_tokens": 2_000,
                "input_tokens_details": {"cached_tokens": 1_536, "cache_write_tokens": 0},
                "output_tokens": 3,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 2_003,
            },
        }

    def message(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a whole answer in the shape of Anthropic's Messages API."""
        return {
            "id": "msg-1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "content": [{"type": "text", "text": "".join(self.pieces)}],
            "usage": dict(ANTHROPIC_USAGE),
        }

    def message_events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a stream's events in the shape of Anthropic's Messages API."""
        begun = {**self.message(body), "stop_reason": None, "content": []}
        begun["usage"] = {**ANTHROPIC_USAGE, "output_tokens": 1}
        block = {"type": "text", "text": ""}
        return [
            {"type": "message_start", "message": begun},
            {"type": "content_block_start", "index": 0, "content_block": block},
            *(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": piece},
                }
                for piece in self.pieces
            ),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 3},
            },
            {"type": "message_stop"},
        ]

    def response_events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a stream's events in the shape of the Responses API."""
        whole = self.response(body)
        begun = {**whole, "status": "in_progress", "output": [], "usage": None}
        place = {"item_id": "m-1", "output_index": 0, "content_index": 0, "logprobs": []}
        return [
            {"type": "response.created", "sequence_number": 0, "response": begun},
            *(
                {
                    "type": "response.output_text.delta",
                    "sequence_number": number,
                    "delta": piece,
                    **place,
                }
                for number, piece in enumerate(self.pieces, 1)
            ),
            {"type": "response.completed", "sequence_number": 9, "response": whole},
        ]

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a stream's chunks; the usage comes alone, and only to those who ask for it."""
        common = {"id": "c-1", "object": "chat.completion.chunk", "created": 1}
        chunks = [
            {"index": 0, "delta": delta, "finish_reason": None}
            for delta in self.deltas or [{"content": piece} for piece in self.pieces]
        ]
        chunks.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        events = [{**common, "model": body["model"], "choices": [item]} for item in chunks]
        if self.usage is not None and (body.get("stream_options") or {}).get("include_usage"):
            last = {**common, "model": body["model"], "choices": [], "usage": self.usage}
            ours = self.report
            if self.acknowledged:
                ours = {**(self.report or {}), "ref": self.acknowledged}
            events.append({**last, "stemfirst": ours} if ours else last)
        return events


def _headers(handler: BaseHTTPRequestHandler) -> dict[str, str]:
    return {name.lower(): value for name, value in handler.headers.items()}


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server that is not ours, until a test makes it say otherwise."""
    with Peer() as running:
        yield running


@pytest.fixture(scope="session")
def server(stemfirst_server: ServerProcess) -> ServerProcess:
    """The bundled server with the demo model, shared by the session."""
    return stemfirst_server
