"""How large a piece of work one program takes.

Knows: widths and bytes of elements. Does not know the device: every choice fits the shared
memory of the smallest one that has bfloat16 (99 KiB a block, compute capability 8.6 and 8.9),
which a test checks by compiling, and keeps its registers (`benchmarks/kernel_resources.py`).
None of these numbers was tuned by measurement yet.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_DOT = 16
"""The least extent that `tl.dot` takes."""
# Two sizes and no more: each is a program to compile. Between them, reading keys is what takes
# time, not the rows of the tile that stay empty.
_FEW_ROWS = 32


@dataclass(frozen=True, slots=True)
class Tile:
    """One program's block sizes.

    Attributes:
        rows: queries (tokens times the heads that share a KV head).
        kv_tokens: keys and values a turn of the loop.
        width: of keys, padded.
        value_width: padded.
        warps: of 32 threads.
        stages: turns of the loop whose loads are under way.
    """

    rows: int
    kv_tokens: int
    width: int
    value_width: int
    warps: int
    stages: int


def extend_tile(group: int, new_tokens: int, width: int, value_width: int, itemsize: int) -> Tile:
    """Return the tile for prefill.

    Args:
        group: query heads that share a KV head.
        new_tokens: of the longest chunk.
        width: of keys.
        value_width: of values.
        itemsize: bytes of an element.
    """
    padded, padded_value = _padded(width), _padded(value_width)
    widest = max(padded, padded_value)
    if itemsize > 2:  # float32 has no matrix units here: the products live in registers
        rows, kv_tokens = (32, 32) if widest <= 64 else (32, 16) if widest <= 128 else (16, 16)
    elif widest <= 128:
        rows, kv_tokens = 128, 64
    elif widest <= 256:
        rows, kv_tokens = 64, 32
    else:
        rows, kv_tokens = (32, 16) if widest <= 512 else (16, 16)
    stages = 2 if widest * itemsize <= 1024 else 1
    if group * new_tokens <= _FEW_ROWS < rows:
        return Tile(_FEW_ROWS, kv_tokens, padded, padded_value, 4, stages)
    return Tile(rows, kv_tokens, padded, padded_value, 8, stages)


def decode_tile(group: int, width: int, value_width: int, itemsize: int) -> Tile:
    """Return the tile for decode; arguments as for `extend_tile`."""
    padded, padded_value = _padded(width), _padded(value_width)
    row_bytes = max(padded, padded_value) * itemsize
    if row_bytes <= 256:
        kv_tokens, stages = 64, 3
    elif row_bytes <= 512:
        kv_tokens, stages = (32, 3) if itemsize <= 2 else (16, 2)
    else:
        kv_tokens, stages = 16, 2 if row_bytes <= 1024 else 1
    rows = min(power_of_two(max(group, MIN_DOT)), 32 if row_bytes <= 512 else MIN_DOT)
    return Tile(rows, kv_tokens, padded, padded_value, warps=4, stages=stages)


def power_of_two(at_least: int) -> int:
    """Return the smallest power of two that is not smaller."""
    return 1 << max(0, at_least - 1).bit_length()


def _padded(width: int) -> int:
    return max(MIN_DOT, power_of_two(width))
