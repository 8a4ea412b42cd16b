"""The operations of `benchmarks/tree.py` on SGLang's radix cache, in its own environment.

Run by `benchmarks/tree.py --sglang PYTHON`; prints one line of JSON for each page size. What is
timed is the binding of its Rust core, called directly: the Python around it is left out, which
is to its favour. An operation is what ours is: a match gives the slots and is locked and
unlocked; a turn matches and inserts. Keys and values are made beforehand on both sides.
`benchmarks/sglang_radix.py` says what to install.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from array import array
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from sglang_radix import adapter, bindings

LONG_TOKENS = 8192
SHARED_TOKENS = 1000
OWN_TOKENS = 200
ANSWER_TOKENS = 100
FULL = 0  # the component of plain attention


class RustCore:
    """The tree, by its binding."""

    def __init__(self, page: int) -> None:
        self._core = bindings.RustUnifiedTreeCoreBinding(
            bindings.TreeCoreInitParamsBinding(
                eviction_policy="lru",
                slru_protected_threshold=2,
                tlru_tail_budget=0,
                tlru_float_config=None,
                page_size=page,
                is_write_back=False,
                enable_hicache=False,
                write_through_threshold=256,
                device="cpu",
                swa_sliding_window_size=None,
                swa_req_ring=False,
                enable_kv_cache_events=False,
                dynamo_kv_event_format=False,
                mamba_cache_chunk_size=None,
                mamba_max_states_per_path=None,
            ),
            [FULL],
        )
        self._root = self._core.root_node_handle(None)

    def match(self, key: array[int]) -> Any:
        """Return what the binding says of the longest cached prefix."""
        params = bindings.MatchParamsBinding(key=key, extra_key=None, cache_salt=None)
        return self._core.match_prefix(params)

    def hit(self, key: array[int]) -> int:
        """Match, lock, take the slots, unlock."""
        found = self.match(key)
        node = found.last_device_node_id
        receipt = self._core.inc_lock_ref(node, [])
        slots = self._core.collect_full_device_indices(node, self._root)
        self._core.dec_lock_ref(node, unlock_params(receipt), False)
        return len(slots)

    def insert(self, key: array[int], slots: torch.Tensor) -> None:
        """Insert a run; duplicates are nobody's to free here."""
        step = self._core.begin_insert(
            bindings.InsertParamsBinding(
                key=key,
                value=slots,
                extra_key=None,
                cache_salt=None,
                session_id=None,
                mamba_value=None,
                prev_prefix_len=0,
                swa_evicted_seqlen=0,
                swa_branching_seqlen=None,
                inserted_len=0,
                priority=0,
                track_adopted_ranges=False,
                rotation_base=None,
            )
        )
        while step.result is None:
            step = self._core.resume_insert()
        self._core.end_insert()


def unlock_params(receipt: Any) -> Any:
    """Return what unlocks again, as SGLang's adapter makes it from a lock's receipt."""
    result = adapter._inc_lock_ref_result_from_binding(receipt)
    return adapter._dec_lock_ref_params_to_binding(bindings, result.to_dec_params())


def best_us(run: Callable[[], object], *, rounds: int, repeat: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(repeat):
            run()
        best = min(best, (time.perf_counter() - started) / repeat)
    return best * 1e6


def median_us(runs: Iterable[Callable[[], object]]) -> float:
    times = []
    for run in runs:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def measure(page: int, sequences: int, rounds: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    tree = RustCore(page)

    def text(tokens: int) -> array[int]:
        return array("q", rng.integers(0, 50_000, tokens).tolist())

    def slots(tokens: int) -> torch.Tensor:
        return torch.arange(tokens)

    long = text(LONG_TOKENS)
    tree.insert(long, slots(LONG_TOKENS))
    copy = array("q", long.tolist())
    assert tree.hit(copy) == LONG_TOKENS
    figures = {"page": page, "match": best_us(lambda: tree.hit(copy), rounds=rounds, repeat=2000)}
    stem = text(SHARED_TOKENS)
    tokens = SHARED_TOKENS + OWN_TOKENS
    prompts = [(stem + text(OWN_TOKENS), slots(tokens)) for _ in range(sequences)]
    figures["tree insert"] = median_us((lambda p=p: tree.insert(*p)) for p in prompts)
    hits = [stem + text(OWN_TOKENS) for _ in range(sequences)]
    assert tree.hit(hits[0]) == SHARED_TOKENS - SHARED_TOKENS % page
    figures["shared"] = median_us((lambda hit=hit: tree.hit(hit)) for hit in hits)
    turns = [(p + text(ANSWER_TOKENS), slots(tokens + ANSWER_TOKENS)) for p, _ in prompts]

    def turn(key: array[int], values: torch.Tensor) -> None:
        tree.hit(key)
        tree.insert(key, values)

    figures["turn"] = median_us((lambda t=t: turn(*t)) for t in turns)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for page in (1, 16):
        print(json.dumps(measure(page, given.sequences, given.rounds)))


if __name__ == "__main__":
    main()
