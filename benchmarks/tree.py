"""What the radix tree costs for an operation, locks, ownership and eviction included.

An 8,192-token match is compared with `memcmp` of the same bytes, measured beside it; the others
are in microseconds. Prompts are 1,000 shared and 200 own tokens, as bytes, which is how a request
carries them: turning a list of 1,200 integers into bytes costs more than any of these.

    python benchmarks/tree.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from stemfirst_server.memory.cache import PageCache
from stemfirst_server.memory.eviction import Worth

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


def measure(page: int, sequences: int, rounds: int) -> None:
    rng = np.random.default_rng(1)
    pages = sequences * (SHARED_TOKENS + OWN_TOKENS + ANSWER_TOKENS) // page
    cache = PageCache(pages=pages, page=page, eviction=Worth())

    def text(tokens: int) -> bytes:
        return rng.integers(0, 50_000, tokens).astype(np.int32).tobytes()

    long = text(LONG_TOKENS)
    answer(cache, long)
    copy = bytes(bytearray(long))
    repeat = 2000
    memcmp_us = best_us(lambda: long == copy, rounds=rounds, repeat=repeat)

    def match(data: bytes) -> None:
        found = cache.match("", data, limit_tokens=len(data) // 4)
        cache.release(found.node)

    match_us = best_us(lambda: match(copy), rounds=rounds, repeat=repeat)
    lookup_us = best_us(lambda: cache.tree.lookup("", copy), rounds=rounds, repeat=repeat)
    stem = text(SHARED_TOKENS)
    prompts = [stem + text(OWN_TOKENS) for _ in range(sequences)]
    started = time.perf_counter()
    for prompt in prompts:
        answer(cache, prompt)
    insert_us = (time.perf_counter() - started) / sequences * 1e6
    evicted = cache.evicted_pages
    hits = iter([stem + text(OWN_TOKENS) for _ in range(rounds * 500)])
    shared_us = best_us(lambda: match(next(hits)), rounds=rounds, repeat=500)
    turns = [prompt + text(ANSWER_TOKENS) for prompt in prompts[-sequences // 2 :]]
    started = time.perf_counter()
    for turn in turns:
        answer(cache, turn)
    turn_us = (time.perf_counter() - started) / len(turns) * 1e6
    print(
        f"{page:4} {memcmp_us:8.2f} {match_us:8.2f} {match_us / memcmp_us:6.1f} {lookup_us:8.2f} "
        f"{shared_us:11.2f} {insert_us:8.2f} {turn_us:8.2f} {cache.evicted_pages - evicted:9}"
    )
    cache.check([])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    print(f"microseconds; {LONG_TOKENS}-token match with its lock, and memcmp of its bytes")
    print("page   memcmp    match  ratio   lookup  shared hit   insert     turn   evicted")
    for page in (1, 16):
        measure(page, given.sequences, given.rounds)


if __name__ == "__main__":
    main()
