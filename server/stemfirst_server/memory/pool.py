"""The KV tensors of all layers, cut into pages.

Knows: shapes and where a token's keys and values lie. Does not know which page belongs to whom.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


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
        # Zeros, not empty: a masked slot still takes part in 0 · value, and 0 · NaN is NaN.
        self.keys = {
            layer: torch.zeros(
                pages, page, shape.kv_heads, shape.key_width, dtype=dtype, device=device
            )
            for layer, shape in shapes.items()
        }
        self.values = {
            layer: torch.zeros(
                pages, page, shape.kv_heads, shape.value_width, dtype=dtype, device=device
            )
            for layer, shape in shapes.items()
        }

    def clear(self, page_ids: torch.Tensor) -> None:
        """Zero some pages, `(n,)` int64: after a request whose numbers were not finite."""
        for tensor in (*self.keys.values(), *self.values.values()):
            tensor[page_ids] = 0
