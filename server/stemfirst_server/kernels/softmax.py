"""The arithmetic that prefill and decode kernels share: paged loads, scores, online softmax.

Knows: one block of keys and values at a time. Does not know which tokens may see it.

Scores are kept in units of log 2, because the hardware has `exp2` and no `exp`. `top` is a row's
largest score so far, `total` the sum of `exp2(score - top)`, `mixed` the weighted values that
have not been divided by `total` yet; all three are float32.

Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018).
"""
# mypy: disable-error-code="untyped-decorator"
# ruff: noqa: N803
# Triton has no type stubs; its compile-time arguments are written in capitals.

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)

# How memory holds a number: as the model computes it, or eight bits and a scale.
PLAIN: tl.constexpr = tl.constexpr(0)
INT8: tl.constexpr = tl.constexpr(1)
FP8: tl.constexpr = tl.constexpr(2)


@dataclass(frozen=True, slots=True, eq=False)
class Scales:
    """What eight-bit keys and values are multiplied by.

    Attributes:
        keys: `(pages, page, kv_heads, 1)` float32, contiguous.
        values: the same.
        is_fp8: the numbers are bits of fp8 (e4m3), not integers.
    """

    keys: torch.Tensor
    values: torch.Tensor
    is_fp8: bool


def form_of(scales: Scales | None) -> int:
    """Return the kernels' `FORM`."""
    if scales is None:
        return int(PLAIN.value)
    return int((FP8 if scales.is_fp8 else INT8).value)


@triton.jit
def slots_of(
    page_ids: tl.tensor, positions: tl.tensor, is_wanted: tl.tensor, PAGE: tl.constexpr
) -> tl.tensor:
    """Return where the tokens at `positions` of a request lie, as int64.

    Args:
        page_ids: pointer to the request's first page id.
        positions: `(tokens,)`.
        is_wanted: `(tokens,)`; the others' slots are 0.
        PAGE: tokens a page.
    """
    pages = tl.load(page_ids + positions // PAGE, mask=is_wanted, other=0).to(tl.int64)
    return pages * PAGE + positions % PAGE


@triton.jit
def load_slots(
    memory: tl.tensor,
    scales: tl.tensor,
    slots: tl.tensor,
    is_wanted: tl.tensor,
    slot_stride: tl.tensor,
    scale_stride: tl.tensor,
    DTYPE: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    FORM: tl.constexpr,
) -> tl.tensor:
    """Return `(tokens, BLOCK_WIDTH)` keys or values of one head; zeros where not wanted.

    Memory behind a request's last token belongs to nobody and may hold NaN, so it is not read.

    Args:
        memory: pointer to the head's numbers in slot 0.
        scales: pointer to the head's scale in slot 0; not read where the form is `PLAIN`.
        slots: `(tokens,)`.
        is_wanted: `(tokens,)`.
        slot_stride: of `memory`.
        scale_stride: of `scales`.
        DTYPE: what eight-bit numbers become.
        WIDTH: of the head.
        BLOCK_WIDTH: the power of two above it.
        FORM: `PLAIN`, `INT8` or `FP8`.
    """
    column = tl.arange(0, BLOCK_WIDTH)
    tile = tl.load(
        memory + slots[:, None] * slot_stride + column[None, :],
        mask=is_wanted[:, None] & (column < WIDTH)[None, :],
        other=0,
    )
    if FORM != PLAIN:
        scale = tl.load(scales + slots * scale_stride, mask=is_wanted, other=0.0)
        if FORM == FP8:
            # The bits in a float16's places are the number over 256, subnormal ones too: any
            # device can do it.
            bits = ((tile.to(tl.int16) << 7) & -0x4001).to(tl.int16)
            wide = bits.to(tl.float16, bitcast=True).to(tl.float32)
            scale *= 256.0
        else:
            wide = tile.to(tl.float32)
        tile = (wide * scale[:, None]).to(DTYPE)
    return tile


@triton.jit
def scores_of(
    query: tl.tensor,
    key: tl.tensor,
    scale: tl.tensor,
    softcap: tl.tensor,
    HAS_SOFTCAP: tl.constexpr,
    IS_WIDENED: tl.constexpr,
) -> tl.tensor:
    """Return `(queries, tokens)` float32 scores in units of log 2."""
    if IS_WIDENED:
        # The interpreter multiplies bfloat16 as the integers that it stores them in.
        query = query.to(tl.float32)
        key = key.to(tl.float32)
    scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
    if HAS_SOFTCAP:
        # tanh by an exponent that is never positive, so that nothing overflows.
        ratio = scores / softcap
        small = tl.exp(-2.0 * tl.abs(ratio))
        bounded = softcap * (1.0 - small) / (1.0 + small)
        scores = tl.where(ratio < 0.0, -bounded, bounded)
    return scores * LOG2_E


@triton.jit
def absorb(
    scores: tl.tensor,
    value: tl.tensor,
    mixed: tl.tensor,
    top: tl.tensor,
    total: tl.tensor,
    IS_WIDENED: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return `(mixed, top, total)` with one block of tokens taken in.

    Args:
        scores: `(queries, tokens)`, minus infinity where a query may not see a token.
        value: `(tokens, value width)`.
        mixed: `(queries, value width)`.
        top: `(queries,)`.
        total: `(queries,)`.
        IS_WIDENED: multiply in float32; for the interpreter.
    """
    new_top = tl.maximum(top, tl.max(scores, 1))
    # A row that has seen nothing yet: infinity minus infinity would be NaN.
    shift = tl.where(new_top == float("-inf"), 0.0, new_top)
    weights = tl.exp2(scores - shift[:, None])
    decay = tl.exp2(top - shift)
    total = total * decay + tl.sum(weights, 1)
    weights = weights.to(value.dtype)
    if IS_WIDENED:
        weights = weights.to(tl.float32)
        value = value.to(tl.float32)
    mixed = tl.dot(weights, value, mixed * decay[:, None], input_precision="ieee")
    return mixed, new_top, total


@triton.jit
def absorb_sinks(
    sink: tl.tensor, mixed: tl.tensor, top: tl.tensor, total: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return `(mixed, top, total)` with a logit a row that takes weight and gives no value."""
    sink = sink * LOG2_E
    new_top = tl.maximum(top, sink)
    decay = tl.exp2(top - new_top)
    return mixed * decay[:, None], new_top, total * decay + tl.exp2(sink - new_top)
