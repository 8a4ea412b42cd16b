"""Which attention path a model runs on.

Knows: our kernels are for CUDA, need Triton, and must first agree with the reference path inside
the model that they are to serve. What fails falls back to the reference path, and the log says
why. Loads Triton only when there is a device for it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stemfirst_server.engine.config import KVDtype
from stemfirst_server.model.attention import AttentionStep

if TYPE_CHECKING:
    from stemfirst_server.engine.config import EngineConfig
    from stemfirst_server.kernels.graphs import DecodeGraphs
    from stemfirst_server.memory.pool import KVPool, LayerShape
    from stemfirst_server.model.loading import LoadedModel

_log = logging.getLogger("stemfirst.kernels")


@dataclass(frozen=True, slots=True, eq=False)
class AttentionPath:
    """How a model's steps are run.

    Attributes:
        step_type: what attends.
        recordings: of decode steps; None: every step is launched anew.
    """

    step_type: type[AttentionStep] = AttentionStep
    recordings: DecodeGraphs | None = None


def choose_path(
    loaded: LoadedModel, pool: KVPool, config: EngineConfig, *, context_tokens: int
) -> AttentionPath:
    """Return the fastest path that is exact for a model on its device.

    Args:
        loaded: the model.
        pool: empty; with CUDA graphs, its last page is one that no request is ever given.
        config: of the engine.
        context_tokens: most tokens of a request.
    """
    if not config.has_kernels:
        return AttentionPath()
    step_type = choose_step(loaded.model, loaded.shapes, page=pool.page, kv_dtype=config.kv_dtype)
    if not config.has_cuda_graphs:
        return AttentionPath(step_type)
    if config.kv_dtype is not KVDtype.AUTO:
        _log.warning("decode runs without CUDA graphs: they are not made for KV in eight bits")
        return AttentionPath(step_type)
    if step_type is AttentionStep:
        # It gathers whole page tables, which in a recording are as long as the context.
        _log.warning("decode runs without CUDA graphs: they need our kernels, which do not run")
        return AttentionPath()
    from stemfirst_server.kernels.graphs import DecodeGraphs

    dummy_page = pool.pages - 1
    recordings = DecodeGraphs(
        loaded.model,
        pool,
        step_type,
        # Verification gives each request a page.
        most_rows=min(config.max_running, dummy_page),
        table_pages=-(-context_tokens // pool.page),
        dummy_page=dummy_page,
    )
    _log.info("decode runs in CUDA graphs for batches of %s", recordings.sizes)
    return AttentionPath(step_type, recordings)


def choose_step(
    model: Any,
    shapes: dict[int, LayerShape],
    *,
    page: int,
    kv_dtype: KVDtype = KVDtype.AUTO,
    is_interpreted: bool = False,
) -> type[AttentionStep]:
    """Return the fastest kind of step that is exact for this model on its device.

    Takes seconds on CUDA where the kernels are not in Triton's cache yet.

    Args:
        model: on its device, uses `ATTENTION_NAME`, in evaluation mode.
        shapes: of its layers.
        page: tokens a page.
        kv_dtype: what keys and values are stored in.
        is_interpreted: try the kernels on the CPU too, in Triton's interpreter; for tests, with
            TRITON_INTERPRET=1.
    """
    if model.device.type != "cuda" and not is_interpreted:
        return AttentionStep
    try:
        from stemfirst_server.kernels.step import TritonStep
        from stemfirst_server.kernels.verify import TOLERANCE, largest_error
    except ImportError as error:
        _log.warning(
            "attention runs on the reference path, which is slower: Triton cannot be loaded (%s); "
            "install torch's CUDA build, or pip install triton",
            error,
        )
        return AttentionStep
    tolerance = TOLERANCE.get(model.dtype)
    if tolerance is None:
        _log.warning(
            "attention runs on the reference path: the kernels do not know %s", model.dtype
        )
        return AttentionStep
    try:
        largest = largest_error(model, shapes, page=page, kv_dtype=kv_dtype)
    except Exception:  # noqa: BLE001
        # Triton, ptxas and the driver raise what they like; the reference path needs none of them.
        _log.warning(
            "attention runs on the reference path, which is slower: the kernels do not run here",
            exc_info=True,
        )
        return AttentionStep
    if not largest <= tolerance:
        _log.warning(
            "attention runs on the reference path, which is slower: the kernels are off by %.2g "
            "of the largest value, and %.2g is rounding",
            largest,
            tolerance,
        )
        return AttentionStep
    _log.info("attention runs on our kernels, largest error %.1e", largest)
    return TritonStep
