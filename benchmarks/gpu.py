"""One command for a GPU: are the kernels right, and how near to the device's ceilings are we?

Run: `python benchmarks/gpu.py`, and `--json results.json` to keep the numbers.

1. Every kernel against the reference path, on the device.
2. Two ceilings, measured here and now: a large matrix product, and a large copy.
3. Prefill against the first, decode against the second, for a Llama-type model with random
   weights (`--model`, 8B by default).
4. Time to first token when a prefix is cached, and throughput over a number of streams, through
   the engine: scheduler, radix tree and all.

Without a CUDA device it says so and ends with exit code 2, since nothing was measured;
`--check-only --device cpu` then checks the kernels in Triton's interpreter (set
TRITON_INTERPRET=1), and `--device cpu --model tiny` goes through all parts, which tests this
script and measures nothing of interest. Exit code 1: a kernel is wrong. 0: all was done.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ceilings import copy_bytes, matmul_flops, timed_ms
from random_llama import MODELS, ModelShape, prefill_flop, random_model
from stemfirst_server.engine.config import EngineConfig, KVDtype
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import (
    GenerationRequest,
    SamplingParams,
    TokenEvent,
    token_array,
)
from stemfirst_server.memory.pool import KVPool, LayerShape
from stemfirst_server.model.attention import AttentionStep, use_step
from stemfirst_server.model.loading import LoadedModel

PAGE = 16


@dataclass(frozen=True, slots=True)
class Result:
    """One number.

    Attributes:
        part: what was measured, such as `decode`.
        at: under which conditions.
        value: in `unit`.
        unit: of the value.
        of_ceiling: as a share of the ceiling measured in this run; None where there is none.
        goal: for `of_ceiling`.
    """

    part: str
    at: str
    value: float
    unit: str
    of_ceiling: float | None = None
    goal: float | None = None

    def line(self) -> str:
        """Return it for people."""
        text = f"{self.part:22} {self.at:34} {self.value:12.4g} {self.unit}"
        if self.of_ceiling is not None:
            text += f"   {self.of_ceiling:6.1%} of the ceiling"
        if self.goal is not None:
            text += f" (goal {self.goal:.0%})"
        return text


# 1. The kernels.


def check_kernels(device: torch.device) -> Iterator[tuple[str, float, float]]:
    """Yield (what, largest error, what rounding explains) for every case."""
    from stemfirst_server.kernels.trial import Work
    from stemfirst_server.kernels.verify import TOLERANCE, Layer, layer_error

    is_small = device.type != "cuda"  # the interpreter needs a millisecond a program
    long = 90 if is_small else 5000
    mixed = Work(((0, 20), (37, 9), (long, 60)), (1, 16, 17, long))
    layers = {
        "llama": Layer(8, LayerShape(2, 64, 64) if is_small else LayerShape(2, 128, 128)),
        "7 heads a KV head": Layer(7, LayerShape(1, 64, 64)),
        "one head a KV head, width 80": Layer(2, LayerShape(2, 80, 80)),
        "softcap and window": Layer(4, LayerShape(2, 32, 32), window=33, softcap=5.0),
        "sinks and window": Layer(8, LayerShape(2, 64, 64), window=16, has_sinks=True),
        "K 48, V 32": Layer(2, LayerShape(2, 48, 32)),
    }
    if not is_small:
        layers["width 256"] = Layer(8, LayerShape(4, 256, 256), window=1024, softcap=50.0)
        layers["width 512"] = Layer(4, LayerShape(1, 512, 512))
        layers["K 192, V 128"] = Layer(16, LayerShape(16, 192, 128))
        layers["64 heads, 8 KV heads"] = Layer(64, LayerShape(8, 64, 64), has_sinks=True)
    for name, layer in layers.items():
        for dtype, kv in product((torch.float32, torch.float16, torch.bfloat16), KVDtype):
            for page in (PAGE,) if is_small else (1, PAGE, 256):
                given = {"page": page, "dtype": dtype, "device": device, "kv_dtype": kv}
                error = layer_error(layer, mixed, **given)
                label = f"{name}, {str(dtype).removeprefix('torch.')}, KV {kv}, page {page}"
                yield label, error, TOLERANCE[dtype]


# 3. The model alone, against the ceilings.


def prefill_results(
    loaded: LoadedModel,
    shape: ModelShape,
    step_type: type[AttentionStep],
    lengths: Sequence[int],
    ceiling: float,
) -> Iterator[Result]:
    """Yield the rate of cold prefills."""
    from stemfirst_server.kernels.trial import Work, lay_out

    device = loaded.model.device
    for length in lengths:
        laid = lay_out(
            Work(((0, length),)), loaded.shapes, page=PAGE, dtype=loaded.model.dtype, device=device
        )
        ids = torch.randint(0, shape.vocab, (1, length), device=device)

        def run(laid: Any = laid, ids: torch.Tensor = ids, length: int = length) -> torch.Tensor:
            step = step_type(laid.pool, laid.slots, laid.chunks, None)
            return forward(loaded.model, step, ids, laid.positions[None], last=length - 1)

        ms = timed_ms(run, device, repeats=5)
        rate = prefill_flop(shape, length) / (ms / 1e3)
        yield Result("prefill", f"{length} tokens", ms, "ms", rate / ceiling, 0.6)


def decode_results(
    loaded: LoadedModel,
    step_type: type[AttentionStep],
    rows_and_tokens: Sequence[tuple[int, int]],
    ceiling: float,
) -> Iterator[Result]:
    """Yield the rate of decode steps, launched one by one and from a CUDA graph."""
    from stemfirst_server.kernels.graphs import CudaCapture
    from stemfirst_server.kernels.static_decode import DecodeInputs, StaticDecode

    model, device = loaded.model, loaded.model.device
    embedding = model.get_input_embeddings().weight
    # The embedding is looked up, not read through; the output layer is.
    weight_bytes = sum(p.numel() for p in model.parameters()) - embedding.numel()
    weight_bytes *= model.dtype.itemsize
    for rows, tokens in rows_and_tokens:
        each = -(-tokens // PAGE)
        pool = KVPool(
            loaded.shapes, pages=rows * each + 1, page=PAGE, dtype=model.dtype, device=device
        )
        for tensor in (*pool.keys.values(), *pool.values.values()):
            tensor.normal_()
        table = torch.randperm(rows * each, device=device).view(rows, each)
        static = StaticDecode(
            model, pool, step_type, rows=rows, table_pages=each, dummy_page=rows * each
        )
        last = torch.full((rows,), tokens - 1, device=device)
        static.fill(
            DecodeInputs(
                ids=torch.randint(0, loaded.info.vocab_size, (rows,), device=device),
                positions=last,
                slots=table[:, (tokens - 1) // PAGE] * PAGE + (tokens - 1) % PAGE,
                kv_tokens=last + 1,
                page_ids=table,
            )
        )
        moved = weight_bytes + rows * tokens * loaded.info.kv_bytes_per_token
        at = f"{rows} x {tokens} tokens"
        ms = timed_ms(static.forward, device)
        yield Result("decode, launched", at, ms, "ms", moved / (ms / 1e3) / ceiling)
        if device.type == "cuda":
            ms = timed_ms(CudaCapture()(static), device)
            yield Result("decode, CUDA graph", at, ms, "ms", moved / (ms / 1e3) / ceiling, 0.7)
        del pool, static


def forward(
    model: Any, step: AttentionStep, ids: torch.Tensor, positions: torch.Tensor, *, last: int
) -> torch.Tensor:
    with use_step(step):
        out = model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=None,
            past_key_values=None,
            use_cache=False,
            logits_to_keep=torch.tensor([last], device=ids.device),
        )
    logits: torch.Tensor = out.logits
    return logits


# 4. The engine.


def warm_results(engine: Engine, lengths: Sequence[int]) -> Iterator[Result]:
    """Yield the time to first token, cold and with all but a question cached."""
    generator = np.random.default_rng(1)
    vocab = engine.info.vocab_size
    for length in lengths:
        prefix = generator.integers(0, vocab, length)
        cold = first_token_ms(engine, prefix)
        yield Result("first token, cold", f"{length} tokens", cold, "ms")
        warm = []
        for _ in range(5):
            question = generator.integers(0, vocab, PAGE)
            warm.append(first_token_ms(engine, np.concatenate([prefix, question])))
        yield Result(
            "first token, warm", f"{length} + {PAGE} tokens", statistics.median(warm), "ms"
        )


def first_token_ms(engine: Engine, ids: np.ndarray) -> float:
    sampling = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True)
    done = engine.submit(
        GenerationRequest(f"ttft-{time.perf_counter_ns()}", token_array(ids.tolist()), sampling)
    ).result(timeout=600)
    ttft_ms = done.finish.report.ttft_ms
    if ttft_ms is None:
        raise RuntimeError(f"no token came: {done.finish.error}")
    return ttft_ms


def throughput_results(
    engine: Engine, streams: Sequence[int], *, prompt_tokens: int, output_tokens: int
) -> Iterator[Result]:
    """Yield output tokens a second over requests that share nothing."""
    generator = np.random.default_rng(2)
    for count in streams:
        sampling = SamplingParams(max_tokens=output_tokens, temperature=0.0, ignore_eos=True)
        prompts = generator.integers(0, engine.info.vocab_size, (count, prompt_tokens))
        started = time.perf_counter()
        handles = [
            engine.submit(
                GenerationRequest(f"load-{count}-{row}", token_array(ids.tolist()), sampling)
            )
            for row, ids in enumerate(prompts)
        ]
        produced = sum(
            isinstance(event, TokenEvent)
            for handle in handles
            for event in handle.events(timeout=600)
        )
        rate = produced / (time.perf_counter() - started)
        at = f"{count} streams, {prompt_tokens} in, {output_tokens} out"
        yield Result("throughput", at, rate, "tokens/s")


def main() -> int:
    asked = arguments()
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(
            f"no CUDA device (torch {torch.__version__}): nothing measured; see --help for "
            "--device cpu",
            file=sys.stderr,
        )
        return 2
    results: list[Result] = []

    def report(found: Iterator[Result]) -> None:
        for result in found:
            results.append(result)
            print(result.line(), flush=True)

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    print(f"{name or 'cpu'}, torch {torch.__version__}, {date.today()}", flush=True)
    can_check = device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    step_type: type[AttentionStep] = AttentionStep
    if can_check:
        wrong = 0
        for label, error, tolerance in check_kernels(device):
            is_right = error <= tolerance
            wrong += not is_right
            print(f"{'ok   ' if is_right else 'WRONG'} {label}: {error:.1e}", flush=True)
        if wrong:
            print(f"{wrong} kernels differ from the reference: nothing measured", file=sys.stderr)
            return 1
    else:
        print("kernels not checked: on the CPU that needs TRITON_INTERPRET=1")
    if asked.check_only:
        return 0 if can_check else 2
    if device.type == "cuda" and asked.attention == "kernels":
        from stemfirst_server.kernels.step import TritonStep

        step_type = TritonStep
    shape, dtype = MODELS[asked.model], getattr(torch, asked.dtype)
    is_tiny = asked.model == "tiny"
    with torch.inference_mode():
        flops = matmul_flops(device, dtype, 256 if is_tiny else 8192)
        bandwidth = copy_bytes(device, 2**24 if is_tiny else 2**31)
        report(iter((Result("matrix product", asked.dtype, flops / 1e12, "TFLOP/s"),)))
        report(iter((Result("copy", "read and written", bandwidth / 1e9, "GB/s"),)))
        loaded = random_model(shape, dtype, device)
        lengths = [64, 128] if is_tiny else [2048, 8192]
        report(prefill_results(loaded, shape, step_type, lengths, flops))
        work = [(1, 64), (4, 64)] if is_tiny else [(1, 1024), (1, 8192), (16, 2048), (64, 2048)]
        report(decode_results(loaded, step_type, work, bandwidth))
    pool_tokens = max(
        max(asked.cached) + 4 * PAGE,
        max(asked.streams) * (asked.prompt_tokens + asked.output_tokens + PAGE),
    )
    engine = Engine(
        loaded,
        EngineConfig(
            page=PAGE,
            pool_tokens=pool_tokens,
            chunk_tokens=8192,
            max_running=max(asked.streams),
            has_kernels=asked.attention == "kernels",
            has_cuda_graphs=asked.cuda_graphs,
        ),
    )
    engine.start()
    try:
        report(warm_results(engine, asked.cached))
        engine.flush()
        report(
            throughput_results(
                engine,
                asked.streams,
                prompt_tokens=asked.prompt_tokens,
                output_tokens=asked.output_tokens,
            )
        )
    finally:
        engine.stop(timeout=60)
    if asked.json:
        asked.json.write_text(
            json.dumps(
                {
                    "device": name,
                    "torch": torch.__version__,
                    "date": str(date.today()),
                    "model": asked.model,
                    "attention": step_type.__name__,
                    "cuda_graphs": asked.cuda_graphs,
                    "results": [asdict(result) for result in results],
                },
                indent=1,
            )
            + "\n"
        )
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Check the attention kernels on a GPU and measure against its ceilings.",
        epilog="Without a GPU: TRITON_INTERPRET=1 python benchmarks/gpu.py --device cpu "
        "--check-only checks the kernels' arithmetic; --device cpu --model tiny --dtype float32 "
        "--cached 64 --streams 1 2 goes through this script and measures nothing of interest.",
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--model", default="8b", choices=MODELS)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument(
        "--attention",
        default="kernels",
        choices=["kernels", "reference"],
        help="which path to measure; the kernels run on CUDA only",
    )
    parser.add_argument(
        "--cuda-graphs", action="store_true", help="decode in CUDA graphs in the engine too"
    )
    parser.add_argument("--check-only", action="store_true", help="the kernels and nothing else")
    parser.add_argument(
        "--cached",
        type=int,
        nargs="+",
        default=[1024, 8192, 32768, 100_000],
        metavar="TOKENS",
        help="prefixes whose time to first token is measured",
    )
    parser.add_argument(
        "--streams", type=int, nargs="+", default=[1, 4, 16, 64, 256], metavar="REQUESTS"
    )
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
