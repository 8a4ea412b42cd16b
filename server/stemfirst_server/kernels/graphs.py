"""Decode in CUDA graphs: one recorded launch of a whole step instead of hundreds.

Knows: batch sizes, capture, and how to see that a recording is right before it serves. A size
that cannot be captured, or whose logits differ from those of an ordinary step, runs eagerly and
the log says so. Not yet run on a GPU: off by default.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

import torch

from stemfirst_server.kernels.static_decode import DecodeInputs, StaticDecode
from stemfirst_server.kernels.tiles import power_of_two
from stemfirst_server.kernels.verify import relative_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_server.memory.pool import KVPool
    from stemfirst_server.model.attention import AttentionStep

_log = logging.getLogger("stemfirst.kernels")
_WARM_UPS = 3
_MOST_VERIFIED_PAGES = 32  # of a request: noise for whole contexts would take minutes
# Of the largest logit. Filling a batch up changes the shapes of matrix products, hence rounding.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.05}


class Replay(Protocol):
    """A recorded step."""

    def __call__(self) -> torch.Tensor:
        """Run it on what was filled in; return its logits, stale at the next call."""
        ...


class CudaCapture:
    """Makes CUDA graphs that share their memory: one's logits are stale when another runs."""

    def __init__(self) -> None:
        self._memory: Any = None

    def __call__(self, static: StaticDecode) -> Replay:
        """Return a CUDA graph of the step.

        Raises:
            RuntimeError: the model does something that cannot be recorded.
        """
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # Compiles kernels and lets libraries allocate, which a recording must not do.
            for _ in range(_WARM_UPS):
                static.forward()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            logits = static.forward()
        self._memory = graph.pool()

        def replay() -> torch.Tensor:
            graph.replay()
            return logits

        return replay


class DecodeGraphs:
    """Verified recordings of decode steps, one for each power of two of requests."""

    def __init__(
        self,
        model: Any,
        pool: KVPool,
        step_type: type[AttentionStep],
        *,
        most_rows: int,
        table_pages: int,
        dummy_page: int,
        capture: Callable[[StaticDecode], Replay] | None = None,
    ) -> None:
        """Record and verify all sizes; overwrites pages, so before any request has some.

        Args:
            model: on its device, uses `ATTENTION_NAME`.
            pool: KV memory.
            step_type: what attends.
            most_rows: requests that decode together.
            table_pages: most pages of a request.
            dummy_page: a page of the pool that is never given to a request.
            capture: makes a recording; a CUDA graph by default.
        """
        self._model, self._pool, self._step_type = model, pool, step_type
        self._dummy_page = dummy_page
        self._table_pages = table_pages
        self._recorded: dict[int, tuple[StaticDecode, Replay]] = {}
        capture = capture or CudaCapture()
        size = power_of_two(most_rows)
        while size >= 1:  # the largest first: smaller ones fit in the memory that it leaves
            self._record(size, capture)
            size //= 2

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes that have a recording, ascending."""
        return tuple(sorted(self._recorded))

    @torch.inference_mode()
    def run(self, inputs: DecodeInputs) -> torch.Tensor | None:
        """Return `(requests, vocab)` float32 logits, or None where no recording fits.

        The logits are stale at the next call.
        """
        count, pages = inputs.page_ids.shape
        recorded = self._recorded.get(power_of_two(count))
        if recorded is None or pages > self._table_pages:
            return None
        static, replay = recorded
        static.fill(inputs)
        return replay()[:count]

    @torch.inference_mode()
    def _record(self, size: int, capture: Callable[[StaticDecode], Replay]) -> None:
        static = self._static(size)
        try:
            self._recorded[size] = (static, capture(static))
            error = max(self._error(size, seed) for seed in (1, 2))
        except Exception:  # noqa: BLE001
            # Models that build tensors on the host, or ask the device for a number, raise what
            # CUDA or their own code says; an ordinary step still serves them.
            _log.warning("decode of %d runs without a graph: no capture", size, exc_info=True)
            self._recorded.pop(size, None)
            return
        if not error <= _TOLERANCE.get(self._model.dtype, 0.0):
            _log.warning(
                "decode of %d runs without a graph: its logits are off by %.2g of the largest",
                size,
                error,
            )
            del self._recorded[size]

    def _error(self, size: int, seed: int) -> float:
        """Return by how much a replay differs from an ordinary step on the same work.

        One row fewer than the size where that can be, so that a dummy takes part.
        """
        generator = torch.Generator().manual_seed(seed)
        count = max(1, size - 1) if power_of_two(max(1, size - 1)) == size else size
        page, device = self._pool.page, self._model.device
        free = [number for number in range(self._pool.pages) if number != self._dummy_page]
        each = min(self._table_pages, len(free) // count, _MOST_VERIFIED_PAGES)
        assert each >= 1, "the pool has a page for every request that may run"
        table = torch.tensor(free[: count * each]).view(count, each)
        noise = torch.Generator(device).manual_seed(seed)
        pages = table.flatten().to(device)
        for tensor in (*self._pool.keys.values(), *self._pool.values.values()):
            shape = (count * each, *tensor.shape[1:])
            tensor[pages] = torch.randn(shape, generator=noise, device=device, dtype=tensor.dtype)
        kv_tokens = torch.randint(1, each * page + 1, (count,), generator=generator)
        positions = kv_tokens - 1
        rows = torch.arange(count)
        vocab = int(self._model.config.get_text_config().vocab_size)
        inputs = DecodeInputs(
            ids=torch.randint(vocab // 4, vocab // 2, (count,), generator=generator),
            positions=positions,
            slots=table[rows, positions // page] * page + positions % page,
            kv_tokens=kv_tokens,
            page_ids=table,
        )
        ordinary = self._static(count)
        ordinary.fill(inputs)
        expected = ordinary.forward()
        got = self.run(inputs)
        assert got is not None
        error = relative_error(got, expected)
        self._pool.clear(pages)
        return error

    def _static(self, rows: int) -> StaticDecode:
        return StaticDecode(
            self._model,
            self._pool,
            self._step_type,
            rows=rows,
            table_pages=self._table_pages,
            dummy_page=self._dummy_page,
        )
