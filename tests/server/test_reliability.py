"""A small server under more than it can take: it refuses, frees, and goes on.

Each test has a short form and a long one; docs/reliability.md has what the long ones gave.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import Served
from .wire import CHAT, Connection, Footprint, address, footprint, unread

ROOM = 12  # seats: 4 that run and 8 that wait
PATIENCE_S = 600.0  # a start beside other work
FLAGS = (
    *("--port", "0", "--calibration-seconds", "0", "--pool-tokens", "4096"),
    *("--max-num-seqs", "4", "--max-queued-requests", "8", "--write-timeout", "1"),
    *("--log-level", "warning"),
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with twelve seats and 256 pages."""
    served = Served(tmp_path_factory.mktemp("small"), *FLAGS)
    try:
        yield served.wait_until_ready(PATIENCE_S)
    finally:
        served.close()


def gauges(url: str) -> dict[str, float]:
    """Return all samples of /metrics, summed over labels but for `stemfirst_pages`."""
    found: Counter[str] = Counter()
    for line in httpx.get(f"{url}/metrics", timeout=60, trust_env=False).text.splitlines():
        if line.startswith("#"):
            continue
        name, _, value = line.rpartition(" ")
        plain = name.partition("{")[0]
        found[plain] += float(value)
        if plain == "stemfirst_pages":
            found[name.split('state="')[1].partition('"')[0]] += float(value)
    return dict(found)


def wait_until_idle(url: str, *, within_s: float = 30.0) -> dict[str, float]:
    """Return the metrics once nothing runs, waits or is held; fails if that never comes."""
    deadline = time.monotonic() + within_s
    while True:
        found = gauges(url)
        busy = ("held", "vllm:num_requests_running", "vllm:num_requests_waiting")
        if not any(found[name] for name in (*busy, "stemfirst_requests_admitted")):
            return found
        assert time.monotonic() < deadline, {name: found[name] for name in busy}
        time.sleep(0.05)


def said(text: str, **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0}
    return body | more


def content(reply: Any) -> str:
    text: str = reply.json()["choices"][0]["message"]["content"]
    return text


# Ten times the load.


async def overload(url: str, *, clients: int, lasting_s: float) -> Counter[int]:
    """Ask from many clients at once; each admitted answer must be the right one."""
    texts = [f"Question {number}: " + "what now? " * 20 for number in range(8)]
    alone = await Connection.open(url)
    right = {text: content(await alone.post(CHAT, said(text))) for text in texts}
    statuses: Counter[int] = Counter()
    until = time.monotonic() + lasting_s

    async def client(number: int) -> None:
        chance = random.Random(number)
        connection = await Connection.open(url)
        while time.monotonic() < until:
            text = chance.choice(texts)
            reply = await connection.post(CHAT, said(text, stream=chance.random() < 0.3))
            statuses[reply.status] += 1
            if reply.status == 429:
                assert int(reply.headers["retry-after"]) >= 1
                assert reply.json()["error"]["code"] == "queue_full"
            elif reply.headers["content-type"].startswith("text/event-stream"):
                events = reply.body.decode().removesuffix("data: [DONE]\n\n").split("\n\n")
                parts = [json.loads(event[6:])["choices"][0] for event in events if event]
                assert "".join(p["delta"].get("content", "") for p in parts) == right[text]
            else:
                assert reply.status == 200, reply.body
                assert content(reply) == right[text]
        connection.close()

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
    alone.close()
    return statuses


def check_overload(served: Served, *, lasting_s: float) -> str:
    before = footprint(served.process.pid)
    statuses = asyncio.run(overload(served.url, clients=10 * ROOM, lasting_s=lasting_s))
    assert set(statuses) == {200, 429}
    wait_until_idle(served.url)
    after = footprint(served.process.pid)
    assert after.files <= before.files + 2
    return f"{dict(statuses)} {before} {after}"


