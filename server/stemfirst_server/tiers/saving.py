"""What is cached goes to disk at the end of the process, so that the next one begins warm.

Knows the order and the time that is left. Does not know threads: the engine has ended, and what
was being written is written.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from stemfirst_server.memory.node import TOKEN_BYTES
from stemfirst_server.tiers.block import MOST_BLOCK_PAGES, Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from stemfirst_server.memory.cache import PageCache
    from stemfirst_server.tiers.disk import BlockFile, DiskStore
    from stemfirst_server.tiers.host import HostMemory

_MOST_SHARE = 0.9
"""Of the disk's bound: what is written beyond it would push out what was written first."""


def save_all(
    cache: PageCache,
    host: HostMemory,
    disk: DiskStore,
    in_host: Sequence[Block],
    is_on_disk: Callable[[Block], bool],
    *,
    deadline: float,
) -> int:
    """Write what is not on disk, the last used first; return the pages written.

    Args:
        cache: the device's.
        host: where blocks lie, and the way from the device.
        disk: where they go.
        in_host: blocks in the host's memory only, the last used first.
        is_on_disk: whether each page of a block is in a file.
        deadline: of `time.monotonic`; what is not written by then is lost.
    """
    files: list[BlockFile] = []
    written = 0
    for block, tensors in _unsaved(cache, host, in_host, is_on_disk):
        is_late = time.monotonic() > deadline
        is_full = sum(file.nbytes for file in files) > disk.most_bytes * _MOST_SHARE
        file = None if is_late or is_full else disk.write(block, tensors())
        if file is None:
            break
        files.append(file)
        written += block.pages
    disk.rank(files)
    return written


def _unsaved(
    cache: PageCache,
    host: HostMemory,
    in_host: Sequence[Block],
    is_on_disk: Callable[[Block], bool],
) -> Iterator[tuple[Block, Callable[[], tuple[torch.Tensor, ...]]]]:
    """Yield what is not on disk with a way to read its KV, the last used first."""
    size = cache.page * TOKEN_BYTES
    # Parents come first, and were used with their children: sorting keeps them first.
    for node in sorted(cache.tree.nodes(), key=lambda node: -node.last_used):
        data = cache.tree.path_data(node)
        end = len(data) // size
        start = end - len(node.pages)
        for first in range(start, end, MOST_BLOCK_PAGES):
            last = min(first + MOST_BLOCK_PAGES, end)
            block = Block(node.namespace, data[: last * size], first, last - first)
            if not is_on_disk(block):
                pages = node.pages[first - start : last - start]
                yield block, partial(host.from_device, pages)
    for block in in_host:
        if block.slots is not None:
            yield block, partial(host.read, block.slots)
