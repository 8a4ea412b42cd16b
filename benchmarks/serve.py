"""Throughput of `stemfirst serve`, over HTTP, against transformers' continuous batching.

Knows: four workloads of token ids (shared prefix, multi-turn, many tenants, no sharing), the same
weights and precision for both, greedy, the same number of new tokens. Ours runs as a process and
is asked through HTTP; transformers' batching is called in this process, which is to its favour,
with its prefix sharing on. Both run in the same call of this script, one after the other, and
only the ratio means something. Run it on a machine that does nothing else:

    python benchmarks/serve.py                       # the demo model's 25 million parameters
    python benchmarks/serve.py --scale 0.1 --workload shared-prefix
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

NEW_TOKENS = 16
START_S = 120
VOCAB = range(16, 4000)


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in rounds: a round's requests are sent together, the next when all are answered.

    Attributes:
        name: what it is like.
        rounds: prompts as token ids. Round after round, a turn continues the prompt at the same
            place of the round before, with the answer in between.
        is_conversation: later rounds hold only what a turn adds.
    """

    name: str
    rounds: tuple[tuple[tuple[int, ...], ...], ...]
    is_conversation: bool = False


def workloads(scale: float) -> tuple[Workload, ...]:
    """Return the four workloads; `scale` multiplies the number of requests."""
    rng = np.random.default_rng(17)

    def text(tokens: int) -> tuple[int, ...]:
        return tuple(rng.integers(VOCAB.start, VOCAB.stop, tokens).tolist())

    def some(count: int) -> range:
        return range(max(2, round(count * scale)))

    stem = text(1000)
    shared = tuple(stem + text(50) for _ in some(64))
    tenants = [text(600) for _ in some(16)]
    many = tuple(tenant + text(50) for _ in range(4) for tenant in tenants)
    alone = tuple(text(600) for _ in some(32))
    opening = tuple(stem[:300] + text(200) for _ in some(12))
    turns = tuple(tuple(text(60) for _ in opening) for _ in range(4))
    return (
        Workload("shared-prefix", (shared,)),
        Workload("many-tenant", (many,)),
        Workload("multi-turn", (opening, *turns), is_conversation=True),
        Workload("no-sharing", (alone,)),
    )


class Ours:
    """The server as a process, asked through HTTP."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "stemfirst.cli", "serve", "--port", "0"),
                *("--model", str(folder), "--pool-tokens", "32768"),
                *("--calibration-seconds", "0"),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
        self._url = self._wait()

    def _wait(self) -> str:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            self._log.seek(0)
            found = re.search(r"Serving (\S+) at (http://\S+)/v1", self._log.read())
            if found:
                self._model = found[1]
                return found[2]
            time.sleep(0.1)
        self._log.seek(0)
        raise SystemExit(f"the server did not start:\n{self._log.read()}")

    def answer(self, prompts: list[list[int]]) -> list[list[int]]:
        """Return the answers' token ids; all prompts are sent at once."""
        return asyncio.run(self._answer(prompts))

    async def _answer(self, prompts: list[list[int]]) -> list[list[int]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self._url, timeout=600, limits=limits) as client:
            replies = await asyncio.gather(*(self._one(client, prompt) for prompt in prompts))
        return list(replies)

    async def _one(self, client: httpx.AsyncClient, prompt: list[int]) -> list[int]:
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": NEW_TOKENS,
            "temperature": 0,
            "ignore_eos": True,
        }
        reply = await client.post("/v1/completions", json=body)
        reply.raise_for_status()
        assert reply.json()["usage"]["completion_tokens"] == NEW_TOKENS
        # The text of random tokens is not needed; a turn goes on behind some answer of its length.
        return prompt[:NEW_TOKENS]

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()
        self._log.close()


class Transformers:
    """`generate_batch` of a model in this process."""

    def __init__(self, folder: Path, threads: int, page: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        torch.set_num_threads(threads)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="sdpa"
        ).eval()
        self._generation = GenerationConfig(
            max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=-1, pad_token_id=3
        )
        self._batching = ContinuousBatchingConfig(
            page_size=page, num_blocks=32768 // page, max_batch_tokens=512, allow_block_sharing=True
        )

    def answer(self, prompts: list[list[int]]) -> list[list[int]]:
        """Return stand-ins for the answers, of their length."""
        done = self._model.generate_batch(
            inputs=prompts,
            generation_config=self._generation,
            continuous_batching_config=self._batching,
            progress_bar=False,
            persistent_manager=True,
        )
        assert len(done) == len(prompts)
        assert all(len(out.generated_tokens) == NEW_TOKENS for out in done.values())
        return [prompt[:NEW_TOKENS] for prompt in prompts]

    def close(self) -> None:
        """End its thread."""
        self._model.destroy_cached_continuous_batching_manager()


def seconds(engine: Ours | Transformers, workload: Workload) -> float:
    """Return the time to answer a workload."""
    started = time.perf_counter()
    history: list[list[int]] = [[] for _ in workload.rounds[0]]
    for turn in workload.rounds:
        prompts = [before + list(new) for before, new in zip(history, turn, strict=True)]
        answers = engine.answer(prompts)
        history = [prompt + out for prompt, out in zip(prompts, answers, strict=True)]
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="checkpoint folder; default: the demo model")
    parser.add_argument("--workload", help="only this one")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--page", type=int, default=64, help="of transformers' batching")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    from stemfirst_server.model.demo import demo_model_folder

    folder = given.model or demo_model_folder()
    chosen = [w for w in workloads(given.scale) if given.workload in (None, w.name)]
    if not chosen:
        parser.error(f"there is no workload {given.workload}")
    figures: dict[str, dict[str, float]] = {w.name: {} for w in chosen}
    for name in ("ours", "transformers"):
        engine: Ours | Transformers
        if name == "ours":
            engine = Ours(folder, given.threads)
        else:
            engine = Transformers(folder, given.threads, given.page)
        try:
            engine.answer([list(range(100, 140))])  # first calls are slow for both
            for workload in chosen:
                figures[workload.name][name] = seconds(engine, workload)
        finally:
            engine.close()
    print(f"{'workload':15} {'requests':>8} {'ours':>9} {'transformers':>13} {'ratio':>6}")
    for workload in chosen:
        row = figures[workload.name]
        count = sum(len(turn) for turn in workload.rounds)
        print(
            f"{workload.name:15} {count:8} {row['ours']:7.2f} s {row['transformers']:11.2f} s "
            f"{row['transformers'] / row['ours']:6.1f}"
        )
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
