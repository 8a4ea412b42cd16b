"""Prefill: the new tokens of several requests attend to their cached pages and to themselves.

Knows: a packed row of chunks, each with its pages. Does not know layers or requests.

The query heads that share a KV head are rows of one tile, so keys are read once for all of them:

    row       0        1        2        3        4 ...
    token     0        0        1        1        2          (two query heads to a KV head)
    sees      cached + 1 tokens   cached + 2 tokens

A tile goes through the tokens that all its rows see without a mask, then through the rest with
one. Source: Dao, "FlashAttention-2" (2023), and Kwon et al., "PagedAttention" (2023).
"""
# mypy: disable-error-code="untyped-decorator"
# ruff: noqa: N803
# Triton has no type stubs; its compile-time arguments are written in capitals.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from stemfirst_server.kernels.softmax import (
    PLAIN,
    Scales,
    absorb,
    absorb_sinks,
    form_of,
    load_slots,
    scores_of,
    slots_of,
)
from stemfirst_server.kernels.tiles import Tile, extend_tile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemfirst_server.model.attention import ChunkRow


@dataclass(frozen=True, slots=True, eq=False)
class ExtendPlan:
    """Which program does what, for all layers of one shape; stale after the step.

    Attributes:
        tile: block sizes.
        chunks: `(chunks, 4)` int32 on the device: first token in the packed row, new tokens,
            tokens in pages, first entry in `page_ids`.
        programs: `(programs, 2)` int32 on the device: chunk, first row in it.
        page_ids: int64 on the device: the chunks' pages, one after another.
    """

    tile: Tile
    chunks: torch.Tensor
    programs: torch.Tensor
    page_ids: torch.Tensor


