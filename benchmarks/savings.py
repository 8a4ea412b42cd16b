"""How far the server's estimates of saved prefill are from what is really saved.

For each length of cached context and of new text, the same prompt is sent warm, and then twice
cold under a salt of its own; the truth is the cold prefill less the warm one, both as the device
spent them. Prints one line a case, the median error, and how many truths lay in their interval.

    python benchmarks/savings.py                                # the demo model, here and now
    python benchmarks/savings.py --model path/to/model --json result.json
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import uuid
from dataclasses import asdict, dataclass
from typing import Any

import httpx
from stemfirst.server_process import ServerProcess


@dataclass(frozen=True)
class Case:
    """One comparison; milliseconds and tokens."""

    cached_tokens: int
    computed_tokens: int
    cold_ms: float
    warm_ms: float
    estimate_ms: float | None
    low_ms: float | None
    high_ms: float | None

    @property
    def truth_ms(self) -> float:
        """What was really saved."""
        return self.cold_ms - self.warm_ms

    @property
    def error(self) -> float | None:
        """The estimate's distance from the truth, as a share of it."""
        if self.estimate_ms is None:
            return None
        return abs(self.estimate_ms - self.truth_ms) / abs(self.truth_ms)

    @property
    def is_inside(self) -> bool | None:
        """Whether the truth lay in the estimate's interval."""
        if self.low_ms is None or self.high_ms is None:
            return None
        return self.low_ms <= self.truth_ms <= self.high_ms


def ask(http: httpx.Client, token_ids: list[int], salt: str) -> dict[str, Any]:
    """Return the report of one request that generates a single token."""
    body = {"prompt": token_ids, "max_tokens": 1, "temperature": 0, "cache_salt": salt}
    answer = http.post("/v1/completions", json=body)
    answer.raise_for_status()
    report: dict[str, Any] = answer.json()["stemfirst"]
    return report


def compare(http: httpx.Client, context: int, new: int, draw: random.Random) -> Case:
    """Measure one case; its tokens are drawn anew, so nothing else is cached."""
    prefix = [draw.randrange(100, 4000) for _ in range(context)]
    tail = [draw.randrange(100, 4000) for _ in range(new)]
    salt = uuid.uuid4().hex
    ask(http, prefix + [draw.randrange(100, 4000) for _ in range(16)], salt)
    warm = ask(http, prefix + tail, salt)
    cold = [ask(http, prefix + tail, uuid.uuid4().hex)["time"]["prefill"] for _ in range(2)]
    saved = warm["time"]["prefill_ms_saved"] or {}
    return Case(
        warm["cached_tokens"],
        warm["computed_tokens"],
        statistics.mean(cold),
        warm["time"]["prefill"],
        saved.get("est"),
        saved.get("lo"),
        saved.get("hi"),
    )


def main() -> None:
    """Run the grid and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="a model folder or id; default: the demo model")
    parser.add_argument("--contexts", default="256,1024,2048,4096")
    parser.add_argument("--new", default="16,64,256")
    parser.add_argument("--json", help="write the cases to this file too")
    options = parser.parse_args()
    contexts = [int(text) for text in options.contexts.split(",")]
    news = [int(text) for text in options.new.split(",")]
    flags = ["--model", options.model] if options.model else []
    draw = random.Random(7)
    cases = []
    print("starting the server ...", file=sys.stderr)
    with (
        ServerProcess(flags, timeout_s=300) as server,
        httpx.Client(base_url=server.url, timeout=600, trust_env=False) as http,
    ):
        law = http.get("/v1/stemfirst").json()["cost_model"]
        print("cached    new   cold ms   warm ms   saved ms   estimate (interval)      error")
        for context in contexts:
            for new in news:
                case = compare(http, context, new, draw)
                cases.append(case)
                print(line(case), flush=True)
    errors = [case.error for case in cases if case.error is not None]
    inside = [case.is_inside for case in cases if case.is_inside is not None]
    print(f"law at start: {law}")
    if errors:
        print(f"median error {statistics.median(errors):.1%} over {len(errors)} cases")
        print(f"truth inside the interval in {sum(inside)} of {len(inside)} cases")
    if len(errors) < len(cases):
        print(f"{len(cases) - len(errors)} cases were outside the calibrated range: no estimate")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"law": law, "cases": [asdict(case) for case in cases]}, file, indent=1)


def line(case: Case) -> str:
    """Return one row of the table."""
    head = (
        f"{case.cached_tokens:6} {case.computed_tokens:6} {case.cold_ms:9.1f} {case.warm_ms:9.1f} "
        f"{case.truth_ms:10.1f}"
    )
    if case.estimate_ms is None:
        return f"{head}   not estimated"
    return (
        f"{head} {case.estimate_ms:10.1f} ({case.low_ms:.0f} to {case.high_ms:.0f})"
        f"{'' if case.is_inside else ' outside'} {case.error:8.1%}"
    )


if __name__ == "__main__":
    main()
