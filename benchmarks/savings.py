"""How far the server's estimates of saved prefill are from what is really saved.

For each length of cached context and of new text, each number of requests that decode beside it
and each number of such requests at once, the same prompt is sent warm, and then twice cold under
a salt of its own; the truth is the cold prefill less the warm one, both as the device spent them.
Prints one line a case, the median error, how many truths lay in their interval, and whether the
goal is met (median error of at most 10 %, 90 % of the truths inside).

Three sections: the grid; the same without load on a server that makes shadow runs and adjusts its
intervals by them, with the server's own word on its error; and what the linter predicts beside what
the server reads again (`forfeits.py`). All three take about ten minutes on two quiet cores. Points
are taken in an order drawn once, so a section that runs out of its minutes has seen all kinds.

    python benchmarks/savings.py                                # the demo model, here and now
    python benchmarks/savings.py --only grid --loads 0,4 --batches 1,4 --rounds 3
    python benchmarks/savings.py --model path/to/model --json result.json
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import httpx
from stemfirst.server_process import ServerProcess

GOAL_ERROR = 0.1
GOAL_INSIDE = 0.9


@dataclass(frozen=True)
class Case:
    """One comparison; milliseconds and tokens."""

    load: int
    """Requests that decoded beside it."""
    batch: int
    """Such requests at once, this one among them."""
    cached_tokens: int
    computed_tokens: int
    cold_ms: float
    warm_ms: float
    estimate_ms: float | None
    low_ms: float | None
    high_ms: float | None
    unestimated: str | None
    """Why there is no estimate."""

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


def compare(
    http: httpx.Client,
    context: int,
    new: int,
    draw: random.Random,
    *,
    load: int,
    batch: int,
    has_shadows: bool,
) -> list[Case]:
    """Measure one point of the grid; its tokens are drawn anew, so nothing else is cached."""
    prompts = []
    for _ in range(batch):
        prefix = [draw.randrange(100, 4000) for _ in range(context)]
        tail = [draw.randrange(100, 4000) for _ in range(new)]
        salt = uuid.uuid4().hex
        ask(http, prefix + [draw.randrange(100, 4000) for _ in range(16)], salt)
        prompts.append((prefix + tail, salt))
    with busy(http, load), ThreadPoolExecutor(batch) as pool:
        before = shadow_runs(http)
        warms = list(pool.map(lambda item: ask(http, *item), prompts))
        if has_shadows and not load:
            wait_for_shadow(http, before)
        colds: list[list[float]] = [[] for _ in prompts]
        for _ in range(2):
            salted = [(tokens, uuid.uuid4().hex) for tokens, _ in prompts]
            for times, report in zip(
                colds, pool.map(lambda item: ask(http, *item), salted), strict=True
            ):
                times.append(report["time"]["prefill"])
    return [case_of(warm, cold, load, batch) for warm, cold in zip(warms, colds, strict=True)]


def shadow_runs(http: httpx.Client) -> int:
    """Return how many shadow runs the server has compared."""
    law = http.get("/v1/stemfirst").json()["cost_model"]
    return int(law["shadows"]["runs"]) if law else 0


def wait_for_shadow(http: httpx.Client, before: int) -> None:
    """Leave the server alone until it has made a shadow run, or clearly makes none."""
    deadline = time.monotonic() + 20
    while shadow_runs(http) == before and time.monotonic() < deadline:
        time.sleep(0.05)


def case_of(warm: dict[str, Any], cold: list[float], load: int, batch: int) -> Case:
    """Return the case that two reports make."""
    saved = warm["time"]["prefill_ms_saved"] or {}
    return Case(
        load,
        batch,
        warm["cached_tokens"],
        warm["computed_tokens"],
        statistics.mean(cold),
        warm["time"]["prefill"],
        saved.get("est"),
        saved.get("lo"),
        saved.get("hi"),
        warm["time"].get("unestimated"),
    )


@contextmanager
def busy(http: httpx.Client, load: int) -> Iterator[None]:
    """Keep so many requests decoding until the block ends."""
    is_over = threading.Event()

    def decode() -> None:
        while not is_over.is_set():
            body = {"prompt": [7] * 32, "max_tokens": 64, "ignore_eos": True}
            http.post("/v1/completions", json=body)

    threads = [threading.Thread(target=decode) for _ in range(load)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def numbers(text: str) -> list[int]:
    """Return the numbers of a list with commas."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Run the grid and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="a model folder or id; default: the demo model")
    parser.add_argument("--contexts", type=numbers, default=[256, 1024, 2048, 4096])
    parser.add_argument("--new", type=numbers, default=[16, 64, 256])
    parser.add_argument("--loads", type=numbers, default=[0, 2])
    parser.add_argument("--batches", type=numbers, default=[1, 4])
    parser.add_argument("--rounds", type=int, default=1, help="of the grid")
    parser.add_argument("--shadows", type=int, default=24, help="points of the section on them")
    parser.add_argument("--grid-minutes", type=float, default=6.0)
    parser.add_argument("--shadow-minutes", type=float, default=2.0)
    parser.add_argument("--only", default="grid,shadows,forfeits")
    parser.add_argument("--json", help="write the cases to this file too")
    options = parser.parse_args()
    wanted = options.only.split(",")
    found: dict[str, Any] = {}
    draw = random.Random(7)
    if "grid" in wanted:
        points = list(product(options.loads, options.batches, options.contexts, options.new))
        points = [point for _ in range(options.rounds) for point in shuffled(points, draw)]
        found["grid"] = section(options.model, points, draw, minutes=options.grid_minutes)
    if "shadows" in wanted:
        quiet = list(product([0], [1], options.contexts, options.new))
        points = [point for _ in range(options.shadows) for point in shuffled(quiet, draw)]
        found["shadows"] = section(
            options.model,
            points[: options.shadows],
            draw,
            minutes=options.shadow_minutes,
            has_shadows=True,
        )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
    if "forfeits" in wanted:
        print("\nWhat the linter predicts, and what the server reads again:", flush=True)
        script = Path(__file__).with_name("forfeits.py")
        subprocess.run([sys.executable, str(script)], check=True)


