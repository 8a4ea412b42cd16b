"""What moves between tiers: a run of whole pages of one prompt, and how it is found again.

Knows tokens as bytes and where a block's KV lies. Does not know tensors or files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from stemfirst_server.memory.node import TOKEN_BYTES, PageArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemfirst_server.tiers.disk import BlockFile

MOST_BLOCK_PAGES = 64
"""Pages of a block at most: what is read from disk for one page of use."""


class Block:
    """A run of pages, the last ones of the tokens that lead to its end.

    Attributes:
        namespace: the tree that it stands in.
        data: the tokens from the root to its end, as bytes.
        start_page: pages before it.
        pages: its length.
        slots: `(pages,)` where its KV lies in host memory; None: not there.
        file: where it lies on disk; None: not there.
        pins: how many copy its KV at this moment, so that its slots stay as they are.
        was_read: its KV came from disk and was not used yet.
        device_end: pages from the root up to which it was brought back and has not been evicted
            since, as far as is known.
    """

    __slots__ = (
        "data", "device_end", "file", "namespace", "pages", "pins", "slots", "start_page",
        "was_read",
    )  # fmt: skip

    def __init__(self, namespace: str, data: bytes, start_page: int, pages: int) -> None:
        self.namespace = namespace
        self.data = data
        self.start_page = start_page
        self.pages = pages
        self.slots: PageArray | None = None
        self.file: BlockFile | None = None
        self.pins = 0
        self.was_read = False
        self.device_end = 0

    @property
    def end_page(self) -> int:
        """Pages from the root to its end."""
        return self.start_page + self.pages


PageKey = tuple[str, int]
"""A namespace and a hash of all tokens up to a page's end: finds; never an identity."""


class BlockIndex:
    """Blocks by each of their pages; what is found is compared token by token.

    Invariant: every page of every block that lies somewhere is listed, unless another block has
    the same page. Not thread-safe.
    """

    def __init__(self, page: int) -> None:
        self._page_bytes = page * TOKEN_BYTES
        self._by_page: dict[PageKey, Block] = {}

    def __len__(self) -> int:
        return len(self._by_page)

    def run(self, namespace: str, data: bytes, start_page: int) -> Iterator[tuple[int, Block]]:
        """Yield each page of `data` from `start_page` on with the block that has it.

        Ends at the first page that no block has.
        """
        known: Block | None = None
        for page, key in self._keys(namespace, data, start_page, len(data) // self._page_bytes):
            block = self._by_page.get(key)
            if block is None:
                return
            # A hash only finds: the tokens themselves must be the same, from the root on.
            begin = page * self._page_bytes if block is known else 0
            end = (page + 1) * self._page_bytes
            if block.data[begin:end] != data[begin:end] or page < block.start_page:
                return
            known = block
            yield page, block

    def each(self, namespace: str, data: bytes, start_page: int) -> list[Block | None]:
        """Return for each page of `data` from `start_page` on the block that has it, or None."""
        found: list[Block | None] = []
        for page, key in self._keys(namespace, data, start_page, len(data) // self._page_bytes):
            block = self._by_page.get(key)
            end = (page + 1) * self._page_bytes
            is_same = block is not None and block.data[:end] == data[:end]
            found.append(block if is_same else None)
        return found

    def add(self, block: Block) -> None:
        """List a block's pages."""
        for _, key in self._keys(block.namespace, block.data, block.start_page, block.end_page):
            self._by_page[key] = block

    def remove(self, block: Block) -> None:
        """List a block no more."""
        for _, key in self._keys(block.namespace, block.data, block.start_page, block.end_page):
            if self._by_page.get(key) is block:
                del self._by_page[key]

    def clear(self) -> None:
        """List nothing."""
        self._by_page.clear()

    def _keys(
        self, namespace: str, data: bytes, start_page: int, end_page: int
    ) -> Iterator[tuple[int, PageKey]]:
        size = self._page_bytes
        hashed = xxhash.xxh3_128(data[: start_page * size])
        for page in range(start_page, end_page):
            hashed.update(data[page * size : (page + 1) * size])
            yield page, (namespace, hashed.intdigest())
