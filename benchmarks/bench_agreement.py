"""Do `stemfirst bench` and aiperf measure the same on the same server?

Starts `stemfirst serve` with the demo model (or takes `--url`), makes one workload of requests that
share prefixes, and has both clients ask it, in turn: the cache is flushed before each run, so both
begin cold. Both stream over kept connections with the same bodies, byte for byte, in the same order
and with the same number at once. Prints the medians of each client over the rounds and the
difference; for one client's rounds also their spread, which is what a difference must be seen
against. Exit code 1: a figure differs by more than `--tolerance`, and by more than that spread.

    pip install aiperf        # into an environment of its own; it brings many packages
    python benchmarks/bench_agreement.py --aiperf <environment>/bin/aiperf [--rounds 3]

About 5 minutes on a quiet machine with two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from stemfirst_server.bench.asking import Endpoint
from stemfirst_server.bench.figures import Figures, figures
from stemfirst_server.bench.running import run
from stemfirst_server.bench.workloads import Session, shared_prefix
from stemfirst_server.model.demo import demo_model_folder

START_S = 300.0
# Name, in aiperf's export, and what it is called here.
METRICS = {
    "requests": "request_count",
    "requests/s": "request_throughput",
    "output tokens/s": "output_token_throughput",
    "TTFT p50 ms": "time_to_first_token",
    "TTFT p90 ms": "time_to_first_token",
    "TPOT p50 ms": "inter_token_latency",
    "E2E p50 ms": "request_latency",
    "E2E p90 ms": "request_latency",
    "prompt tokens": "total_usage_prompt_tokens",
    "output tokens": "total_usage_completion_tokens",
    "cached tokens": "total_usage_prompt_cache_read_tokens",
}


def main() -> None:
    """Run both in turn, print both, and fail where they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--aiperf", default=shutil.which("aiperf"), help="the program")
    parser.add_argument("--url", help="a server that runs, such as http://127.0.0.1:8000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--prefix-words", type=int, default=400)
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--tolerance", type=float, default=0.1, help="share of aiperf's figure")
    args = parser.parse_args()
    if not args.aiperf:
        raise SystemExit("aiperf is not on PATH: install it, or name it with --aiperf")
    sessions = shared_prefix(
        requests=args.requests, prefixes=4, prefix_words=args.prefix_words, question_words=30,
        output_tokens=args.output_tokens, seed=7,
    )  # fmt: skip
    rounds: dict[str, list[dict[str, float]]] = {"bench": [], "aiperf": []}
    with served(args.url) as url, tempfile.TemporaryDirectory() as folder:
        model = first_model(url)
        for number in range(args.rounds):
            # Who goes first changes, so that a machine that warms up favours nobody.
            for client in sorted(rounds, reverse=number % 2 == 1):
                flush(url)
                if client == "bench":
                    found = by_bench(url, model, sessions, args.concurrency)
                else:
                    made = Path(folder) / str(number)
                    found = by_aiperf(args.aiperf, url, model, sessions, args.concurrency, made)
                rounds[client].append(found)
                print(f"round {number + 1}, {client}: {found}", file=sys.stderr)
    if not shown(rounds, args.tolerance):
        raise SystemExit(1)


