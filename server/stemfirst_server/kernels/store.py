"""Write new keys and values into pages.

Knows: slots and memory. Does not know requests.
"""
# mypy: disable-error-code="untyped-decorator"
# ruff: noqa: N803
# Triton has no type stubs; its compile-time arguments are written in capitals.

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from stemfirst_server.kernels.tiles import power_of_two

if TYPE_CHECKING:
    import torch

_BLOCK_ELEMENTS = 4096


def store(
    key: torch.Tensor,
    value: torch.Tensor,
    slots: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> None:
    """Write each token's key and value into its slot.

    Args:
        key: `(kv_heads, tokens, width)`, any strides.
        value: `(kv_heads, tokens, value_width)`, any strides.
        slots: `(tokens,)` int64, page · page length + offset; no two alike, or one of them wins.
        keys: `(pages, page, kv_heads, width)`, contiguous; written.
        values: `(pages, page, kv_heads, value_width)`, contiguous; written.
    """
    kv_heads, tokens, width = key.shape
    value_width = value.shape[2]
    block_width = power_of_two(max(width, value_width))
    block_heads = min(power_of_two(kv_heads), max(1, _BLOCK_ELEMENTS // block_width))
    _store[(tokens, -(-kv_heads // block_heads))](
        key,
        value,
        slots,
        keys,
        values,
        *key.stride(),
        *value.stride(),
        KV_HEADS=kv_heads,
        WIDTH=width,
        VALUE_WIDTH=value_width,
        BLOCK_HEADS=block_heads,
        BLOCK_WIDTH=block_width,
        num_warps=4,
    )


@triton.jit
def _store(
    key: tl.tensor,
    value: tl.tensor,
    slots: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    key_head_stride: tl.tensor,
    key_token_stride: tl.tensor,
    key_stride: tl.tensor,
    value_head_stride: tl.tensor,
    value_token_stride: tl.tensor,
    value_stride: tl.tensor,
    KV_HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
) -> None:
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)[:, None]
    column = tl.arange(0, BLOCK_WIDTH)[None, :]
    slot = tl.load(slots + token)

    is_key = (head < KV_HEADS) & (column < WIDTH)
    from_key = token * key_token_stride + head * key_head_stride + column * key_stride
    to_key = (slot * KV_HEADS + head) * WIDTH + column
    tl.store(keys + to_key, tl.load(key + from_key, mask=is_key), mask=is_key)

    is_value = (head < KV_HEADS) & (column < VALUE_WIDTH)
    from_value = token * value_token_stride + head * value_head_stride + column * value_stride
    to_value = (slot * KV_HEADS + head) * VALUE_WIDTH + column
    tl.store(values + to_value, tl.load(value + from_value, mask=is_value), mask=is_value)
