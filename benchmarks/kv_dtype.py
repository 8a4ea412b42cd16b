"""What KV in eight bits saves, costs and changes: memory, time, logits and greedy answers.

Against KV as the model computes it, on the same requests in one run. A model of random weights
makes the error look worse than a trained one would: its logits are nearly even. `--model` takes a
checkpoint folder.

    python benchmarks/kv_dtype.py               # about three minutes on two quiet cores
    python benchmarks/kv_dtype.py --smoke       # seconds; the times mean nothing
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch
from random_llama import ModelShape, random_model
from stemfirst_server.engine.config import EngineConfig, KVDtype
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import (
    Completion,
    GenerationRequest,
    SamplingParams,
    token_array,
)
from stemfirst_server.model import gates
from stemfirst_server.model.loading import LoadedModel, load_model

SHAPE = ModelShape(1024, 8, 2816, 16, 8, 64, 4096)
TINY = ModelShape(64, 2, 96, 4, 2, 16, 512)


def answers(engine: Engine, prompts: list[list[int]], new_tokens: int) -> list[Completion]:
    sampling = SamplingParams(max_tokens=new_tokens, temperature=0, ignore_eos=True)
    handles = [
        engine.submit(GenerationRequest(f"r{n}", token_array(tokens), sampling))
        for n, tokens in enumerate(prompts)
    ]
    done = [handle.result(timeout=1200) for handle in handles]
    engine.flush()
    return done


def agreement(got: Completion, want: Completion) -> float:
    """Return the share of an answer before its first other token."""
    pairs = zip(got.token_ids, want.token_ids, strict=True)
    same = next((n for n, (a, b) in enumerate(pairs) if a != b), len(want.token_ids))
    return same / len(want.token_ids)


def load(source: str | None, dtype: str, *, is_smoke: bool) -> LoadedModel:
    if source is not None:
        return load_model(source, dtype=dtype, device="cpu")
    torch.manual_seed(1)
    shape = TINY if is_smoke else SHAPE
    return random_model(shape, getattr(torch, dtype), torch.device("cpu"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="FOLDER", help="default: 100M random weights")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=1024)
    parser.add_argument("--answer", type=int, default=64, metavar="TOKENS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    if given.smoke:
        given.prompts, given.prompt_tokens, given.answer, given.rounds = 3, 96, 12, 1
    loaded = load(given.model, given.dtype, is_smoke=given.smoke)
    rng = np.random.default_rng(3)
    vocab = loaded.info.vocab_size
    prompts = rng.integers(vocab // 4, vocab // 2, (given.prompts, given.prompt_tokens)).tolist()
    pool_tokens = given.prompts * (given.prompt_tokens + given.answer + 64)
    print(
        f"{loaded.info.architecture}, {loaded.info.parameters / 1e6:.1f}M parameters, "
        f"{given.dtype}, {torch.get_num_threads()} threads; {given.prompts} prompts of "
        f"{given.prompt_tokens} tokens, answers of {given.answer}"
    )
    engines = {}
    for kv_dtype in KVDtype:
        config = EngineConfig(pool_tokens=pool_tokens, kv_dtype=kv_dtype)
        engines[kv_dtype] = Engine(loaded, config)
        engines[kv_dtype].start()
    said: dict[KVDtype, list[Completion]] = {}
    prefill_ms: dict[KVDtype, list[float]] = {kv_dtype: [] for kv_dtype in KVDtype}
    decode_ms: dict[KVDtype, list[float]] = {kv_dtype: [] for kv_dtype in KVDtype}
    for _ in range(given.rounds):
        for kv_dtype, engine in engines.items():
            done = said[kv_dtype] = answers(engine, prompts, given.answer)
            prefill_ms[kv_dtype].append(sum(each.finish.report.prefill_ms for each in done))
            alone = answers(engine, prompts[:1], given.answer)[0].finish.report
            decode_ms[kv_dtype].append(alone.decode_ms / (given.answer - 1))
    print("  KV   bytes/token  tokens  prefill  decode  logits: median   most  answers agree")
    auto = KVDtype.AUTO
    own_bytes = engines[auto].info.kv_bytes_per_token
    for kv_dtype, engine in engines.items():
        token_bytes = engine.info.kv_bytes_per_token
        prefill, decode = (
            statistics.median(ms[kv_dtype]) / statistics.median(ms[auto])
            for ms in (prefill_ms, decode_ms)
        )
        line = (
            f"{kv_dtype.value:>5} {token_bytes:>12} {own_bytes / token_bytes:>6.2f}x "
            f"{prefill:>7.2f}x {decode:>6.2f}x"
        )
        if kv_dtype is not auto:
            error = gates.check_kv_dtype(loaded.model, loaded.shapes, kv_dtype)
            same = [agreement(*pair) for pair in zip(said[kv_dtype], said[auto], strict=True)]
            line += f" {error.median:>15.4f} {error.largest:>6.4f} {statistics.mean(same):>14.0%}"
        print(line)
        engine.stop()


if __name__ == "__main__":
    main()
