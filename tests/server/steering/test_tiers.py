"""A server with a disk behind its cache: warm after a restart, never wrong."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"


def flags(folder: Path) -> tuple[str, ...]:
    return (
        "--port", "0", "--pool-tokens", "4096", "--max-model-len", "2048",
        "--calibration-seconds", "0", "--disk-cache", str(folder), "--disk-cache-gib", "0.5",
    )  # fmt: skip


def ask(url: str, policy: str, question: str = "And late ones?") -> dict[str, Any]:
    body = {
        "messages": [
            {"role": "system", "content": policy},
            {"role": "user", "content": question},
        ],
        "max_tokens": 4,
        "temperature": 0,
    }
    answer = httpx.post(url + CHAT, json=body, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def metrics(url: str) -> dict[str, float]:
    """Return our metrics by name and the labels beside the model's."""
    found = {}
    for line in httpx.get(url + "/metrics", trust_env=False).text.splitlines():
        if line.startswith("stemfirst_"):
            name, _, value = line.replace('model_name="stemfirst-demo"', "").rpartition(" ")
            name = name.removeprefix("stemfirst_").replace("{,", "{").replace("{}", "")
            found[name] = float(value)
    return found


def test_a_restarted_server_answers_from_disk(
    start: Callable[..., Any], tmp_path: Path, policy: str
) -> None:
    first = start(*flags(tmp_path / "kv")).wait_until_ready()
    before = ask(first.url, policy)
    first.signal(signal.SIGTERM)
    assert first.ends_within(60) == 0
    assert "pages of the cache were written to disk" in first.log
    second = start(*flags(tmp_path / "kv")).wait_until_ready()
    after = ask(second.url, policy)
    assert after["choices"][0]["message"] == before["choices"][0]["message"]
    report = after["stemfirst"]
    assert report["source"]["disk"] == report["cached_tokens"] > 300
    assert report["source"]["gpu"] == 0
    assert report["time"]["load"] > 0
    told = metrics(second.url)
    assert told['tier_entries{tier="disk"}'] > 0
    assert 0 < told['tier_bytes{tier="disk"}'] < told['tier_capacity_bytes{tier="disk"}'] == 2**29
    assert 0 < told['tier_bytes{tier="host"}'] <= told['tier_capacity_bytes{tier="host"}']
    read = told['tier_moved_pages_total{move="disk_to_host"}']
    assert read == told['tier_moved_pages_total{move="host_to_device"}']
    assert read * 16 == report["source"]["disk"] == told['cached_tokens_total{tier="disk"}']
    assert told["tier_is_writing"] == 1
    assert told["tier_write_failures_total"] == told["tier_dropped_files_total"] == 0


STEMS = [
    f"Rule {i}. " + f"Refunds of kind {i} are paid within {i + 3} days. " * 14 for i in range(12)
]
QUESTIONS = ["And late ones?", "Who pays the postage?", "What of gifts?"]
TOLERANCE = 1e-4
PATIENCE_S = 600.0
# The device holds two prompts of twelve, the host three, and the disk nine: files are written, read
# and removed for as long as anybody asks.
TOO_SMALL = (
    *("--pool-tokens", "512", "--max-model-len", "256"),
    *("--host-cache-gib", "0.01", "--disk-cache-gib", "0.03"),
)


