"""Does the time to the first token tell one tenant what another has sent?

Starts `stemfirst serve` with the demo model and two tenants. For each of many fresh prefixes, three
times to the first token, in random order of kinds: `own` (the tenant sent the prefix before),
`foreign` (another tenant sent it before) and `unseen` (nobody did). `own` must be quicker;
`foreign` and `unseen` must be one distribution: the two-sided Mann-Whitney test says how likely
a difference like the one measured is if they are.

    python benchmarks/timing_channel.py [--rounds 150] [--json FILE]

About 3 minutes with 150 rounds on a quiet machine with two cores. The test's normal approximation
is good from 20 rounds on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

KINDS = ("own", "foreign", "unseen")
START_S = 180.0


def main() -> None:
    """Run, print a table, and fail if the distributions differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=150, help="prefixes of each kind")
    parser.add_argument("--sentences", type=int, default=60, help="length of a prefix")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = measured(Path(folder), args.rounds, args.sentences)
    figures = {
        "rounds": args.rounds,
        "machine": platform.processor() or platform.machine(),
        "median_ms": {kind: round(statistics.median(times[kind]), 2) for kind in KINDS},
        "p95_ms": {kind: round(statistics.quantiles(times[kind], n=20)[-1], 2) for kind in KINDS},
        "p_foreign_unseen": round(rank_test(times["foreign"], times["unseen"]), 4),
        "p_own_unseen": rank_test(times["own"], times["unseen"]),
    }
    for kind in KINDS:
        median, p95 = figures["median_ms"][kind], figures["p95_ms"][kind]  # type: ignore[index]
        print(f"{kind:8} median {median:8.2f} ms   p95 {p95:8.2f} ms")
    print(f"foreign against unseen: p = {figures['p_foreign_unseen']}")
    print(f"own against unseen:     p = {figures['p_own_unseen']:.1e}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


def measured(folder: Path, rounds: int, sentences: int) -> dict[str, list[float]]:
    """Return milliseconds to the first token by kind."""
    keys = folder / "keys.toml"
    keys.write_text(
        "\n".join(
            f'[tenants.{name}]\nkeys = ["sha256:{hashlib.sha256(name.encode()).hexdigest()}"]'
            for name in ("one", "two")
        ),
        "utf-8",
    )
    log = folder / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "stemfirst.cli", "serve", "--port", "0",
             "--calibration-seconds", "0", "--api-keys-file", str(keys)],
            stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        url = when_ready(server, log)
        rng = random.Random(1)
        order = [kind for kind in KINDS for _ in range(rounds)]
        rng.shuffle(order)
        times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
            for warm in range(10):
                ask(client, "one", prefix(rng, sentences), f"{warm}")
            for turn, kind in enumerate(order):
                text = prefix(rng, sentences)
                # Always one request before, of the same size, so that the server's state is alike.
                before = {"own": ("one", text), "foreign": ("two", text)}
                sender, sent = before.get(kind, ("two", prefix(rng, sentences)))
                ask(client, sender, sent, "before")
                times[kind].append(ask(client, "one", text, f"after {turn}"))
        return times
    finally:
        server.kill()
        server.wait()


def when_ready(server: subprocess.Popen[bytes], log: Path) -> str:
    """Return the server's URL once it answers."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        found = re.search(r"Serving \S+ at (http://\S+)/v1", log.read_text("utf-8"))
        if found:
            return found[1]
        time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text('utf-8')}")


def prefix(rng: random.Random, sentences: int) -> str:
    """Return a text that nobody has sent."""
    mark = f"{rng.getrandbits(64):016x}"
    return f"Case {mark}. " + "Refunds are paid within thirty days of the order. " * sentences


def ask(client: httpx.Client, key: str, text: str, question: str) -> float:
    """Return the milliseconds to the first token of an answer."""
    messages = [{"role": "system", "content": text}, {"role": "user", "content": question}]
    began = time.perf_counter()
    answer = client.post(
        "/v1/chat/completions",
        json={"messages": messages, "max_tokens": 1},
        headers={"authorization": f"Bearer {key}"},
    )
    ms = (time.perf_counter() - began) * 1e3
    answer.raise_for_status()
    return ms


def rank_test(first: list[float], second: list[float]) -> float:
    """Return the two-sided p of Mann-Whitney's test, by its normal approximation.

    Source: Mann and Whitney 1947; ties have measure zero among times.
    """
    ranked = sorted([(value, True) for value in first] + [(value, False) for value in second])
    ranks = sum(rank for rank, (_, is_first) in enumerate(ranked, 1) if is_first)
    count, other = len(first), len(second)
    u = ranks - count * (count + 1) / 2
    spread = math.sqrt(count * other * (count + other + 1) / 12)
    return math.erfc(abs(u - count * other / 2) / spread / math.sqrt(2))


if __name__ == "__main__":
    main()
