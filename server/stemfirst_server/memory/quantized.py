"""KV memory in eight bits: more pages in the same bytes, and a known error.

Knows: how a key or a value becomes eight-bit numbers and one scale, and back. Does not know how
much error a model bears; its load gate finds that out.

Each token's key (and value) of each KV head has a scale of its own, so a page needs no second
pass, and what a token attends to does not depend on its neighbours: a hit reads the very numbers
that the first request read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from stemfirst_server.engine.config import KVDtype
from stemfirst_server.memory.pool import KVPool, LayerShape

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCALE_BYTES = 4
# The largest number of each format.
_INT8_MOST = 127.0
_FP8_MOST = 448.0
# Below it a head is zeros: its scale must not be one, or 0 / 0 is stored.
_LEAST = 1e-30


def kv_bytes_per_token(
    shapes: Mapping[int, LayerShape], kv_dtype: KVDtype, *, model_dtype: torch.dtype
) -> int:
    """Return what a token takes in all layers together, scales included."""
    numbers = sum(shape.values_per_token() for shape in shapes.values())
    if kv_dtype is KVDtype.AUTO:
        return numbers * model_dtype.itemsize
    return numbers + sum(2 * shape.kv_heads for shape in shapes.values()) * _SCALE_BYTES


def make_pool(
    shapes: dict[int, LayerShape],
    kv_dtype: KVDtype,
    *,
    pages: int,
    page: int,
    dtype: torch.dtype,
    device: torch.device,
) -> KVPool:
    """Return a pool that stores what was asked for and answers in `dtype`."""
    if kv_dtype is KVDtype.AUTO:
        return KVPool(shapes, pages=pages, page=page, dtype=dtype, device=device)
    return QuantizedPool(shapes, kv_dtype, pages=pages, page=page, dtype=dtype, device=device)


class QuantizedPool(KVPool):
    """A `KVPool` that stores bytes and scales.

    Attributes:
        keys: a layer's index to `(pages, page, kv_heads, key_width)` int8: integers, or the bits
            of fp8.
        values: the same with `value_width`.
        key_scales: a layer's index to `(pages, page, kv_heads, 1)` float32.
        value_scales: the same for values.
        is_fp8: whether the numbers are bits of fp8.
    """

    def __init__(
        self,
        shapes: dict[int, LayerShape],
        kv_dtype: KVDtype,
        *,
        pages: int,
        page: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(shapes, pages=pages, page=page, dtype=torch.int8, device=device)
        self.dtype = dtype
        self.is_fp8 = kv_dtype is KVDtype.FP8
        scales = {layer: LayerShape(shape.kv_heads, 1, 1) for layer, shape in shapes.items()}
        beside = KVPool(scales, pages=pages, page=page, dtype=torch.float32, device=device)
        self.key_scales, self.value_scales = beside.keys, beside.values

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return all memory, each `(pages, page, ...)`."""
        scales = (*self.key_scales.values(), *self.value_scales.values())
        return (*super().tensors(), *scales)

    def scales(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's scales of keys and of values."""
        return self.key_scales[layer], self.value_scales[layer]

    def write(
        self, layer: int, slots: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> None:
        """Put tokens' keys and values in their slots; shapes as in `KVPool.write`."""
        for given, numbers, scales in (
            (key, self.keys[layer], self.key_scales[layer]),
            (value, self.values[layer], self.value_scales[layer]),
        ):
            stored, scale = self._encoded(given.transpose(0, 1).float())
            numbers.flatten(0, 1).index_copy_(0, slots, stored)
            scales.flatten(0, 1).index_copy_(0, slots, scale)

    def gather(self, which: str, layer: int, page_ids: torch.Tensor) -> torch.Tensor:
        """Return the slots of some pages in order, in `dtype`; as `KVPool.gather`."""
        stored = super().gather(which, layer, page_ids)
        scales = (self.key_scales if which == "keys" else self.value_scales)[layer]
        scale = scales.flatten(1).index_select(0, page_ids).view(len(stored), -1, 1)
        out = self._buffer(f"{which} decoded", stored.numel(), self.dtype, stored.device)
        return self._decoded(stored, scale, out.view(stored.shape))

    def _encoded(self, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return int8 numbers or bits, and float32 scales `(tokens, kv_heads, 1)`."""
        largest = given.abs().amax(-1, keepdim=True)  # NaN stays NaN, and fails the request
        most = _FP8_MOST if self.is_fp8 else _INT8_MOST
        scale = largest.clamp_min(_LEAST) / most
        if self.is_fp8:
            bits = (given / scale).clamp_(-most, most).to(torch.float8_e4m3fn)
            return bits.view(torch.int8), scale
        return (given / scale).round_().clamp_(-most, most).to(torch.int8), scale

    def _decoded(
        self, stored: torch.Tensor, scale: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        if not self.is_fp8:
            return out.copy_(stored).mul_(scale)
        # torch converts fp8 number by number; moved to their places in a float16, the bits are
        # the number over 256, subnormal ones too. many times as fast on a processor.
        wide = self._buffer("wide", stored.numel(), torch.int16, stored.device).view(stored.shape)
        wide.copy_(stored).bitwise_left_shift_(7).bitwise_and_(-0x4001)
        return out.copy_(wide.view(torch.float16)).mul_(scale * 256.0)
