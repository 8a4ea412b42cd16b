"""KV in the host's memory: an arena of page slots with the shapes of the device's pool.

Knows tensors and which slots are free. Does not know what is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemfirst_server.memory.node import PageArray
    from stemfirst_server.memory.pool import KVPool


def page_bytes(pool: KVPool) -> int:
    """Return what one page takes, all layers together."""
    return sum(tensor[0].numel() * tensor.element_size() for tensor in pool.tensors())


class HostMemory:
    """Slots for pages; each is free or somebody's. Not thread-safe.

    Args:
        pool: the device's memory, whose pages are copied.
        slots: how many pages fit.
    """

    def __init__(self, pool: KVPool, slots: int) -> None:
        self._pool = pool
        self.slots = slots
        self.page_bytes = page_bytes(pool)
        self._free = list(range(slots - 1, -1, -1))
        device = pool.tensors()[0].device
        self._arena = tuple(
            # Pinned, so that a copy from a GPU is one transfer.
            torch.empty((slots, *t.shape[1:]), dtype=t.dtype, pin_memory=device.type == "cuda")
            for t in pool.tensors()
        )
        self._device = device

    @property
    def free_slots(self) -> int:
        """Slots that nobody has."""
        return len(self._free)

    def take(self, count: int) -> PageArray:
        """Return `count` free slots; there must be so many."""
        assert count <= len(self._free), "slots are counted before they are taken"
        return np.array([self._free.pop() for _ in range(count)], dtype=np.int32)

    def give_back(self, slots: PageArray) -> None:
        """Free slots."""
        self._free.extend(slots.tolist())

    def save(self, pages: PageArray, slots: PageArray) -> None:
        """Copy pages of the device to slots."""
        to = _index(slots)
        for kept, tensor in zip(self._arena, self.from_device(pages), strict=True):
            kept.index_copy_(0, to, tensor)

    def load(self, slots: PageArray, pages: PageArray) -> None:
        """Copy slots to pages of the device."""
        to = _index(pages).to(self._device)
        for kept, tensor in zip(self.read(slots), self._pool.tensors(), strict=True):
            tensor.index_copy_(0, to, kept.to(self._device))

    def read(self, slots: PageArray) -> tuple[torch.Tensor, ...]:
        """Return copies of slots, each `(n, page, ...)`."""
        at = _index(slots)
        return tuple(kept.index_select(0, at) for kept in self._arena)

    def write(self, slots: PageArray, tensors: Sequence[torch.Tensor]) -> None:
        """Fill slots with what `read` gave, in this process or another."""
        to = _index(slots)
        for kept, tensor in zip(self._arena, tensors, strict=True):
            kept.index_copy_(0, to, tensor)

    def from_device(self, pages: PageArray) -> tuple[torch.Tensor, ...]:
        """Return copies of the device's pages in host memory, each `(n, page, ...)`."""
        at = _index(pages).to(self._device)
        return tuple(t.index_select(0, at).to("cpu") for t in self._pool.tensors())

    def fits(self, tensors: Sequence[torch.Tensor], pages: int) -> bool:
        """Whether tensors are `pages` pages of this memory's shapes."""
        return len(tensors) == len(self._arena) and all(
            tensor.dtype == kept.dtype and tensor.shape == (pages, *kept.shape[1:])
            for tensor, kept in zip(tensors, self._arena, strict=True)
        )


def _index(slots: PageArray) -> torch.Tensor:
    return torch.from_numpy(slots.astype(np.int64))
