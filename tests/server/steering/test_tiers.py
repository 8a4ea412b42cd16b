"""A server with a disk behind its cache: warm after a restart, never wrong."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

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
