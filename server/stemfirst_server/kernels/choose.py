"""Which attention path a model runs on.

Knows: our kernels are for CUDA, need Triton, and must first agree with the reference path inside
the model that they are to serve. What fails falls back to the reference path, and the log says
why. Loads Triton only when there is a device for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from stemfirst_server.model.attention import AttentionStep

if TYPE_CHECKING:
    from stemfirst_server.memory.pool import LayerShape

_log = logging.getLogger("stemfirst.kernels")


def choose_step(
    model: Any,
    shapes: dict[int, LayerShape],
    *,
    page: int,
    is_interpreted: bool = False,
) -> type[AttentionStep]:
    """Return the fastest kind of step that is exact for this model on its device.

    Takes seconds on CUDA where the kernels are not in Triton's cache yet.

    Args:
        model: on its device, uses `ATTENTION_NAME`, in evaluation mode.
        shapes: of its layers.
        page: tokens a page.
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
        largest = largest_error(model, shapes, page=page)
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
