"""Liveness and readiness through the life of an engine; only the engine's state is made up."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from stemfirst_server.api.admission import Admission
from stemfirst_server.api.app import Slot, make_app
from stemfirst_server.api.edge import Edge
from stemfirst_server.tenants import Keys


@dataclass
class Engine:
    is_running: bool


@dataclass
class Loaded:
    engine: Engine
    admission: Admission = field(default_factory=lambda: Admission(1))


@pytest.mark.parametrize(
    ("service", "live", "ready"),
    [(None, 200, 503), (Loaded(Engine(True)), 200, 200), (Loaded(Engine(False)), 503, 503)],
    ids=["loading", "serving", "engine broken"],
)
def test_a_broken_engine_is_neither_live_nor_ready(service: Any, live: int, ready: int) -> None:
    slot = Slot()
    slot.service = service

    async def statuses() -> tuple[int, int]:
        transport = httpx.ASGITransport(make_app(slot))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            answers = [await http.get("/health"), await http.get("/health/ready")]
        return answers[0].status_code, answers[1].status_code

    assert asyncio.run(statuses()) == (live, ready)


def test_a_request_that_the_servers_end_cuts_off_is_told_so() -> None:
    sent: list[Any] = []

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def cut_off() -> None:
        edge = Edge(waits, keys=Keys(), most_body_bytes=1, most_held_bytes=1)
        scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": []}
        request = asyncio.create_task(edge(scope, receive, send))
        await asyncio.sleep(0)
        request.cancel()
        await request

    asyncio.run(cut_off())
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["error"]["code"] == "server_ending"