@contextmanager
def served(url: str | None) -> Iterator[str]:
    """Yield the URL of the server that is there, or of one that is started."""
    if url:
        yield url.rstrip("/").removesuffix("/v1")
        return
    with tempfile.NamedTemporaryFile("w+") as log:
        command = [sys.executable, "-m", "stemfirst.cli", "serve", "--port", "0"]
        server = subprocess.Popen(
            [*command, "--calibration-seconds", "0"], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + START_S
            while time.monotonic() < deadline and server.poll() is None:
                text = Path(log.name).read_text("utf-8")
                if ready := re.search(r"Serving \S+ at (http://\S+)/v1", text):
                    break
                time.sleep(0.1)
            else:
                raise SystemExit(f"the server did not start:\n{Path(log.name).read_text()}")
            yield ready[1]
        finally:
            server.terminate()
            server.wait()


def first_model(url: str) -> str:
    """Return what the server serves."""
    with urlopen(f"{url}/v1/models", timeout=60) as answer:
        return str(json.load(answer)["data"][0]["id"])


def flush(url: str) -> None:
    """Empty the server's cache."""
    with urlopen(Request(f"{url}/v1/admin/flush", method="POST"), timeout=60) as answer:
        answer.read()


def by_bench(url: str, model: str, sessions: list[Session], concurrency: int) -> dict[str, float]:
    """Return the figures of `stemfirst bench`'s own code."""
    endpoint = Endpoint(f"{url}/v1", api_key=None, timeout_s=600)
    extra = {"temperature": 0, "ignore_eos": True}

    async def ask() -> Figures:
        try:
            outcomes, seconds = await run(
                sessions, endpoint, model=model, concurrency=concurrency, extra=extra
            )
        finally:
            endpoint.close()
        return figures(outcomes, seconds)

    found = asyncio.run(ask())
    assert not found.errors, found.errors
    told = found.to_json()
    return {
        "requests": told["completed"],
        "requests/s": told["requests_per_second"],
        "output tokens/s": told["output_tokens_per_second"],
        "TTFT p50 ms": told["ttft_ms"]["p50"],
        "TTFT p90 ms": told["ttft_ms"]["p90"],
        "TPOT p50 ms": told["tpot_ms"]["p50"],
        "E2E p50 ms": told["e2e_ms"]["p50"],
        "E2E p90 ms": told["e2e_ms"]["p90"],
        "prompt tokens": told["prompt_tokens"],
        "output tokens": told["output_tokens"],
        "cached tokens": told["cached_tokens"],
    }


def by_aiperf(
    program: str, url: str, model: str, sessions: list[Session], concurrency: int, folder: Path
) -> dict[str, float]:
    """Return aiperf's figures for the same bodies."""
    folder.mkdir()
    bodies = folder / "bodies.jsonl"
    bodies.write_text("".join(json.dumps(body(s, model)) + "\n" for s in sessions), "utf-8")
    command = [
        program, "profile", "--model", model, "--url", url, "--endpoint-type", "chat",
        "--streaming", "--input-file", str(bodies), "--custom-dataset-type", "raw_payload",
        "--dataset-sampling-strategy", "sequential", "--request-count", str(len(sessions)),
        "--concurrency", str(concurrency), "--use-server-token-count",
        # It wants a tokenizer although the server counts; any that lies here will do.
        "--tokenizer", str(demo_model_folder()), "--output-artifact-dir", str(folder / "out"),
        "--ui-type", "none",
    ]  # fmt: skip
    # Where these are set it takes a folder's path for a name on the hub.
    is_offline = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
    env = {name: value for name, value in os.environ.items() if name not in is_offline}
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, env=env)
    if done.returncode:
        raise SystemExit(f"aiperf failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    (export,) = (folder / "out").rglob("profile_export_aiperf.json")
    told = json.loads(export.read_text("utf-8"))
    found = {}
    for name, theirs in METRICS.items():
        metric = told.get(theirs)
        if metric is not None:
            (kind,) = re.findall(r"p\d+", name) or ["avg"]
            found[name] = round(float(metric[kind]), 3)
    return found


def body(session: Session, model: str) -> dict[str, object]:
    """Return the body that `stemfirst bench` sends for a session of one turn."""
    turn = session.turns[0]
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": session.system},
            {"role": "user", "content": turn.text},
        ],
        "max_tokens": turn.output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "ignore_eos": True,
    }


def shown(rounds: dict[str, list[dict[str, float]]], tolerance: float) -> bool:
    """Print both clients' medians; return whether they agree."""
    print(f"{'':18}{'bench':>12}{'aiperf':>12}{'difference':>12}{'spread':>10}")
    agrees = True
    for name in METRICS:
        ours, theirs = (
            [found[name] for found in rounds[client] if name in found]
            for client in ("bench", "aiperf")
        )
        if not ours or not theirs:
            print(f"{name:18}  not told by both")
            continue
        mine, other = statistics.median(ours), statistics.median(theirs)
        difference = (mine - other) / other if other else 0.0
        spread = max((max(v) - min(v)) / other if other else 0.0 for v in (ours, theirs))
        is_near = abs(difference) <= max(tolerance, spread)
        agrees = agrees and is_near
        mark = "" if is_near else "  differs"
        print(f"{name:18}{mine:>12.2f}{other:>12.2f}{difference:>+12.1%}{spread:>10.1%}{mark}")
    return agrees


if __name__ == "__main__":
    main()
