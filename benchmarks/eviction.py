"""Hit ratio and prefill time of eviction policies over replayed traffic.

Traffic is in the Mooncake trace's schema, one JSON object a line: `timestamp` in milliseconds,
`input_length` and `output_length` in tokens, `hash_ids`, one for each 512 tokens of the prompt. A
trace is read with `--trace FILE`; without one, three are generated: chat sessions behind a few
system prompts, documents that are asked about a few times among many that are read once, and
both. Replay is through the engine's own tree and page ledger; no model runs, and the time of
prefill is by the law that the server fits, with given coefficients.

    python benchmarks/eviction.py
    python benchmarks/eviction.py --trace mooncake_trace.jsonl --pool-tokens 2000000
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from stemfirst_server.memory.cache import PageCache
from stemfirst_server.memory.eviction import Eviction, Recency, Worth

BLOCK_TOKENS = 512

# Of a number of requests: times in milliseconds, and prompts as block ids.
Traffic = Callable[["Blocks", int], list[tuple[float, list[int]]]]


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """A line of a trace; units as in the module's docstring."""

    timestamp: int
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a policy made of a trace."""

    hit_ratio: float
    prefill_s: float


class Blocks:
    """New block ids, and prompts of them."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._next = 0

    def new(self, tokens: float) -> list[int]:
        """Return the ids of new blocks."""
        count = max(1, round(tokens / BLOCK_TOKENS))
        self._next += count
        return list(range(self._next - count, self._next))

    def length(self, median: float, spread: float) -> float:
        """Return a draw from a long-tailed distribution."""
        return float(self.random.lognormal(np.log(median), spread))


def chat(blocks: Blocks, requests: int) -> list[tuple[float, list[int]]]:
    """Sessions of several turns, minutes apart, behind one of a few system prompts."""
    systems = [blocks.new(blocks.length(3000, 0.5)) for _ in range(8)]
    weights = 1 / np.arange(1, len(systems) + 1)
    sent: list[tuple[float, list[int]]] = []
    while len(sent) < requests:
        at = float(blocks.random.uniform(0, requests * 500))
        prompt = list(systems[blocks.random.choice(len(systems), p=weights / weights.sum())])
        for _ in range(1 + blocks.random.geometric(0.3)):
            prompt = prompt + blocks.new(blocks.length(900, 0.8))
            sent.append((at, prompt))
            at += blocks.length(40_000, 1.0)
    return sent


def documents(blocks: Blocks, requests: int) -> list[tuple[float, list[int]]]:
    """Long documents, most of them read once, some asked about again and again."""
    sent: list[tuple[float, list[int]]] = []
    while len(sent) < requests:
        at = float(blocks.random.uniform(0, requests * 500))
        document = blocks.new(blocks.length(12_000, 0.7))
        for _ in range(1 if blocks.random.random() < 0.7 else 2 + blocks.random.geometric(0.25)):
            sent.append((at, document + blocks.new(300)))
            at += blocks.length(60_000, 1.0)
    return sent


def mixed(blocks: Blocks, requests: int) -> list[tuple[float, list[int]]]:
    """Half of each."""
    return chat(blocks, requests // 2) + documents(blocks, requests // 2)


def generated(
    kind: Callable[[Blocks, int], list[tuple[float, list[int]]]], count: int, seed: int
) -> list[TraceRequest]:
    """Return a trace in the order of its times."""
    sent = sorted(kind(Blocks(seed), count), key=lambda item: item[0])
    return [
        TraceRequest(int(at), len(prompt) * BLOCK_TOKENS, 200, tuple(prompt)) for at, prompt in sent
    ]


def read(path: Path) -> Iterator[TraceRequest]:
    """Yield a trace's requests."""
    for line in path.read_text("utf-8").splitlines():
        given = json.loads(line)
        yield TraceRequest(
            int(given["timestamp"]),
            int(given["input_length"]),
            int(given["output_length"]),
            tuple(given["hash_ids"]),
        )


def replay(
    trace: list[TraceRequest],
    eviction: Eviction,
    *,
    pool_blocks: int,
    even_tokens: float,
    ms_per_token: float,
) -> Replayed:
    """Replay one after the other; a block of the trace is a page of one token."""
    cache = PageCache(pages=pool_blocks, page=1, eviction=eviction)
    hit = asked = 0
    prefill_ms = 0.0
    for request in trace:
        ids = np.array(request.hash_ids[:pool_blocks], dtype=np.int32)
        found = cache.match("", ids.tobytes(), limit_tokens=len(ids))
        cache.tree.count_use(found.node)
        pages = cache.take(len(ids) - found.tokens)
        assert pages is not None, "one request fits the pool"
        row = np.concatenate([found.pages, pages])
        done = cache.store("", ids.tobytes(), row, node=found.node, held_from=found.tokens)
        cache.release(done.node)
        hit, asked = hit + found.tokens, asked + len(ids)
        context, new = found.tokens * BLOCK_TOKENS, (len(ids) - found.tokens) * BLOCK_TOKENS
        prefill_ms += ms_per_token * new * (1 + (context + new / 2) / even_tokens)
    return Replayed(hit / asked, prefill_ms / 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trace", type=Path, help="a file in Mooncake's schema")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write what is generated")
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--pool-tokens", type=int, help="default: three sizes")
    parser.add_argument("--even-tokens", type=float, default=8192.0)
    parser.add_argument("--ms-per-token", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args()
    if given.trace:
        traces = {given.trace.stem: list(read(given.trace))}
    else:
        traces = {
            kind.__name__: generated(kind, given.requests, given.seed)
            for kind in (chat, documents, mixed)
        }
    if given.write:
        given.write.mkdir(parents=True, exist_ok=True)
        for name, trace in traces.items():
            lines = (json.dumps(asdict(request)) for request in trace)
            (given.write / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    pools = [given.pool_tokens] if given.pool_tokens else [250_000, 1_000_000, 3_000_000]
    print(f"{'trace':12} {'pool':>9} {'recency':>18} {'worth':>18} {'time':>7}")
    for name, trace in traces.items():
        longest = max(len(request.hash_ids) for request in trace)
        for pool in pools:
            blocks = max(pool // BLOCK_TOKENS, longest)
            recency, worth = (
                replay(
                    trace,
                    eviction,
                    pool_blocks=blocks,
                    even_tokens=given.even_tokens,
                    ms_per_token=given.ms_per_token,
                )
                for eviction in (Recency(), Worth(given.even_tokens / BLOCK_TOKENS))
            )
            print(
                f"{name:12} {pool:9,} {recency.hit_ratio:7.1%} {recency.prefill_s:8,.0f} s "
                f"{worth.hit_ratio:7.1%} {worth.prefill_s:8,.0f} s "
                f"{worth.prefill_s / recency.prefill_s - 1:+7.1%}"
            )


if __name__ == "__main__":
    main()
