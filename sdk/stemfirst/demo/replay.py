"""Replay recorded conversations through an app on disk, and print what each call saved.

Run as a process of its own, `python -m stemfirst.demo.replay APP --base-url URL`, so that two
versions of one app never meet in one interpreter. Prints a JSON object a line and call. With
`--in-turn`, each call waits for a line of input, so that two replays can be led through the same
minutes of a machine that does other things, too.

The app imports and runs as it is. Only three things around it are recorded: what customers
wrote, what the help centre and the tools returned, and what a model once replied; the served
model reads the real prompts and its own words are thrown away, because the demo model's are
noise and the conversation must go on alike in both versions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stemfirst.client import Client
from stemfirst.savings import Savings, savings_of

Step = dict[str, Any]


class Recording:
    """Stands for the shop and the model: gives back what was recorded, in order."""

    def __init__(self, client: Client, salt: str, *, waits: bool) -> None:
        self._client = client
        self._salt = salt
        self._waits = waits
        self._steps: Iterator[Step] = iter(())
        self._step: Step = {}
        self._articles: list[str] = []
        self.chat = self
        self.completions = self
        self.kind = ""

    def begin(self, kind: str, steps: list[Step], articles: list[str]) -> None:
        """Take the recorded steps of the next turn."""
        self.kind, self._steps, self._articles = kind, iter(steps), articles

    def create(self, **arguments: Any) -> Any:
        """Send what the app wants to send; return the answer with the recorded reply in it."""
        if self._waits and not sys.stdin.readline():
            raise SystemExit("whoever led this replay is gone")
        completion = self._client.chat.completions.create(
            **arguments, extra_body={"cache_salt": self._salt}
        )
        print(json.dumps({"kind": self.kind, **record(savings_of(completion))}), flush=True)
        self._step = next(self._steps)
        message = completion.choices[0].message.model_dump()
        message["content"] = self._step.get("reply")
        message["tool_calls"] = None
        if "tool" in self._step:
            call = {"name": self._step["tool"], "arguments": json.dumps(self._step["arguments"])}
            message["tool_calls"] = [
                {"id": f"call_{self._step['tool']}", "type": "function", "function": call}
            ]
        whole = completion.model_dump()
        whole["choices"][0]["message"] = message
        return type(completion).model_validate(whole)

    def search_articles(self, question: str) -> list[str]:
        """Return the articles that the help centre returned for this question."""
        return self._articles

    def run_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        """Return what the tool returned.

        Raises:
            LookupError: the app calls another tool than was recorded.
        """
        if self._step.get("tool") != name:
            raise LookupError(f"the recording has no call of {name} with {arguments} here")
        return self._step["result"]


def record(savings: Savings) -> dict[str, Any]:
    """Return the figures of one call that the comparison needs."""
    time, saved = savings.time, savings.prefill_ms_saved
    return {
        "prompt_tokens": savings.prompt_tokens,
        "cached_tokens": savings.cached_tokens,
        "ttft_ms": time.ttft if time else None,
        "tpot_ms": time.tpot if time else None,
        "prefill_ms": time.prefill if time else None,
        "saved_ms": [saved.est, saved.lo, saved.hi] if saved else None,
        "unestimated": savings.unestimated,
    }


def replay(app: Path, recorded: dict[str, Any], recording: Recording, model: str) -> None:
    """Run every recorded ticket and conversation through the app in this folder."""
    sys.path.insert(0, str(app))
    agent, triage = importlib.import_module("agent"), importlib.import_module("triage")
    for ticket in recorded["tickets"]:
        recording.begin("triage", [{"reply": "shipping"}], [])
        triage.triage(recording, model, ticket)
    for conversation in recorded["conversations"]:
        support = agent.SupportAgent(recording, model, recording, conversation["customer"])
        for turn in conversation["turns"]:
            recording.begin("agent", turn["steps"], turn["articles"])
            support.answer(turn["question"])


def main() -> None:
    """Replay the app named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("app", type=Path)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--salt", required=True, help="keeps two versions' caches apart")
    parser.add_argument("--in-turn", action="store_true", help="wait for a line before each call")
    options = parser.parse_args()
    recorded = json.loads((options.app / "recording.json").read_text("utf-8"))
    with Client(base_url=options.base_url, api_key="demo", max_retries=0, timeout=120) as client:
        model = client.models.list().data[0].id
        recording = Recording(client, options.salt, waits=options.in_turn)
        replay(options.app, recorded, recording, model)


if __name__ == "__main__":
    main()