def test_ten_times_the_load_is_refused_and_what_is_admitted_is_right(small: Served) -> None:
    check_overload(small, lasting_s=2.0)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_ten_times_the_load_for_minutes(small: Served) -> None:
    print(check_overload(small, lasting_s=180.0))


# Clients that leave.


async def leave_at_random(url: str, *, times: int) -> None:
    chance = random.Random(5)
    left = iter(range(times))

    async def client() -> None:
        for number in left:
            connection = await Connection.open(url)
            body = said(
                f"{number} " + "gone " * chance.randint(1, 200),
                max_tokens=chance.choice([1, 20, 200]),
                stream=chance.random() < 0.6,
                n=chance.choice([1, 1, 2]),
            )
            # The head of a whole answer comes when it is complete, and these want to leave before.
            after = chance.choice([0, 0, 1, 200, 1000]) if body["stream"] else 0
            await connection.post_and_leave(
                CHAT, body, after_bytes=after, after_s=chance.choice([0.0, 0.02, 0.1])
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(client())


def check_leaving(served: Served, *, times: int) -> str:
    asyncio.run(leave_at_random(served.url, times=40))  # caches and pools are warm after these
    warm = wait_until_idle(served.url)
    before = footprint(served.process.pid)
    began = time.monotonic()
    asyncio.run(leave_at_random(served.url, times=times))
    took_s = time.monotonic() - began
    idle = wait_until_idle(served.url)
    after = footprint(served.process.pid)
    assert idle["stemfirst_tasks"] <= warm["stemfirst_tasks"]
    assert after.files <= before.files + 2
    assert after.threads <= before.threads + 1
    aborted = idle["vllm:request_success_total"] - warm["vllm:request_success_total"]
    return f"{times} in {took_s:.0f} s, {aborted:.0f} choices ended, {before} {after}"


def test_those_who_leave_free_everything(small: Served) -> None:
    check_leaving(small, times=120)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_thousands_who_leave_free_everything(small: Served) -> None:
    print(check_leaving(small, times=5000))


# Clients that do not read.


def read_all(connection: socket.socket) -> bytes:
    """Return what still comes until the other side ends."""
    data = b""
    with suppress(ConnectionResetError):
        while more := connection.recv(2**20):
            data = (data + more)[-1000:]
    return data


def test_a_stream_that_nobody_reads_ends_and_frees_its_seat(small: Served) -> None:
    # Eight choices of long events fill every buffer on the way within seconds.
    body = said(
        "Go on", stream=True, n=8, max_tokens=400, logprobs=True, top_logprobs=20, ignore_eos=True
    )
    with unread(small.url, CHAT, body) as connection:
        deadline = time.monotonic() + 60
        while not gauges(small.url)["stemfirst_slow_readers_total"]:
            assert time.monotonic() < deadline, "the stream was never given up"
            time.sleep(0.1)
        idle = wait_until_idle(small.url)
        assert idle["vllm:generation_tokens_total"] > 0
        connection.settimeout(10)
        assert not read_all(connection).endswith(b"0\r\n\r\n")  # cut, and seen to be cut
    assert "nobody read its answer" in small.log


def test_a_slow_reader_that_reads_gets_everything(small: Served) -> None:
    async def slowly() -> bytes:
        connection = await Connection.open(small.url)
        reply = await connection.post(CHAT, said("Go on", stream=True, max_tokens=20))
        connection.close()
        return reply.body

    assert asyncio.run(slowly()).endswith(b"data: [DONE]\n\n")


# Bodies that are attacks.


def test_a_body_of_100_mb_is_refused_early_and_leaves_no_memory(small: Served) -> None:
    before = footprint(small.process.pid).rss_mb
    pieces = (b"x" * 2**20 for _ in range(100))
    with httpx.Client(base_url=small.url, timeout=60, trust_env=False) as http:
        try:
            answer = http.post(CHAT, content=pieces)  # no content-length: told while it comes
        except httpx.TransportError:
            pass  # the server hung up before all was sent
        else:
            assert answer.status_code == 413
        declared = {"content-length": str(100 * 2**20), "content-type": "application/json"}
        with socket.create_connection(address(small.url)) as connection:
            lines = [f"POST {CHAT} HTTP/1.1", "host: test"]
            lines += [f"{name}: {value}" for name, value in declared.items()]
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 413")
        assert http.get("/health").status_code == 200
    assert footprint(small.process.pid).rss_mb < before + 80


# A long life.


async def live(url: str, *, requests: int, clients: int, seed: int, longest: int) -> Counter[str]:
    """Ask for few tokens many times, up to `longest` sentences; some leave, share, are wrong."""
    left = iter(range(requests))
    seen: Counter[str] = Counter()

    async def client(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        connection = await Connection.open(url)
        for _ in left:
            kind = chance.random()
            policy = "Refunds are paid. " * chance.randint(0, longest)
            text = f"Policy {chance.randint(0, 2400 // longest)}. {policy}"
            body = said(text, max_tokens=chance.randint(1, 4), stream=kind < 0.3)
            if kind > 0.9:
                await connection.post_and_leave(CHAT, body, after_bytes=chance.choice([0, 30]))
                connection = await Connection.open(url)
                seen["left"] += 1
                continue
            if kind > 0.87:
                body["temperature"] = -1
            reply = await connection.post(CHAT, body)
            seen[str(reply.status)] += 1
            assert reply.status in (200, 400, 429), reply.body
            if reply.status == 429:
                await asyncio.sleep(0.05)
        connection.close()

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
    return seen


def check_life(served: Served, *, requests: int, rss_mb: float, longest: int = 60) -> str:
    """Live twice: what is held at the end is what was held in the middle."""
    marks: list[tuple[dict[str, float], Footprint]] = []
    seen: Counter[str] = Counter()
    began = time.monotonic()
    for seed, share in enumerate((0.4, 0.6)):
        count = int(requests * share)
        seen += asyncio.run(live(served.url, requests=count, clients=8, seed=seed, longest=longest))
        marks.append((wait_until_idle(served.url), footprint(served.process.pid)))
    took_s = time.monotonic() - began
    (middle, before), (end, after) = marks
    evicted = end["stemfirst_evicted_pages_total"]
    story = f"{dict(seen)} in {took_s:.0f} s, {evicted:.0f} pages evicted, {before} {after}"
    print(story)
    assert end["held"] == 0
    assert end["free"] + end["cached"] == 256
    assert evicted > 0
    assert end["stemfirst_tasks"] <= middle["stemfirst_tasks"]
    assert after.threads <= before.threads
    assert after.files <= before.files + 2
    assert after.rss_mb <= before.rss_mb + rss_mb
    return story


def test_a_short_life_leaves_nothing_over(small: Served) -> None:
    # So many that code for nearly every shape is compiled before the first look at memory.
    check_life(small, requests=300, rss_mb=40)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_life_of_100_000_requests_leaves_nothing_over(start: Callable[..., Any]) -> None:
    requests = int(os.environ.get("STEMFIRST_SOAK_REQUESTS", "100000"))
    check_life(start(*FLAGS).wait_until_ready(PATIENCE_S), requests=requests, rss_mb=30, longest=10)


# Whatever the API's own description allows.


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_request_that_the_description_allows_is_a_500(
    start: Callable[..., Served], tmp_path: Path
) -> None:
    import shutil
    import subprocess

    program = shutil.which("schemathesis")
    if program is None:
        pytest.skip("schemathesis is not installed: pip install it into an environment on PATH")
    # Most bodies set no limit, and each answer then goes on to the end of the context.
    served = start(*FLAGS, "--max-model-len", "256").wait_until_ready(PATIENCE_S)
    done = subprocess.run(
        [
            *(program, "run", f"{served.url}/openapi.json", "--checks", "not_a_server_error"),
            *("--max-examples", "100", "--request-timeout", "60", "--seed", "1"),
            *("--phases", "fuzzing,coverage"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1700,
    )
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-6000:]
    wait_until_idle(served.url)
