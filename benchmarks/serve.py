"""Throughput of `stemfirst serve` beside transformers' continuous batching and llama.cpp's server.

Knows: five workloads of token ids (shared prefix, many tenants, multi-turn, no sharing, decode at
batch 1), the same weights and precision for all, greedy, the same number of new tokens. Each
engine is tuned first: a few settings on a small workload with shared prefixes, and the fastest is
taken. All run in the same call of this script, one after the other, and only ratios mean
something. Run it on a machine that does nothing else:

    python benchmarks/serve.py --llama-cpp llama-server     # the demo model of 25 million
    python benchmarks/serve.py --scale 0.1 --workload shared-prefix
    python benchmarks/serve.py --no-sharing-cost --threads 1 --scale 0.25   # ours without its cache
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from gguf_llama import write_gguf
from serving_engines import Engine, LlamaCpp, Ours, Transformers
from stemfirst_server.model.demo import demo_model_folder

NEW_TOKENS = 16
DECODE_TOKENS = 128
VOCAB = range(16, 4000)
# Pairs with and without cache: until so many are done, or so much time is used and a few are.
COST_ROUNDS, LEAST_COST_ROUNDS = 41, 9
COST_S = 180.0
# Our page; of transformers' batching: page, most tokens in a batch, most requests in it; of
# llama.cpp's server: slots, one buffer.
OUR_PAGES = (16, 4)
TRANSFORMERS_SETTINGS = (
    (64, 512, 1),
    (64, 512, 8),
    (64, 512, 64),
    (16, 512, 8),
    (256, 1024, 16),
    (64, 2048, 64),
)
LLAMA_CPP_SETTINGS = ((4, False), (8, False), (16, False), (32, True))


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in rounds: a round's requests are sent together, the next when all are answered.

    Attributes:
        name: what it is like.
        rounds: prompts as token ids. In a conversation each holds only what a turn adds to the
            one at the same place of the round before, with an answer in between.
        is_conversation: rounds continue each other.
        new_tokens: of each answer.
    """

    name: str
    rounds: tuple[tuple[tuple[int, ...], ...], ...]
    is_conversation: bool = False
    new_tokens: int = NEW_TOKENS

    @property
    def requests(self) -> int:
        """Their number."""
        return sum(map(len, self.rounds))

    def seconds(self, engine: Engine) -> float:
        """Return the time that an engine takes for it."""
        started = time.perf_counter()
        history: list[list[int]] = [[] for _ in self.rounds[0]]
        for turn in self.rounds:
            prompts = [before + list(new) for before, new in zip(history, turn, strict=True)]
            engine.answer(prompts, self.new_tokens)
            if self.is_conversation:
                # Stand-ins for the answers: engines may differ in them, and their text is noise.
                history = [prompt + prompt[: self.new_tokens] for prompt in prompts]
        return time.perf_counter() - started


def workloads(scale: float, seed: int = 17) -> tuple[Workload, ...]:
    """Return the workloads; `scale` multiplies the number of requests."""
    rng = np.random.default_rng(seed)

    def text(tokens: int) -> tuple[int, ...]:
        return tuple(rng.integers(VOCAB.start, VOCAB.stop, tokens).tolist())

    def some(count: int) -> range:
        return range(max(2, round(count * scale)))

    stem = text(1000)
    shared = tuple(stem + text(50) for _ in some(64))
    tenants = [text(600) for _ in some(16)]
    many = tuple(tenant + text(50) for _ in range(4) for tenant in tenants)
    alone = tuple(text(600) for _ in some(32))
    system = text(300)
    opening = tuple(system + text(200) for _ in some(12))
    turns = tuple(tuple(text(60) for _ in opening) for _ in range(4))
    decode = tuple((text(32),) for _ in some(4))
    return (
        Workload("shared-prefix", (shared,)),
        Workload("many-tenant", (many,)),
        Workload("multi-turn", (opening, *turns), is_conversation=True),
        Workload("no-sharing", (alone,)),
        Workload("decode-alone", decode, new_tokens=DECODE_TOKENS),
    )


def tuned(name: str, makers: dict[str, Callable[[], Engine]], scale: float) -> Engine:
    """Return the engine with the settings that answered a small shared-prefix workload fastest."""
    trial = workloads(scale / 4, seed=5)[0]
    best, best_seconds = "", float("inf")
    for setting, make in makers.items():
        engine = make()
        try:
            warm_up(engine)
            took = trial.seconds(engine)
        finally:
            engine.close()
        print(f"  {name}, {setting}: {trial.requests} requests in {took:.2f} s", flush=True)
        if took < best_seconds:
            best, best_seconds = setting, took
    print(f"  {name} runs with {best}", flush=True)
    return makers[best]()


def warm_up(engine: Engine, scale: float = 0.0) -> None:
    """Answer something; first calls are slow for all, and so is memory that nobody wrote to yet."""
    engine.answer([list(range(100, 140))], NEW_TOKENS)
    if scale:
        workloads(scale, seed=999)[3].seconds(engine)


