"""Are the kernels right on this device?

Knows: how to run both paths on the same work, for one layer or inside a model, where widths,
heads, windows, softcap and sinks are the model's own. Does not know what to do about the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import torch

from stemfirst_server.engine.config import KVDtype
from stemfirst_server.kernels.step import TritonStep
from stemfirst_server.kernels.trial import Laid, Work, lay_out
from stemfirst_server.memory.pool import LayerShape
from stemfirst_server.model.attention import AttentionStep, paged_attention, use_step

if TYPE_CHECKING:
    from stemfirst_server.model.attention import _Options

TOLERANCE = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest difference from the reference, as a share of its largest value, that is rounding."""

# Between them they run, and so compile, every program that serving will need.
_WORKS = (
    # Nothing cached, a hit that ends inside a page, a long hit; then single tokens on both sides
    # of a page's end, and one whose pages decode splits.
    Work(chunks=((0, 40), (37, 9), (150, 70)), singles=(1, 16, 17, 300)),
    # A chunk of few rows, and requests too short to split.
    Work(chunks=((20, 2),), singles=(1, 17)),
)


@dataclass(slots=True, eq=False)
class BothPaths(AttentionStep):
    """A step that attends both ways and goes on with the reference's answer.

    Attributes:
        fast: the kind of step that is compared with the reference.
        errors: a layer's index to the largest difference, as a share of the largest value of the
            reference; infinite where something was not written or is not finite.
    """

    fast: type[TritonStep] = TritonStep
    errors: dict[int, float] = field(default_factory=dict)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        options: _Options,
    ) -> torch.Tensor:
        """Return the reference's answer; shapes as in `AttentionStep.attend`."""
        expected = AttentionStep.attend(self, layer, query, key, value, options)
        stored = (self.pool.keys[layer], self.pool.values[layer], *(self.pool.scales(layer) or ()))
        memory = [tensor.flatten(0, 1) for tensor in stored]
        before = [tensor.clone() for tensor in memory]
        for tensor in memory:
            # The kernels must write these themselves.
            tensor[self.slots] = float("nan") if tensor.is_floating_point() else 85
        # And its answer: fresh memory may hold a right one from before.
        got = torch.full(expected.shape, float("nan"), dtype=expected.dtype, device=expected.device)
        step = self.fast(self.pool, self.slots, self.chunks, self.singles)
        step.attend_into(got[0], layer, query, key, value, options)
        # All of memory: a stray write elsewhere would be some other request's KV.
        is_stored = all(map(torch.equal, memory, before))
        for tensor, right in zip(memory, before, strict=True):
            tensor.copy_(right)
        error = relative_error(got, expected) if is_stored else math.inf
        self.errors[layer] = max(error, self.errors.get(layer, 0.0))
        return expected


@dataclass(frozen=True, slots=True)
class Layer:
    """One attention layer, without a model.

    Attributes:
        heads: of queries.
        shape: of keys and values.
        window: tokens that a query sees, itself included; None for all.
        softcap: scores become softcap · tanh(score / softcap); None for no cap.
        has_sinks: whether each head has a logit that takes weight and gives no value.
    """

    heads: int
    shape: LayerShape
    window: int | None = None
    softcap: float | None = None
    has_sinks: bool = False


@torch.inference_mode()
def layer_error(
    layer: Layer,
    work: Work,
    *,
    page: int,
    dtype: torch.dtype,
    device: torch.device,
    kv_dtype: KVDtype = KVDtype.AUTO,
    fast: type[TritonStep] = TritonStep,
    seed: int = 7,
) -> float:
    """Return the largest difference from the reference, as a share of its largest value."""
    shapes = {0: layer.shape}
    laid = lay_out(
        work, shapes, page=page, dtype=dtype, device=device, kv_dtype=kv_dtype, seed=seed
    )
    step = BothPaths(laid.pool, laid.slots, laid.chunks, laid.singles, fast=fast)
    attend(layer, laid, step, seed=seed)
    return step.errors[0]


def attend(layer: Layer, laid: Laid, step: AttentionStep, *, seed: int = 7) -> torch.Tensor:
    """Return a step's answer to random queries, keys and values, the same ones for a seed.

    Returns:
        `(1, tokens, heads, value_width)`.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    tokens, shape = len(laid.slots), layer.shape
    device, dtype = laid.slots.device, laid.pool.dtype

    def noise(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator).to(device=device, dtype=dtype)

    with use_step(step):
        return paged_attention(
            # All that attention asks of a module.
            cast("torch.nn.Module", SimpleNamespace(layer_idx=0)),
            noise(1, tokens, layer.heads, shape.key_width).transpose(1, 2),
            noise(1, tokens, shape.kv_heads, shape.key_width).transpose(1, 2),
            noise(1, tokens, shape.kv_heads, shape.value_width).transpose(1, 2),
            None,
            sliding_window=layer.window,
            softcap=layer.softcap,
            s_aux=noise(layer.heads) if layer.has_sinks else None,
        )[0]


@torch.inference_mode()
def largest_error(
    model: Any,
    shapes: dict[int, LayerShape],
    *,
    page: int,
    kv_dtype: KVDtype = KVDtype.AUTO,
) -> float:
    """Return the worst layer's error over packed steps of chunks, hits and single tokens.

    Args:
        model: uses `ATTENTION_NAME`, in evaluation mode.
        shapes: of its layers.
        page: tokens a page.
        kv_dtype: what keys and values are stored in.

    Raises:
        Exception: whatever Triton or the device say when a kernel cannot be built or launched.
    """
    vocab = int(model.config.get_text_config().vocab_size)
    generator = torch.Generator().manual_seed(7)
    worst = 0.0
    for work in _WORKS:
        laid = lay_out(
            work,
            shapes,
            page=page,
            dtype=model.dtype,
            device=model.device,
            kv_dtype=kv_dtype,
        )
        step = BothPaths(laid.pool, laid.slots, laid.chunks, laid.singles)
        ids = torch.randint(vocab // 4, vocab // 2, laid.positions.shape, generator=generator)
        with use_step(step):
            model(
                input_ids=ids.to(model.device)[None],
                position_ids=laid.positions[None],
                attention_mask=None,
                past_key_values=None,
                use_cache=False,
            )
        worst = max(worst, *step.errors.values())
    return worst


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference over the largest expected value; infinite for NaN."""
    scale = max(1e-6, float(expected.abs().max()))
    error = float((got.float() - expected.float()).abs().max()) / scale
    return error if math.isfinite(error) else math.inf
