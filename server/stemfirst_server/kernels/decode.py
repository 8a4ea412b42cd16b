"""Decode: requests with one new token each attend to their pages, split among programs.

Knows: one query a request. Does not know layers or requests.

A request's visible tokens are cut into equal runs, so that few requests with long contexts still
fill the device; each run gives a partial answer and its weight, merged in float32:

    visible tokens     |  run 0  |  run 1  |  run 2  |        runs whose begin lies behind the
    of one request     0        size    2·size    visible     end are skipped

Source: Dao et al., "Flash-Decoding for long-context inference" (2023).
"""
# mypy: disable-error-code="untyped-decorator"
# ruff: noqa: N803
# Triton has no type stubs; its compile-time arguments are written in capitals.

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from stemfirst_server.kernels.softmax import (
    LOG2_E,
    PLAIN,
    Scales,
    absorb,
    absorb_sinks,
    form_of,
    load_slots,
    scores_of,
    slots_of,
)
from stemfirst_server.kernels.tiles import decode_tile, power_of_two

if TYPE_CHECKING:
    from stemfirst_server.model.attention import SingleRows

MAX_SPLITS = 64
_LEAST_RUN = 128  # tokens: below it, merging costs more than another program brings
_PROGRAMS_PER_PROCESSOR = 4


