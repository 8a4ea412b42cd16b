"""What is expected by the rules, beside what a real server reports for the same traffic."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from audit_recordings import ROOT, at, chat, write
from stemfirst.server_process import ServerProcess
from stemfirst_lint.audit.run import audit_files

pytestmark = pytest.mark.needs_server

DEMO_MODEL = ROOT / "server" / "stemfirst_server" / "demo_model"
TEXT = " ".join(f"Rule {n}: be kind in case {n}, and brief in case {n + 1}." for n in range(60))
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "Look something up.",
                                      "parameters": {"type": "object", "properties": {}}}}
    for name in ("search", "orders")
]  # fmt: skip


def traffic() -> Iterator[dict[str, Any]]:
    """Yield requests of an app with a clock in front, then of the same app with it behind."""
    for number in range(4):
        yield chat(f"Current time: {at(61 * number)}\n{TEXT}", f"Question {number}?", tools=TOOLS)
    turns = ["What does it cost?", "It costs 12 euros.", "And two of them?", "24 euros.", "Thanks."]
    for length in (1, 3, 5):
        yield chat(f"You are an agent.\n{TEXT}", *turns[:length], tools=TOOLS)


def sent(server: ServerProcess, body: dict[str, Any]) -> dict[str, Any]:
    """Send a request and return the line that records it."""
    body = {**body, "model": "stemfirst-demo", "max_tokens": 1}
    moment = datetime.now(UTC).isoformat()
    request = urllib.request.Request(
        f"{server.base_url}/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        response = json.load(answer)
    return {"at": moment, "base_url": server.base_url, "request": body, "response": response}


def test_the_bundled_server_reports_what_the_rules_expect(tmp_path: Path) -> None:
    with ServerProcess() as server:
        path = write(tmp_path / "served.jsonl", [sent(server, body) for body in traffic()])
    report = audit_files((str(path),), model=str(DEMO_MODEL))
    sums = report.sums
    assert sums.reported == sums.requests == 7
    assert sums.prompt_tokens == sums.reported_prompt_tokens
    assert sums.reported_cached_tokens > 1_000
    # A page of 16 tokens a request: the template's own text between the blocks is not recorded.
    assert abs(sums.expected_tokens - sums.reported_cached_tokens) <= 16 * sums.requests
    [template] = report.templates
    clock = next(one for one in template.by_loss if one.cause.name == "clock-in-prefix")
    assert clock.requests == 3
