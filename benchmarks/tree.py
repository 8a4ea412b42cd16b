"""What the radix tree costs for an operation, locks, ownership and eviction included.

An 8,192-token match is compared with `memcmp` of the same bytes, measured beside it; the others
are in microseconds. Prompts are 1,000 shared and 200 own tokens, as bytes, which is how a request
carries them: turning a list of 1,200 integers into bytes costs more than any of these.

`insert` and `turn` are all that a request does with the cache: match, lock, take pages, store,
give back, unlock. With --sglang the operations of SGLang's Rust core are timed in the same run,
in its own environment (`benchmarks/sglang_radix.py`), without taking or giving back memory: what
compares with its insert is the column `tree insert`.

    python benchmarks/tree.py
    python benchmarks/tree.py --sglang PYTHON
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from stemfirst_server.memory.cache import PageCache
from stemfirst_server.memory.eviction import Worth
from stemfirst_server.memory.radix import RadixTree

LONG_TOKENS = 8192
SHARED_TOKENS = 1000
OWN_TOKENS = 200
ANSWER_TOKENS = 100


def best_us(run: Callable[[], object], *, rounds: int, repeat: int) -> float:
    """Return the fastest round's microseconds for one call."""
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(repeat):
            run()
        best = min(best, (time.perf_counter() - started) / repeat)
    return best * 1e6


def median_us(runs: Iterable[Callable[[], object]]) -> float:
    """Return the median of calls that can be made once each."""
    times = []
    for run in runs:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def answer(cache: PageCache, data: bytes) -> None:
    """Do for a prompt what the engine does: match, lock, take pages, store, unlock."""
    tokens = len(data) // 4
    found = cache.match("", data, limit_tokens=tokens - 1)
    pages = cache.take(-(-tokens // cache.page) - len(found.pages))
    assert pages is not None
    row = np.concatenate([found.pages, pages])
    whole = tokens // cache.page
    done = cache.store(
        "", data[: whole * cache.page * 4], row[:whole], node=found.node, held_from=len(found.pages)
    )
    cache.give_back(row[whole:])
    cache.release(done.node)


def measure(page: int, sequences: int, rounds: int) -> dict[str, float]:
    """Return the figures of one page size."""
    rng = np.random.default_rng(1)
    pages = sequences * (SHARED_TOKENS + OWN_TOKENS + ANSWER_TOKENS) // page
    cache = PageCache(pages=pages, page=page, eviction=Worth())

    def text(tokens: int) -> bytes:
        return rng.integers(0, 50_000, tokens).astype(np.int32).tobytes()

    long = text(LONG_TOKENS)
    answer(cache, long)
    copy = bytes(bytearray(long))
    repeat = 2000

    def hit(data: bytes) -> None:
        found = cache.match("", data, limit_tokens=len(data) // 4)
        cache.release(found.node)

    figures = {
        "page": page,
        "memcmp": best_us(lambda: long == copy, rounds=rounds, repeat=repeat),
        "match": best_us(lambda: hit(copy), rounds=rounds, repeat=repeat),
        "lookup": best_us(lambda: cache.tree.lookup("", copy), rounds=rounds, repeat=repeat),
    }
    stem = text(SHARED_TOKENS)
    prompts = [stem + text(OWN_TOKENS) for _ in range(sequences)]
    tree = RadixTree(page)
    rows = [np.arange(len(prompt) // 4 // page, dtype=np.int32) for prompt in prompts]
    figures["tree insert"] = median_us(
        (lambda p=p, r=r: tree.insert("", p, r)) for p, r in zip(prompts, rows, strict=True)
    )
    figures["insert"] = median_us((lambda p=p: answer(cache, p)) for p in prompts)
    hits = [stem + text(OWN_TOKENS) for _ in range(sequences)]
    figures["shared"] = median_us((lambda p=p: hit(p)) for p in hits)
    turns = [prompt + text(ANSWER_TOKENS) for prompt in prompts[-sequences // 2 :]]
    figures["turn"] = median_us((lambda p=p: answer(cache, p)) for p in turns)
    cache.check([])
    return figures


def sglang(python: Path, sequences: int, rounds: int) -> list[dict[str, float]]:
    """Return the figures of SGLang's Rust core for the same page sizes."""
    script = Path(__file__).with_name("tree_sglang.py")
    command = [python, "-W", "ignore", script, "--sequences", sequences, "--rounds", rounds]
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True, cwd=script.parent
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sglang", type=Path, help="a Python that has SGLang")
    given = parser.parse_args()
    rows = [("ours", measure(page, given.sequences, given.rounds)) for page in (1, 16)]
    if given.sglang:
        rows += [("sglang", row) for row in sglang(given.sglang, given.sequences, given.rounds)]
    print(f"microseconds; `match` is {LONG_TOKENS} tokens with lock and unlock")
    columns = ("memcmp", "match", "lookup", "shared", "tree insert", "insert", "turn")
    print(f"{'':8} page  " + "".join(f"{name:>12}" for name in columns) + "  match / memcmp")
    for who, row in rows:
        cells = "".join(f"{row[c]:12.2f}" if c in row else f"{'':12}" for c in columns)
        ratio = f"{row['match'] / row['memcmp']:10.1f}" if "memcmp" in row else ""
        print(f"{who:8} {row['page']:4}  {cells} {ratio}")


if __name__ == "__main__":
    main()
