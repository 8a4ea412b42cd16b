"""What guessing from the prompt (`serve --speculate`) gains, and what it costs elsewhere.

A Llama of random weights, whose embedding and output are set so that each token has one successor:
it computes what any model of its shape does, and what it will say is known. So a prompt can hold
the answer word for word (`copy`), with every twelfth token wrong (`edit`), or not at all (`new`).
Engines with and without guesses take turns on the same requests; the tokens must be the same.
Output tokens a second count from the first token on. Ratios come from one run.

    python benchmarks/speculate.py              # about four minutes on two quiet cores
    python benchmarks/speculate.py --smoke      # seconds; the numbers mean nothing
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch
from random_llama import ModelShape, random_model
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.model.loading import LoadedModel

SHAPES = {
    "25m": ModelShape(512, 8, 1408, 8, 4, 64, 4096),
    "100m": ModelShape(1024, 8, 2816, 16, 8, 64, 4096),
    "tiny": ModelShape(64, 2, 96, 4, 2, 16, 512),
}
EDIT_EVERY = 12
WORKLOADS = ("copy", "edit", "new")


def successor_model(shape: ModelShape, dtype: torch.dtype) -> tuple[LoadedModel, np.ndarray]:
    """Return a model and each token's successor; the successors make one large circle."""
    torch.manual_seed(1)
    loaded = random_model(shape, dtype, torch.device("cpu"))
    circle = np.random.default_rng(2).permutation(shape.vocab)
    successor = np.empty(shape.vocab, dtype=np.int64)
    successor[circle] = np.roll(circle, -1)
    with torch.no_grad():
        directions = torch.nn.functional.normalize(torch.randn(shape.vocab, shape.hidden), dim=-1)
        # So long that what the layers add does not turn it.
        loaded.model.get_input_embeddings().weight.copy_(directions * 1000)
        loaded.model.get_output_embeddings().weight[successor] = directions.to(dtype)
    return loaded, successor


def follow(successor: np.ndarray, start: int, count: int) -> list[int]:
    """Return the `count` tokens behind `start`."""
    tokens, token = [], start
    for _ in range(count):
        token = int(successor[token])
        tokens.append(token)
    return tokens


def prompt(kind: str, successor: np.ndarray, start: int, answer: int, prefix: int) -> list[int]:
    """Return a prompt of `prefix + answer + 2` tokens that ends where the answer begins."""
    rng = np.random.default_rng(start)
    said = follow(successor, start, answer)
    if kind == "new":
        said = rng.permutation(len(successor))[:answer].tolist()
    elif kind == "edit":
        for place in range(EDIT_EVERY // 2, answer, EDIT_EVERY):
            said[place] = int(rng.integers(len(successor)))
    before = rng.integers(0, len(successor), prefix).tolist()
    entry = int(np.flatnonzero(successor == start)[0])
    # The two tokens before the document stand at the end too: a run that can be looked up.
    return [*before, entry, start, *said, entry, start]


def decode_rate(engine: Engine, prompts: list[list[int]], answer: int) -> tuple[float, list[int]]:
    """Return output tokens a second from the first token on, and all tokens."""
    sampling = SamplingParams(max_tokens=answer, temperature=0, ignore_eos=True)
    handles = [
        engine.submit(GenerationRequest(f"r{n}", token_array(tokens), sampling))
        for n, tokens in enumerate(prompts)
    ]
    done = [handle.result(timeout=600) for handle in handles]
    decode_ms = max(answer.finish.report.decode_ms for answer in done)
    engine.flush()
    count = sum(len(answer.token_ids) - 1 for answer in done)
    return count / decode_ms * 1e3, [token for answer in done for token in answer.token_ids]


def engine_of(loaded: LoadedModel, speculate_tokens: int, streams: int) -> Engine:
    config = EngineConfig(
        pool_tokens=16_384 + streams * 2048,
        chunk_tokens=4096,
        max_running=streams,
        speculate_tokens=speculate_tokens,
    )
    engine = Engine(loaded, config)
    engine.start()
    return engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SHAPES, default="100m")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--speculate", type=int, default=8, metavar="TOKENS")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--answer", type=int, default=192, metavar="TOKENS")
    parser.add_argument("--prefix", type=int, default=256, metavar="TOKENS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    if given.smoke:
        given.model, given.streams, given.answer, given.rounds = "tiny", [1, 2], 48, 1
    loaded, successor = successor_model(SHAPES[given.model], getattr(torch, given.dtype))
    print(
        f"{given.model}, {given.dtype}, {torch.get_num_threads()} threads, guesses of up to "
        f"{given.speculate} tokens, answers of {given.answer}, median of {given.rounds} rounds"
    )
    print(
        f"{'workload':>8} {'streams':>7} {'without':>9} {'with':>9} {'ratio':>6} {'came true':>9}"
    )
    for streams in given.streams:
        engines = [engine_of(loaded, count, streams) for count in (0, given.speculate)]
        for kind in WORKLOADS:
            rates: list[list[float]] = [[], []]
            before = engines[1].stats()
            for turn in range(given.rounds):
                starts = np.random.default_rng(turn).integers(0, len(successor), streams)
                prompts = [
                    prompt(kind, successor, int(start), given.answer, given.prefix)
                    for start in starts
                ]
                said = []
                for engine, own in zip(engines, rates, strict=True):
                    rate, tokens = decode_rate(engine, prompts, given.answer)
                    own.append(rate)
                    said.append(tokens)
                if said[0] != said[1]:
                    raise SystemExit(f"{kind}: guesses changed an answer")
            after = engines[1].stats()
            drafted = after.drafted_tokens - before.drafted_tokens
            came_true = (after.accepted_tokens - before.accepted_tokens) / max(1, drafted)
            without, with_guesses = map(statistics.median, rates)
            print(
                f"{kind:>8} {streams:>7} {without:>7.1f}/s {with_guesses:>7.1f}/s "
                f"{with_guesses / without:>6.2f} {came_true:>9.0%}",
                flush=True,
            )
        for engine in engines:
            engine.stop()


if __name__ == "__main__":
    main()
