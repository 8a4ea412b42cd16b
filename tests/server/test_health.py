"""Liveness and readiness through the life of an engine; only the engine's state is made up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from stemfirst_server.api.app import Slot, make_app


@dataclass
class Engine:
    is_running: bool


@dataclass
class Loaded:
    engine: Engine


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