def splits_for(programs: int, most_tokens: int, processors: int) -> int:
    """Return into how many runs a request's tokens are cut; a power of two.

    Args:
        programs: how many there are with one run each.
        most_tokens: that a request of the batch can see.
        processors: of the device.
    """
    useful = -(-most_tokens // _LEAST_RUN)
    wanted = -(-_PROGRAMS_PER_PROCESSOR * processors // programs)
    return power_of_two(max(1, min(useful, wanted, MAX_SPLITS)))


def decode(
    rows: SingleRows,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    out: torch.Tensor,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
    splits: int | None = None,
    processors: int = 1,
    scales: Scales | None = None,
    is_widened: bool = False,
) -> None:
    """Attend for every row; the new tokens' keys and values are in their pages already.

    Args:
        rows: pages and tokens of each request.
        query: `(heads, rows, width)`, last stride 1.
        keys: `(pages, page, kv_heads, width)`, contiguous.
        values: `(pages, page, kv_heads, value_width)`, contiguous.
        out: `(rows, heads, value_width)`, contiguous; written.
        scale: of the scores.
        window: tokens that a query sees, itself included.
        softcap: scores become softcap · tanh(score / softcap).
        sinks: `(heads,)`, contiguous: logits that take weight and give no value.
        splits: runs a request; the same number gives a request the same answer, bit for bit, in
            any batch. None chooses by the batch and the device.
        processors: of the device; for the choice.
        scales: of eight-bit keys and values; None: they are as the query is.
        is_widened: multiply in float32; for the interpreter.
    """
    assert query.stride(-1) == 1
    assert out.is_contiguous()
    heads, count = query.shape[:2]
    page, kv_heads, width = keys.shape[1:]
    value_width = values.shape[3]
    group = heads // kv_heads
    tile = decode_tile(group, width, value_width, query.dtype.itemsize)
    head_blocks = -(-group // tile.rows)
    most_tokens = rows.page_ids.shape[1] * page
    if window is not None:
        most_tokens = min(most_tokens, window)
    if splits is None:
        splits = splits_for(count * kv_heads * head_blocks, most_tokens, processors)
    if splits == 1:
        partial, weight = out, out
    else:
        partial = query.new_empty((count, heads, splits, value_width), dtype=torch.float32)
        weight = query.new_empty((count, heads, splits), dtype=torch.float32)
    _decode[(count, kv_heads * head_blocks, splits)](
        query,
        keys,
        values,
        None if scales is None else scales.keys,
        None if scales is None else scales.values,
        partial,
        weight,
        sinks,
        rows.kv_tokens,
        rows.page_ids,
        query.stride(0),
        query.stride(1),
        rows.page_ids.stride(0),
        kv_heads * width,
        kv_heads * value_width,
        kv_heads,
        scale,
        softcap or 0.0,
        window or 0,
        splits,
        HEADS=heads,
        GROUP=group,
        HEAD_BLOCKS=head_blocks,
        PAGE=page,
        WIDTH=width,
        VALUE_WIDTH=value_width,
        BLOCK_ROWS=tile.rows,
        BLOCK_KV=tile.kv_tokens,
        BLOCK_WIDTH=tile.width,
        BLOCK_VALUE=tile.value_width,
        HAS_WINDOW=window is not None,
        HAS_SOFTCAP=softcap is not None,
        HAS_SINKS=sinks is not None,
        IS_SPLIT=splits > 1,
        IS_WIDENED=is_widened,
        FORM=form_of(scales),
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    if splits > 1:
        _merge[(count, heads)](
            partial,
            weight,
            out,
            sinks,
            rows.kv_tokens,
            window or 0,
            splits,
            HEADS=heads,
            VALUE_WIDTH=value_width,
            BLOCK_KV=tile.kv_tokens,
            BLOCK_VALUE=tile.value_width,
            HAS_WINDOW=window is not None,
            HAS_SINKS=sinks is not None,
            num_warps=4,
        )


@triton.jit
def _run_size(visible: tl.tensor, splits: tl.tensor, BLOCK_KV: tl.constexpr) -> tl.tensor:
    """Return the tokens of a run: whole blocks, so that only the last one is cut."""
    return tl.cdiv(tl.cdiv(visible, splits), BLOCK_KV) * BLOCK_KV


# These change as contexts grow and requests come; compiling for their divisors would stall decode.
@triton.jit(do_not_specialize=["table_stride", "splits"])
def _decode(
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    key_scales: tl.tensor,
    value_scales: tl.tensor,
    partial: tl.tensor,
    weight: tl.tensor,
    sinks: tl.tensor,
    kv_tokens: tl.tensor,
    page_ids: tl.tensor,
    query_head_stride: tl.tensor,
    query_token_stride: tl.tensor,
    table_stride: tl.tensor,
    key_slot_stride: tl.tensor,
    value_slot_stride: tl.tensor,
    scale_stride: tl.tensor,
    scale: tl.tensor,
    softcap: tl.tensor,
    window: tl.tensor,
    splits: tl.tensor,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_BLOCKS: tl.constexpr,
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
    IS_SPLIT: tl.constexpr,
    IS_WIDENED: tl.constexpr,
    FORM: tl.constexpr,
) -> None:
    """Write one run's answer: to `partial` and `weight`, or with one run to `partial` alone.

    `weight` is the logarithm (base 2) of the sum of the run's weights.
    """
    row = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1) // HEAD_BLOCKS
    split = tl.program_id(2)
    tokens = tl.load(kv_tokens + row).to(tl.int32)
    first = 0
    if HAS_WINDOW:
        first = tl.maximum(tokens - window, 0)
    size = _run_size(tokens - first, splits, BLOCK_KV)
    begin = first + split * size
    end = tl.minimum(begin + size, tokens)
    if begin < end:
        in_group = (tl.program_id(1) % HEAD_BLOCKS) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        head = kv_head * GROUP + in_group
        is_head = in_group < GROUP
        column = tl.arange(0, BLOCK_WIDTH)
        query_tile = tl.load(
            query + row * query_token_stride + head[:, None] * query_head_stride + column[None, :],
            mask=is_head[:, None] & (column < WIDTH)[None, :],
            other=0.0,
        )
        keys += kv_head * WIDTH
        values += kv_head * VALUE_WIDTH
        if FORM != PLAIN:
            key_scales += kv_head
            value_scales += kv_head
        page_ids += row * table_stride

        mixed = tl.zeros((BLOCK_ROWS, BLOCK_VALUE), tl.float32)
        top = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK_ROWS,), tl.float32)
        for block in range(begin, end, BLOCK_KV):
            kv = block + tl.arange(0, BLOCK_KV)
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
            scores = tl.where(is_kv[None, :], scores, float("-inf"))
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
        if HAS_SINKS and not IS_SPLIT:
            sink = tl.load(sinks + head, mask=is_head, other=0.0).to(tl.float32)
            mixed, top, total = absorb_sinks(sink, mixed, top, total)

        value_column = tl.arange(0, BLOCK_VALUE)
        place = (row * HEADS + head) * splits + split
        tl.store(
            partial + place[:, None] * VALUE_WIDTH + value_column[None, :],
            (mixed / total[:, None]).to(partial.dtype.element_ty),
            mask=is_head[:, None] & (value_column < VALUE_WIDTH)[None, :],
        )
        if IS_SPLIT:
            tl.store(weight + place, top + tl.log2(total), mask=is_head)


@triton.jit(do_not_specialize=["splits"])
def _merge(
    partial: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    sinks: tl.tensor,
    kv_tokens: tl.tensor,
    window: tl.tensor,
    splits: tl.tensor,
    HEADS: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BLOCK_KV: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_SINKS: tl.constexpr,
) -> None:
    """Write one head's answer for one row from the runs that were not empty."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    visible = tl.load(kv_tokens + row).to(tl.int32)
    if HAS_WINDOW:
        visible = tl.minimum(visible, window)
    size = _run_size(visible, splits, BLOCK_KV)
    runs = tl.cdiv(visible, size)

    place = (row * HEADS + head) * splits
    column = tl.arange(0, BLOCK_VALUE)
    is_column = column < VALUE_WIDTH
    top = tl.load(weight + place)
    total = tl.full((), 1.0, tl.float32)
    mixed = tl.load(partial + place * VALUE_WIDTH + column, mask=is_column, other=0.0)
    for run in range(1, runs):
        other = tl.load(weight + place + run)
        new_top = tl.maximum(top, other)
        decay = tl.exp2(top - new_top)
        share = tl.exp2(other - new_top)
        answer = tl.load(partial + (place + run) * VALUE_WIDTH + column, mask=is_column, other=0.0)
        mixed = mixed * decay + answer * share
        total = total * decay + share
        top = new_top
    if HAS_SINKS:
        sink = tl.load(sinks + head).to(tl.float32) * LOG2_E
        new_top = tl.maximum(top, sink)
        decay = tl.exp2(top - new_top)
        mixed = mixed * decay
        total = total * decay + tl.exp2(sink - new_top)
    tl.store(
        out + (row * HEADS + head) * VALUE_WIDTH + column,
        (mixed / total).to(out.dtype.element_ty),
        mask=is_column,
    )