def plan_extend(
    chunks: Sequence[ChunkRow], *, group: int, width: int, value_width: int, dtype: torch.dtype
) -> ExtendPlan:
    """Return the plan for chunks that stand one behind another in the packed row.

    Args:
        chunks: at least one.
        group: query heads that share a KV head.
        width: of keys.
        value_width: of values.
        dtype: of queries, keys and values.
    """
    longest = max(chunk.new_tokens for chunk in chunks)
    tile = extend_tile(group, longest, width, value_width, dtype.itemsize)
    table: list[int] = []
    programs: list[tuple[int, int, int]] = []
    first_token = first_page = 0
    for index, chunk in enumerate(chunks):
        table += (first_token, chunk.new_tokens, chunk.kv_tokens, first_page)
        cached = chunk.kv_tokens - chunk.new_tokens
        programs += (
            (cached + row // group, index, row)
            for row in range(0, chunk.new_tokens * group, tile.rows)
        )
        first_token += chunk.new_tokens
        first_page += len(chunk.page_ids)
    # The longest first: a long one that starts last would run alone.
    programs.sort(reverse=True)
    device = chunks[0].page_ids.device
    packed = torch.tensor(
        [*table, *(number for program in programs for number in program[1:])], dtype=torch.int32
    ).to(device, non_blocking=True)
    page_ids = [chunk.page_ids for chunk in chunks]
    return ExtendPlan(
        tile=tile,
        chunks=packed[: len(table)].view(-1, 4),
        programs=packed[len(table) :].view(-1, 2),
        page_ids=page_ids[0] if len(page_ids) == 1 else torch.cat(page_ids),
    )


def extend(
    plan: ExtendPlan,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    out: torch.Tensor,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
    scales: Scales | None = None,
    is_widened: bool = False,
) -> None:
    """Attend for every chunk; the new tokens' keys and values are in their pages already.

    Args:
        plan: of these chunks and this shape.
        query: `(heads, tokens, width)`, last stride 1; more tokens than the chunks have may
            follow.
        keys: `(pages, page, kv_heads, width)`, contiguous.
        values: `(pages, page, kv_heads, value_width)`, contiguous.
        out: `(tokens, heads, value_width)`, contiguous; the chunks' tokens are written.
        scale: of the scores.
        window: tokens that a query sees, itself included.
        softcap: scores become softcap · tanh(score / softcap).
        sinks: `(heads,)`, contiguous: logits that take weight and give no value.
        scales: of eight-bit keys and values; None: they are as the query is.
        is_widened: multiply in float32; for the interpreter.
    """
    assert query.stride(-1) == 1
    assert out.is_contiguous()
    heads = query.shape[0]
    kv_heads, width = keys.shape[2:]
    value_width = values.shape[3]
    tile = plan.tile
    _extend[(len(plan.programs), kv_heads)](
        query,
        keys,
        values,
        None if scales is None else scales.keys,
        None if scales is None else scales.values,
        out,
        sinks,
        plan.chunks,
        plan.programs,
        plan.page_ids,
        query.stride(0),
        query.stride(1),
        kv_heads * width,
        kv_heads * value_width,
        kv_heads,
        scale,
        softcap or 0.0,
        window or 0,
        HEADS=heads,
        GROUP=heads // kv_heads,
        PAGE=keys.shape[1],
        WIDTH=width,
        VALUE_WIDTH=value_width,
        BLOCK_ROWS=tile.rows,
        BLOCK_KV=tile.kv_tokens,
        BLOCK_WIDTH=tile.width,
        BLOCK_VALUE=tile.value_width,
        HAS_WINDOW=window is not None,
        HAS_SOFTCAP=softcap is not None,
        HAS_SINKS=sinks is not None,
        IS_WIDENED=is_widened,
        FORM=form_of(scales),
        num_warps=tile.warps,
        num_stages=tile.stages,
    )


@triton.jit
def _extend(
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    key_scales: tl.tensor,
    value_scales: tl.tensor,
    out: tl.tensor,
    sinks: tl.tensor,
    chunks: tl.tensor,
    programs: tl.tensor,
    page_ids: tl.tensor,
    query_head_stride: tl.tensor,
    query_token_stride: tl.tensor,
    key_slot_stride: tl.tensor,
    value_slot_stride: tl.tensor,
    scale_stride: tl.tensor,
    scale: tl.tensor,
    softcap: tl.tensor,
    window: tl.tensor,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    PAGE: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_KV: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    HAS_SINKS: tl.constexpr,
    IS_WIDENED: tl.constexpr,
    FORM: tl.constexpr,
) -> None:
    chunk = tl.load(programs + tl.program_id(0) * 2)
    first_row = tl.load(programs + tl.program_id(0) * 2 + 1)
    kv_head = tl.program_id(1)
    first_token = tl.load(chunks + chunk * 4)
    new_tokens = tl.load(chunks + chunk * 4 + 1)
    kv_tokens = tl.load(chunks + chunk * 4 + 2)
    page_ids += tl.load(chunks + chunk * 4 + 3)
    cached = kv_tokens - new_tokens

    row = first_row + tl.arange(0, BLOCK_ROWS)
    token = row // GROUP
    head = kv_head * GROUP + row % GROUP
    is_row = token < new_tokens
    packed_token = (first_token + token).to(tl.int64)
    position = cached + token
    column = tl.arange(0, BLOCK_WIDTH)
    query_tile = tl.load(
        query
        + packed_token[:, None] * query_token_stride
        + head[:, None] * query_head_stride
        + column[None, :],
        mask=is_row[:, None] & (column < WIDTH)[None, :],
        other=0.0,
    )
    keys += kv_head * WIDTH
    values += kv_head * VALUE_WIDTH
    if FORM != PLAIN:
        key_scales += kv_head
        value_scales += kv_head

    # All rows see [start, clear); some see [clear, end); with a window, the mask holds throughout.
    first_position = cached + first_row // GROUP
    last_token = tl.minimum((first_row + BLOCK_ROWS - 1) // GROUP, new_tokens - 1)
    end = cached + last_token + 1
    start = 0
    clear = (first_position + 1) // BLOCK_KV * BLOCK_KV
    if HAS_WINDOW:
        start = tl.maximum(first_position - window + 1, 0) // BLOCK_KV * BLOCK_KV
        clear = start

    mixed = tl.zeros((BLOCK_ROWS, BLOCK_VALUE), tl.float32)
    top = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    for begin in range(start, clear, BLOCK_KV):
        kv = begin + tl.arange(0, BLOCK_KV)
        is_kv = kv < clear
        slots = slots_of(page_ids, kv, is_kv, PAGE)
        key = load_slots(
            keys,
            key_scales,
            slots,
            is_kv,
            key_slot_stride,
            scale_stride,
            query_tile.dtype,
            WIDTH,
            BLOCK_WIDTH,
            FORM,
        )
        scores = scores_of(query_tile, key, scale, softcap, HAS_SOFTCAP, IS_WIDENED)
        value = load_slots(
            values,
            value_scales,
            slots,
            is_kv,
            value_slot_stride,
            scale_stride,
            query_tile.dtype,
            VALUE_WIDTH,
            BLOCK_VALUE,
            FORM,
        )
        mixed, top, total = absorb(scores, value, mixed, top, total, IS_WIDENED)
    for begin in range(clear, end, BLOCK_KV):
        kv = begin + tl.arange(0, BLOCK_KV)
        is_kv = kv < end
        slots = slots_of(page_ids, kv, is_kv, PAGE)
        key = load_slots(
            keys,
            key_scales,
            slots,
            is_kv,
            key_slot_stride,
            scale_stride,
            query_tile.dtype,
            WIDTH,
            BLOCK_WIDTH,
            FORM,
        )
        scores = scores_of(query_tile, key, scale, softcap, HAS_SOFTCAP, IS_WIDENED)
        is_seen = (kv[None, :] <= position[:, None]) & is_kv[None, :]
        if HAS_WINDOW:
            is_seen = is_seen & (kv[None, :] > position[:, None] - window)
        scores = tl.where(is_seen, scores, float("-inf"))
        value = load_slots(
            values,
            value_scales,
            slots,
            is_kv,
            value_slot_stride,
            scale_stride,
            query_tile.dtype,
            VALUE_WIDTH,
            BLOCK_VALUE,
            FORM,
        )
        mixed, top, total = absorb(scores, value, mixed, top, total, IS_WIDENED)
    if HAS_SINKS:
        sink = tl.load(sinks + head, mask=is_row, other=0.0).to(tl.float32)
        mixed, top, total = absorb_sinks(sink, mixed, top, total)

    # A row behind the chunk's end may have seen nothing; it is not written.
    mixed = mixed / tl.where(total == 0.0, 1.0, total)[:, None]
    value_column = tl.arange(0, BLOCK_VALUE)
    tl.store(
        out + (packed_token[:, None] * HEADS + head[:, None]) * VALUE_WIDTH + value_column[None, :],
        mixed.to(out.dtype.element_ty),
        mask=is_row[:, None] & (value_column < VALUE_WIDTH)[None, :],
    )
