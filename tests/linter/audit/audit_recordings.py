"""Recordings with a known truth: requests as apps would send them, written as JSON Lines."""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
APP = ROOT / "examples" / "support_agent"
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

_SUBJECTS = """
price weight colour origin warranty return carrier customs packaging invoice discount address
season stock repair recall voucher member gift insurance battery fabric size label store route
delay damage theft refund credit card bank tax receipt photo zip sole seam pole peg rope helmet
stove lamp map compass boot sock glove hood cap belt strap
"""
POLICY = "\n".join(
    f"- Rule {name}: the agent must consider the {name} of every order before it answers, and "
    f"it names the {name} to the customer only where the policy on {name} grants that."
    for name in _SUBJECTS.split()
)
"""About 2,000 tokens of stable text."""


def at(seconds: float) -> str:
    """Return a time of the recording."""
    return (START + timedelta(seconds=seconds)).isoformat()


def chat(system: str, *turns: str, model: str = "gpt-4o", **more: Any) -> dict[str, Any]:
    """Return a chat request: a system message, then turns of user and assistant."""
    messages = [{"role": "system", "content": system}] if system else []
    for index, turn in enumerate(turns):
        messages.append({"role": "assistant" if index % 2 else "user", "content": turn})
    return {"model": model, "messages": messages, **more}


def record(request: dict[str, Any], seconds: float | None = 0, **more: Any) -> dict[str, Any]:
    """Return one line of a recording."""
    return {"v": 1, **({} if seconds is None else {"at": at(seconds)}), "request": request, **more}


def write(path: Path, records: Iterable[Any]) -> Path:
    """Write a recording, gzipped where the name says so."""
    lines = (item if isinstance(item, str) else json.dumps(item) for item in records)
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def example_app() -> Any:
    """Return the example app's module of prompts, as it is on disk."""
    spec = importlib.util.spec_from_file_location("example_prompts", APP / "prompts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def support_agent(model: str = "gpt-4o", seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the example's recorded conversations as the requests that its agent sends."""
    prompts = example_app()
    story = json.loads((APP / "recording.json").read_text(encoding="utf-8"))
    clock = random.Random(seed)
    seconds = 0.0
    for conversation in story["conversations"]:
        customer = conversation["customer"]
        history: list[dict[str, Any]] = []
        for turn in conversation["turns"]:
            history.append({"role": "user", "content": turn["question"]})
            for number, step in enumerate(turn["steps"]):
                seconds += clock.uniform(2, 9)
                system = prompts.SYSTEM_PROMPT.format(
                    now=at(seconds),
                    profile=", ".join(customer.values()),
                    tool_names="look_up_order, check_stock",
                    articles="\n".join(f"- {article}" for article in turn["articles"]),
                )
                messages = [{"role": "system", "content": system}, *history]
                yield record({"model": model, "messages": list(messages)}, seconds)
                if "reply" in step:
                    history.append({"role": "assistant", "content": step["reply"]})
                    continue
                identifier = f"call_{len(history)}_{number}"
                call = {"name": step["tool"], "arguments": json.dumps(step["arguments"])}
                history.append(
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": identifier, "type": "function", "function": call}],
                    }
                )
                history.append(
                    {
                        "role": "tool",
                        "tool_call_id": identifier,
                        "content": json.dumps(step["result"]),
                    }
                )
