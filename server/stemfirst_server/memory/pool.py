"""The KV tensors of all layers, cut into pages.

Knows: shapes and where a token's keys and values lie. Does not know which page belongs to whom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from stemfirst_server.memory.node import PageArray

# On the CPU, fresh memory costs more than the copy into it, so the last buffer is used again; not
# a larger one than this, which would be kept for nothing.
_MOST_SCRATCH_NUMBERS = 2**24


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one attention layer stores for a token; K and V may differ in width."""

    kv_heads: int
    key_width: int
    value_width: int

    def values_per_token(self) -> int:
        """Return the numbers stored for a token, K and V together."""
        return self.kv_heads * (self.key_width + self.value_width)


class KVPool:
    """Keys and values of every token in memory.

    Attributes:
        keys: a layer's index to `(pages, page, kv_heads, key_width)`.
        values: the same with `value_width`.
        dtype: what `gather` answers in.
    """

    def __init__(
        self,
        shapes: dict[int, LayerShape],
        *,
        pages: int,
        page: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.pages = pages
        self.page = page
        self.dtype = dtype
        self._scratch: dict[str, torch.Tensor] = {}
        # Zeros, not empty: a masked slot still takes part in 0 · value, and 0 · NaN is NaN.
        self.keys = {
            layer: _zeros((pages, page, shape.kv_heads, shape.key_width), dtype, device)
            for layer, shape in shapes.items()
        }
        self.values = {
            layer: _zeros((pages, page, shape.kv_heads, shape.value_width), dtype, device)
            for layer, shape in shapes.items()
        }

    def gather(self, which: str, layer: int, page_ids: torch.Tensor) -> torch.Tensor:
        """Return the slots of some pages of a layer in order.

        Whole pages are copied as rows: ten times faster than indexing in four dimensions.

        Args:
            which: `keys` or `values`.
            layer: its index.
            page_ids: `(n,)` int64.

        Returns:
            `(n · page, kv_heads, width)`; valid until the next call for the same `which`.
        """
        source = (self.keys if which == "keys" else self.values)[layer]
        rows = source.flatten(1)
        shape = (-1, *source.shape[2:])
        numbers = len(page_ids) * rows.shape[1]
        out = self._buffer(which, numbers, source.dtype, source.device).view(-1, rows.shape[1])
        return torch.index_select(rows, 0, page_ids, out=out).view(shape)

    def write(
        self, layer: int, slots: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> None:
        """Put tokens' keys and values in their slots.

        Args:
            layer: its index.
            slots: `(tokens,)` int64.
            key: `(kv_heads, tokens, key_width)`.
            value: `(kv_heads, tokens, value_width)`.
        """
        self.keys[layer].flatten(0, 1).index_copy_(0, slots, key.transpose(0, 1))
        self.values[layer].flatten(0, 1).index_copy_(0, slots, value.transpose(0, 1))

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return all memory, each `(pages, page, ...)`: what a page is made of."""
        return (*self.keys.values(), *self.values.values())

    def scales(self, layer: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return what a layer's stored keys and values are multiplied by; None: by nothing."""
        del layer
        return None

    def copy(self, pages: PageArray, to: PageArray) -> None:
        """Copy some pages to as many others, layer by layer; both `(n,)`, none in both."""
        source, target = (
            torch.from_numpy(ids.astype(np.int64)).to(self.tensors()[0].device)
            for ids in (pages, to)
        )
        for tensor in self.tensors():
            tensor.index_copy_(0, target, tensor.index_select(0, source))

    def clear(self, page_ids: torch.Tensor) -> None:
        """Zero some pages, `(n,)` int64: after a request whose numbers were not finite."""
        for tensor in self.tensors():
            tensor[page_ids] = 0

    def clear_slots(self, slots: torch.Tensor) -> None:
        """Zero some tokens' KV, `(n,)` int64."""
        for tensor in self.tensors():
            tensor.flatten(0, 1)[slots] = 0

    def _buffer(
        self, name: str, numbers: int, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor:
        """Return `(numbers,)` of memory, on a CPU the last one of that name if it suffices."""
        if device.type != "cpu" or numbers > _MOST_SCRATCH_NUMBERS:
            return torch.empty(numbers, dtype=dtype, device=device)
        scratch = self._scratch.get(name)
        if scratch is None or scratch.numel() < numbers:
            scratch = self._scratch[name] = torch.empty(numbers, dtype=dtype, device=device)
        return scratch[:numbers]


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return zeros; on a CPU, memory is taken only as pages are first written.

    `torch.zeros` writes them: 4 GiB took 8 s and were held whether used or not, while the
    system hands out zeroed memory for nothing.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    raw = np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(raw).view(dtype).view(shape)