Point = tuple[int, int, int, int]
"""Load, batch, context and new tokens."""


def shuffled(points: list[Point], draw: random.Random) -> list[Point]:
    """Return the points in an order that is drawn, so that a pace that wanders meets all alike."""
    return draw.sample(points, len(points))


def section(
    model: str | None,
    points: list[Point],
    draw: random.Random,
    *,
    minutes: float,
    has_shadows: bool = False,
) -> dict[str, Any]:
    """Measure some points on a server of their own, as many as the time allows, and print them."""
    flags = ["--model", model] if model else []
    flags += ["--shadow-rate", "1" if has_shadows else "0"]
    cases: list[Case] = []
    print("starting the server ...", file=sys.stderr)
    with (
        ServerProcess(flags, timeout_s=300) as server,
        httpx.Client(base_url=server.url, timeout=600, trust_env=False) as http,
    ):
        law = http.get("/v1/stemfirst").json()["cost_model"]
        print(
            "load batch cached    new   cold ms   warm ms   saved ms   estimate (interval)   error"
        )
        deadline = time.monotonic() + 60 * minutes
        for count, (load, batch, context, new) in enumerate(points):
            if time.monotonic() > deadline:
                print(f"{minutes:g} minutes are over: {count} of {len(points)} points measured")
                break
            for case in compare(
                http, context, new, draw, load=load, batch=batch, has_shadows=has_shadows
            ):
                cases.append(case)
                print(line(case), flush=True)
        law_at_end = http.get("/v1/stemfirst").json()["cost_model"]
    print(f"law at start: {law}")
    print(f"law at end:   {law_at_end}")
    for load, batch in sorted({(case.load, case.batch) for case in cases}):
        part = [case for case in cases if (case.load, case.batch) == (load, batch)]
        summarise(f"load {load}, {batch} at once", part)
    if has_shadows and law_at_end:
        told = law_at_end["shadows"]
        print(f"the server's own word on its estimates: {told}")
        # Its intervals adjust themselves from the twentieth run on.
        summarise("after 20 shadow runs", cases[20:])
    summarise("all", cases)
    return {"law": law, "law_at_end": law_at_end, "cases": [asdict(case) for case in cases]}


def summarise(name: str, cases: list[Case]) -> None:
    """Print how far the estimates of some cases were off."""
    errors = [case.error for case in cases if case.error is not None]
    inside = [case.is_inside for case in cases if case.is_inside is not None]
    if errors:
        widths = [
            (case.high_ms - case.low_ms) / 2 / abs(case.estimate_ms)
            for case in cases
            if case.estimate_ms and case.low_ms is not None and case.high_ms is not None
        ]
        error, share = statistics.median(errors), sum(inside) / len(inside)
        is_met = error <= GOAL_ERROR and share >= GOAL_INSIDE
        print(
            f"{name}: median error {error:.1%} over {len(errors)} cases, "
            f"truth inside in {sum(inside)} of {len(inside)} ({share:.0%}), "
            f"intervals of ±{statistics.median(widths):.0%}: goal {'met' if is_met else 'missed'}"
        )
    for reason, count in Counter(case.unestimated for case in cases if case.unestimated).items():
        print(f"{name}: {count} of {len(cases)} cases without an estimate: {reason}")


def line(case: Case) -> str:
    """Return one row of the table."""
    head = (
        f"{case.load:4} {case.batch:5} {case.cached_tokens:6} {case.computed_tokens:6} "
        f"{case.cold_ms:9.1f} {case.warm_ms:9.1f} {case.truth_ms:10.1f}"
    )
    if case.estimate_ms is None:
        return f"{head}   {case.unestimated}"
    return (
        f"{head} {case.estimate_ms:10.1f} ({case.low_ms:.0f} to {case.high_ms:.0f})"
        f"{'' if case.is_inside else ' outside'} {case.error:8.1%}"
    )


if __name__ == "__main__":
    main()
