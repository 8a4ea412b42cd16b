"""What goes wrong in one part of the server is not somebody else's loss."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from stemfirst_server.api.app import Slot, make_app
from stemfirst_server.api.service import Service

CHAT = "/v1/chat/completions"
PREFIXES = "/v1/prefixes"

Ask = Callable[..., httpx.Response]


def asking(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 2}


@pytest.mark.parametrize("part", ["metrics", "sums", "prefixes"])
def test_a_fault_in_the_books_is_logged_and_the_answer_arrives(
    part: str,
    service: Service,
    inside: Ask,
    policy: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def breaks(*values: Any, **named: Any) -> None:
        raise RuntimeError("the books are burning")

    name = {"metrics": "finished", "sums": "add", "prefixes": "add"}[part]
    monkeypatch.setattr(getattr(service, part), name, breaks)
    body = asking(policy) | {"stemfirst": {"ttl_s": 60}}
    assert inside("POST", CHAT, json=body).status_code == 200
    assert service.admission.taken == 0
    assert service.admission.taken == 0
    service.engine.check()  # after the step in which it ended
    assert service._shadows._active == 0
    assert "the books are burning" in caplog.text


@contextmanager
def held(service: Service) -> Iterator[None]:
    """Hold the engine's thread between two steps."""
    goes_on = threading.Event()
    service.engine._soon(lambda: goes_on.wait(60))
    try:
        yield
    finally:
        goes_on.set()


def leave(service: Service, path: str, body: dict[str, Any]) -> int:
    """Ask, leave before the engine has looked at it, and return the answer's status."""
    slot = Slot()
    slot.service = service
    app = make_app(slot)
    raw = json.dumps(body).encode()
    coming = [{"type": "http.request", "body": raw}, {"type": "http.disconnect"}]
    sent: list[Any] = []
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": b"", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        "scheme": "http", "http_version": "1.1", "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")],
    }  # fmt: skip

    async def receive() -> Any:
        return coming.pop(0) if coming else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def leaving() -> None:
        with held(service):
            asked = asyncio.create_task(app(scope, receive, send))
            while coming and not asked.done():
                await asyncio.sleep(0)
            await asyncio.sleep(0)  # and the request is ended
        await asyncio.wait_for(asked, 60)

    asyncio.run(leaving())
    status: int = sent[0]["status"]
    return status


def registration(policy: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": policy}], "ttl_s": 600, **more}


@pytest.mark.parametrize("pin", [True, False], ids=["pinned again", "not pinned any more"])
def test_a_repeat_that_fails_leaves_the_registration_as_it_was(
    service: Service, inside: Ask, policy: str, pin: bool
) -> None:
    made = inside("POST", PREFIXES, json=registration(policy)).json()
    own = f"{PREFIXES}/{made['id']}"
    before = inside("GET", own).json()
    repeat = registration(policy, ttl_s=9000, name="again", pin=pin)
    assert leave(service, PREFIXES, repeat) == 499
    assert inside("GET", own).json() == before
    assert before["is_pinned"]
    service.prefixes.check()


def test_a_renewal_that_fails_shows_no_other_end(
    service: Service, inside: Ask, policy: str
) -> None:
    made = inside("POST", PREFIXES, json=registration(policy)).json()
    own = f"{PREFIXES}/{made['id']}"
    before = inside("GET", own).json()
    assert leave(service, f"{own}/renew", {"ttl_s": 9000}) == 499
    assert inside("GET", own).json() == before
    assert inside("POST", f"{own}/renew", json={"ttl_s": 9000}).json()["expires_s"] > (
        before["expires_s"] + 8000
    )


def test_a_first_registration_that_fails_leaves_nothing(
    service: Service, inside: Ask, policy: str
) -> None:
    before = inside("GET", PREFIXES).json()
    assert leave(service, PREFIXES, registration(policy)) == 499
    assert inside("GET", PREFIXES).json() == before


def test_a_body_that_finds_no_room_is_counted(service: Service, policy: str) -> None:
    slot = Slot()
    slot.service = service
    app = make_app(slot, most_held_bytes=100)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await http.post(CHAT, json=asking(policy))

    answer = asyncio.run(ask())
    assert answer.status_code == 429
    assert "too large together" in answer.json()["error"]["message"]
    assert re.search(
        r'stemfirst_refused_requests_total\{[^}]*"bodies_too_large"\} [1-9]',
        service.metrics.exposition().decode(),
    )


def test_weights_that_cannot_be_loaded_again_are_no_load_under_way(
    service: Service, inside: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "reload_weights", None)
    answer = inside("POST", "/v1/admin/reload")
    assert answer.status_code == 501
    assert "under_way" not in answer.text
    monkeypatch.setattr(service, "reload_weights", lambda: 0)
    monkeypatch.setattr(service, "is_reloading", True)
    answer = inside("POST", "/v1/admin/reload")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "reload_under_way"


def test_a_server_that_drains_tokenises_no_prefix(
    service: Service, inside: Ask, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_prompt(*values: Any) -> None:
        raise AssertionError("it was tokenised")

    made = inside("POST", PREFIXES, json=registration(policy)).json()
    monkeypatch.setattr(service, "chat_prompt", no_prompt)
    service.admission.drain()
    try:
        assert inside("POST", PREFIXES, json=registration(policy)).status_code == 503
    finally:
        service.admission.resume()
    assert inside("GET", f"{PREFIXES}/{made['id']}").json()["is_pinned"]