def first_logprobs(url: str, stem: int, question: int) -> tuple[list[float], dict[str, int]]:
    """Return the five highest log-probabilities of the first token, and where the KV lay."""
    body = {
        "messages": [
            {"role": "system", "content": STEMS[stem]},
            {"role": "user", "content": QUESTIONS[question]},
        ],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 5,
    }
    answer = httpx.post(url + CHAT, json=body, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    top = made["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return [each["logprob"] for each in top], made["stemfirst"]["source"]


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_server_killed_under_load_never_answers_from_a_wrong_kv(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    """Kill -9 while blocks are evicted, written and read; every answer is the cold one."""
    kills = int(os.environ.get("STEMFIRST_KILLS", "100"))
    folder = tmp_path / "kv"
    own = (*flags(folder), *TOO_SMALL)
    cold = start(*own, "--no-prefix-caching").wait_until_ready(PATIENCE_S)
    pairs = [(stem, question) for stem in range(len(STEMS)) for question in range(len(QUESTIONS))]
    expected = {pair: first_logprobs(cold.url, *pair)[0] for pair in pairs}
    others = sorted(values[0] for values in expected.values())
    assert sum(b - a > 10 * TOLERANCE for a, b in itertools.pairwise(others)) > len(pairs) // 2
    cold.close()
    rng = random.Random(kills)
    counted: Counter[str] = Counter()

    def load(url: str, seed: int) -> None:
        """Ask until the server is gone."""
        order = random.Random(seed)
        with suppress(httpx.TransportError):
            while True:
                pair = order.choice(pairs)
                values, source = first_logprobs(url, *pair)
                assert values == pytest.approx(expected[pair], abs=TOLERANCE), (pair, source)
                counted.update(source)
                counted["answers"] += 1

    def watch(url: str) -> Counter[str]:
        """Return what the tiers had moved when they were last heard of."""
        told: dict[str, float] = {}
        with suppress(httpx.TransportError):
            while True:
                told = metrics(url)
                time.sleep(0.05)
        moved = Counter({name: int(n) for name, n in told.items() if "tier_moved" in name})
        moved["dropped files"] = int(told.get("tier_dropped_files_total", 0))
        return moved

    for kill in range(kills):
        served = start(*own).wait_until_ready(PATIENCE_S)
        with ThreadPoolExecutor(5) as pool:
            working = [pool.submit(load, served.url, rng.randrange(10**6)) for _ in range(4)]
            watching = pool.submit(watch, served.url)
            # After some answers, however busy the machine is, and then at any moment.
            enough, deadline = counted["answers"] + rng.randint(1, 8), time.monotonic() + 60
            while counted["answers"] < enough and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.5))
            served.signal(signal.SIGKILL)
            for work in working:
                work.result()
            counted.update(watching.result())
        served.ends_within(20)
        counted["kills in the middle of a file"] += len(list(folder.glob("*/*.part")))
        print(kill + 1, dict(counted), flush=True)
    last = start(*own).wait_until_ready(PATIENCE_S)
    for pair in pairs:
        assert first_logprobs(last.url, *pair)[0] == pytest.approx(expected[pair], abs=TOLERANCE)
    assert not list(folder.glob("*/*.part")), "what was half written is cleared away"
    assert counted["answers"] > kills
    assert counted["disk"] > 0
    assert counted['tier_moved_pages_total{move="host_to_disk"}'] > kills
    # A file is renamed to its place when it is whole, so a kill leaves none that is broken.
    assert counted["dropped files"] == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB, which is full after two prompts."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("no right to mount a file system here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_full_disk_stops_writing_and_nothing_else(
    start: Callable[..., Any], tiny_disk: Path
) -> None:
    """The disk says that it is full long before the cache's own bound is reached."""
    own = (*flags(tiny_disk / "kv"), *TOO_SMALL)
    served = start(*own).wait_until_ready(PATIENCE_S)
    cold = {stem: first_logprobs(served.url, stem, 0)[0] for stem in range(len(STEMS))}
    deadline = time.monotonic() + 60
    while not metrics(served.url)["tier_write_failures_total"]:
        assert time.monotonic() < deadline, "the disk was never full"
        time.sleep(0.05)
    assert metrics(served.url)["tier_is_writing"] == 0
    assert "the disk cache takes no more" in served.log
    assert "No space left on device" in served.log
    for stem in reversed(range(len(STEMS))):
        assert first_logprobs(served.url, stem, 0)[0] == pytest.approx(cold[stem], abs=TOLERANCE)
    assert not list(tiny_disk.glob("*/*/*.part")), "what was half written is removed"
    served.signal(signal.SIGTERM)
    assert served.ends_within(120) == 0
    assert "Traceback" not in served.log
    # What fitted is whole, and found.
    again = start(*own).wait_until_ready(PATIENCE_S)
    sources: Counter[str] = Counter()
    for stem in range(len(STEMS)):
        values, source = first_logprobs(again.url, stem, 0)
        assert values == pytest.approx(cold[stem], abs=TOLERANCE)
        sources.update(source)
    assert sources["disk"] > 0
    assert metrics(again.url)["tier_dropped_files_total"] == 0
    again.close()
