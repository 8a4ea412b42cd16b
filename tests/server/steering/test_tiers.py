"""A server with a disk behind its cache: warm after a restart, never wrong."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
    f"Rule {i}. " + f"Refunds of kind {i} are paid within {i + 3} days. " * 50 for i in range(12)
]
QUESTIONS = ["And late ones?", "Who pays the postage?", "What of gifts?"]


def first_logprob(url: str, stem: int, question: int) -> tuple[float, dict[str, int]]:
    """Return the log-probability of the first token, which wrong KV would move."""
    body = {
        "messages": [
            {"role": "system", "content": STEMS[stem]},
            {"role": "user", "content": QUESTIONS[question]},
        ],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
    }
    answer = httpx.post(url + CHAT, json=body, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    return made["choices"][0]["logprobs"]["content"][0]["logprob"], made["stemfirst"]["source"]


@pytest.mark.parametrize(
    "rounds",
    [pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(7200)])],
)
def test_a_server_killed_under_load_never_answers_from_a_wrong_kv(
    start: Callable[..., Any], tmp_path: Path, rounds: int
) -> None:
    """Kill -9 while blocks are evicted, written and read; every answer is the cold one."""
    own = (*flags(tmp_path / "kv"), "--host-cache-gib", "0.1")
    cold = start(*own, "--no-prefix-caching").wait_until_ready()
    pairs = [(stem, question) for stem in range(len(STEMS)) for question in range(len(QUESTIONS))]
    expected = {pair: first_logprob(cold.url, *pair)[0] for pair in pairs}
    tolerance = 1e-4
    others = sorted(expected.values())
    assert sum(b - a > 10 * tolerance for a, b in itertools.pairwise(others)) > len(pairs) // 2
    cold.close()
    rng = random.Random(rounds)
    answers = 0
    sources: Counter[str] = Counter()
    for turn in range(rounds + 1):
        served = start(*own).wait_until_ready()
        deadline = time.monotonic() + rng.uniform(0.5, 3.0)
        is_last = turn == rounds

        def load(
            seed: int, served: Any = served, deadline: float = deadline, turn: int = turn
        ) -> int:
            count = 0
            order = random.Random(seed)
            while time.monotonic() < deadline:
                pair = order.choice(pairs)
                try:
                    got, source = first_logprob(served.url, *pair)
                except httpx.TransportError:
                    return count  # killed
                assert got == pytest.approx(expected[pair], abs=tolerance), (turn, pair, source)
                sources.update(source)
                count += 1
            return count

        with ThreadPoolExecutor(4) as pool:
            working = [pool.submit(load, rng.randrange(10**6)) for _ in range(4)]
            while time.monotonic() < deadline - 0.2:
                time.sleep(0.01)
            if not is_last:
                served.signal(signal.SIGKILL)
            answers += sum(work.result() for work in working)
        served.ends_within(20) if not is_last else served.close()
        print(turn, answers, dict(sources), flush=True)
    assert sources["disk"] > 0
    assert answers > rounds
