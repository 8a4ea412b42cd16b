"""The engines that `benchmarks/serve.py` compares, each behind the same call.

Knows: how to start each on the same checkpoint and precision, and how to ask it for a fixed
number of greedy tokens behind token ids. Ours and llama.cpp's run as processes and are asked
through HTTP; transformers' batching is called in this process, which is to its favour.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import httpx

START_S = 180
# Tokens of KV memory: ours shares what runs together, transformers' batching only what is done,
# so it gets as much as all requests of a workload need at once.
OUR_POOL_TOKENS = 24_576
PEERS_POOL_TOKENS = 65_536
# Tokens of one request.
MOST_TOKENS = 2048


class Engine(Protocol):
    """Something that answers prompts."""

    def answer(self, prompts: list[list[int]], new_tokens: int) -> None:
        """Answer all prompts, sent at once, with that many tokens each."""

    def close(self) -> None:
        """End it."""


class _Process:
    """A server process, and requests to it."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdout=self.log, stderr=subprocess.STDOUT, env=os.environ | environment
        )

    def logged(self) -> str:
        """Return what it said until now."""
        self.log.seek(0)
        return self.log.read()

    def wait(self, pattern: str) -> re.Match[str]:
        """Wait until its output matches; the process may not end before."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            found = re.search(pattern, self.logged())
            if found:
                return found
            time.sleep(0.1)
        raise SystemExit(f"the server did not start:\n{self.logged()}")

    def ask(self, url: str, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send all at once; return the answers in order."""

        async def all_of_them() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(timeout=1200, limits=limits) as client:
                return await asyncio.gather(*(client.post(url, json=body) for body in bodies))

        replies = asyncio.run(all_of_them())
        for reply in replies:
            reply.raise_for_status()
        return [reply.json() for reply in replies]

    def processor_s(self) -> float:
        """Return the seconds of processor time that it has used, all threads; on Linux."""
        # The kernel's number for another process's clock, as clock_getcpuclockid(3) makes it.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()
        self.log.close()


class Ours:
    """`stemfirst serve`."""

    def __init__(
        self,
        folder: Path,
        threads: int,
        dtype: str,
        *,
        has_prefix_cache: bool = True,
        pool_tokens: int = OUR_POOL_TOKENS,
        page: int = 16,
    ) -> None:
        self._server = _Process(
            [
                *(sys.executable, "-m", "stemfirst.cli", "serve", "--port", "0"),
                *("--model", str(folder), "--pool-tokens", str(pool_tokens), "--dtype", dtype),
                *("--calibration-seconds", "0", "--page", str(page)),
                "--enable-prefix-caching" if has_prefix_cache else "--no-prefix-caching",
            ],
            {"OMP_NUM_THREADS": str(threads)},
        )
        found = self._server.wait(r"Serving (\S+) at (http://\S+)/v1")
        self._model, self._url = found[1], found[2] + "/v1/completions"

    def answer(self, prompts: list[list[int]], new_tokens: int) -> None:
        """Answer all prompts, sent at once."""
        replies = self._server.ask(
            self._url,
            [
                {
                    "model": self._model,
                    "prompt": prompt,
                    "max_tokens": new_tokens,
                    "temperature": 0,
                    "ignore_eos": True,
                }
                for prompt in prompts
            ],
        )
        assert all(reply["usage"]["completion_tokens"] == new_tokens for reply in replies)

    def processor_s(self) -> float:
        """Return the seconds of processor time that the server has used."""
        return self._server.processor_s()

    def close(self) -> None:
        """End the process."""
        self._server.close()


class LlamaCpp:
    """llama.cpp's server on a GGUF file of the same weights.

    Args:
        slots: requests that run together; each has its own memory, or all share one buffer.
    """

    def __init__(
        self, binary: Path, gguf: Path, threads: int, dtype: str, *, slots: int, is_unified: bool
    ) -> None:
        kind = {"float32": "f32", "bfloat16": "bf16"}[dtype]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        tokens = PEERS_POOL_TOKENS if is_unified else slots * MOST_TOKENS
        self._server = _Process(
            [
                *(str(binary), "--model", str(gguf), "--host", "127.0.0.1", "--port", str(port)),
                *("--parallel", str(slots), "--ctx-size", str(tokens)),
                *("--threads", str(threads), "--cache-type-k", kind, "--cache-type-v", kind),
                "--kv-unified" if is_unified else "--no-kv-unified",
            ],
            {},
        )
        self._url = f"http://127.0.0.1:{port}/completion"
        self._server.wait(r"server is listening|llama_server: listening")

    def answer(self, prompts: list[list[int]], new_tokens: int) -> None:
        """Answer all prompts, sent at once."""
        replies = self._server.ask(
            self._url,
            [
                {
                    "prompt": prompt,
                    "n_predict": new_tokens,
                    "temperature": 0,
                    "ignore_eos": True,
                    "cache_prompt": True,
                }
                for prompt in prompts
            ],
        )
        assert all(reply["tokens_predicted"] == new_tokens for reply in replies)

    def close(self) -> None:
        """End the process."""
        self._server.close()


class Transformers:
    """`generate_batch` of a model in this process, with prefix sharing.

    Left to itself, it takes the first call's number of requests and their length for limits, and a
    first call of one request would make all others wait in line; so both are given. More that
    run together are not always faster: without flash attention it masks all against all.
    """

    def __init__(
        self,
        folder: Path,
        threads: int,
        dtype: str,
        *,
        page: int,
        batch_tokens: int,
        most_running: int,
    ) -> None:
        import torch
        from transformers import AutoModelForCausalLM, ContinuousBatchingConfig
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        torch.set_num_threads(threads)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="sdpa", dtype=getattr(torch, dtype)
        ).eval()
        self._batching = ContinuousBatchingConfig(
            page_size=page,
            num_blocks=PEERS_POOL_TOKENS // page,
            max_batch_tokens=batch_tokens,
            max_requests_per_batch=most_running,
            max_blocks_per_request=2 * -(-MOST_TOKENS // (2 * page)) + 2,
            allow_block_sharing=True,
        )

    def answer(self, prompts: list[list[int]], new_tokens: int) -> None:
        """Answer all prompts, given at once."""
        from transformers import GenerationConfig

        done = self._model.generate_batch(
            inputs=prompts,
            generation_config=GenerationConfig(
                max_new_tokens=new_tokens, do_sample=False, eos_token_id=-1, pad_token_id=3
            ),
            continuous_batching_config=self._batching,
            progress_bar=False,
            persistent_manager=True,
        )
        assert len(done) == len(prompts)
        assert all(len(out.generated_tokens) == new_tokens for out in done.values())

    def close(self) -> None:
        """End its thread."""
        self._model.destroy_cached_continuous_batching_manager()