def compare(given: argparse.Namespace, folder: Path, chosen: list[Workload]) -> None:
    """Print each engine's time for each workload, and the ratios to ours."""
    threads, dtype = given.threads, given.dtype
    figures: dict[str, dict[str, float]] = {w.name: {} for w in chosen}

    def run(name: str, engine: Engine) -> None:
        try:
            warm_up(engine, given.scale)
            for workload in chosen:
                figures[workload.name][name] = workload.seconds(engine)
                print(
                    f"  {name}, {workload.name}: {figures[workload.name][name]:.2f} s", flush=True
                )
        finally:
            engine.close()

    makers: dict[str, Callable[[], Engine]] = {
        f"pages of {page}": partial(Ours, folder, threads, dtype, page=page) for page in OUR_PAGES
    }
    run("ours", tuned("ours", makers, given.scale))
    if not given.without_transformers:
        makers = {
            f"pages of {page}, {tokens} tokens and {running} requests a batch": partial(
                Transformers,
                folder,
                threads,
                dtype,
                page=page,
                batch_tokens=tokens,
                most_running=running,
            )
            for page, tokens, running in TRANSFORMERS_SETTINGS
        }
        run("transformers", tuned("transformers", makers, given.scale))
    if given.llama_cpp:
        with tempfile.TemporaryDirectory() as scratch:
            gguf = Path(scratch) / "model.gguf"
            write_gguf(folder, gguf, getattr(torch, dtype))
            makers = {
                f"{slots} slots, {'one buffer' if is_unified else 'a buffer each'}": partial(
                    LlamaCpp,
                    given.llama_cpp,
                    gguf,
                    threads,
                    dtype,
                    slots=slots,
                    is_unified=is_unified,
                )
                for slots, is_unified in LLAMA_CPP_SETTINGS
            }
            run("llama.cpp", tuned("llama.cpp", makers, given.scale))
    peers = [name for name in figures[chosen[0].name] if name != "ours"]
    print(f"\n{dtype}, {threads} threads; seconds, and their ratio to ours")
    print(
        f"{'workload':15} {'requests':>8} {'ours':>8}" + "".join(f"{p:>14} {'':6}" for p in peers)
    )
    for workload in chosen:
        row = figures[workload.name]
        cells = "".join(f"{row[p]:14.2f} {row[p] / row['ours']:6.1f}" for p in peers)
        print(f"{workload.name:15} {workload.requests:8} {row['ours']:8.2f}{cells}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


def cost_at_no_hits(given: argparse.Namespace, folder: Path) -> None:
    """Print what the cache costs where nothing hits: both servers in turns, fresh prompts.

    Processor time too: with one thread it does not see what else the machine does. Before anything
    counts, the cached one's memory is filled: from then on it evicts, as a server
    does that has run for a while, and it touches no memory for the first time.
    """
    fill = workloads(given.scale, seed=999)[3]
    tokens = sum(len(prompt) + NEW_TOKENS for prompt in fill.rounds[0])
    servers = {
        name: Ours(
            folder,
            given.threads,
            given.dtype,
            has_prefix_cache=name == "on",
            pool_tokens=max(4096, round(1.25 * tokens)),
        )
        for name in ("on", "off")
    }
    ratios: dict[str, list[float]] = {"time": [], "processor time": []}
    try:
        for server in servers.values():
            warm_up(server)
            fill.seconds(server)
            workloads(given.scale, seed=998)[3].seconds(server)
        began = time.monotonic()
        for number in range(COST_ROUNDS):
            if number >= LEAST_COST_ROUNDS and time.monotonic() - began > COST_S:
                break
            took: dict[str, tuple[float, float]] = {}
            # Who goes first changes, so that a drift of the machine falls on both.
            for name in sorted(servers, reverse=bool(number % 2)):
                alone = workloads(given.scale, seed=1000 + 2 * number + (name == "on"))[3]
                before = servers[name].processor_s()
                wall = alone.seconds(servers[name])
                took[name] = wall, servers[name].processor_s() - before
            for kind, on, off in zip(ratios, took["on"], took["off"], strict=True):
                ratios[kind].append(on / off)
            (on_s, on_cpu_s), (off_s, off_cpu_s) = took["on"], took["off"]
            print(
                f"  cache on {on_s:.3f} s (processor {on_cpu_s:.3f}), "
                f"off {off_s:.3f} s ({off_cpu_s:.3f})",
                flush=True,
            )
    finally:
        for server in servers.values():
            server.close()
    for kind, found in ratios.items():
        low, high = median_interval(found)
        print(
            f"with the cache, {kind} at 0 % hits is {statistics.median(found):.4f} times that "
            f"without (median of {len(found)} pairs; its 95 % interval {low:.4f} to {high:.4f})"
        )


def median_interval(values: list[float]) -> tuple[float, float]:
    """Return a 95 % interval of the median: between two of the values, by the signs' binomial."""
    count = len(values)
    tail, rank = 0.0, 0
    while rank < count // 2 and tail + math.comb(count, rank) / 2**count <= 0.025:
        tail += math.comb(count, rank) / 2**count
        rank += 1
    ordered = sorted(values)
    at = max(0, rank - 1)
    return ordered[at], ordered[count - 1 - at]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a Llama's folder; default: the demo model")
    parser.add_argument("--workload", action="append", help="only this one; may be repeated")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--llama-cpp", type=Path, help="llama.cpp's llama-server")
    parser.add_argument("--without-transformers", action="store_true")
    parser.add_argument(
        "--no-sharing-cost", action="store_true", help="ours with and without cache"
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    folder = given.model or demo_model_folder()
    if given.no_sharing_cost:
        cost_at_no_hits(given, folder)
        return
    every = workloads(given.scale)
    chosen = [w for w in every if not given.workload or w.name in given.workload]
    if not chosen:
        parser.error(f"choose workloads of {', '.join(w.name for w in every)}")
    compare(given, folder, chosen)


if __name__ == "__main__":
    main()
