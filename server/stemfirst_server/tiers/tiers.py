"""Evicted pages go to the host, the host's to disk, and a match brings them back.

Knows which block lies where and who moves it when. Three kinds of threads come here: the
engine's, which gives and takes pages and never waits for a disk; threads that answer requests,
which read from disk before the engine hears of a request; and one that writes.

    device ──`keep`──► host ──writer──► disk
       ◄──`bring_back`── host ◄──`prefetch`── disk

A copy stays where it was when another is made, so that going back down costs nothing. What finds
no room is dropped: slower memory may forget, and never delays.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import OrderedDict
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from stemfirst_server.memory.arrival import NOTHING, BroughtBack, continue_match
from stemfirst_server.memory.node import TOKEN_BYTES
from stemfirst_server.tiers.block import MOST_BLOCK_PAGES, Block, BlockIndex
from stemfirst_server.tiers.disk import BrokenFileError
from stemfirst_server.tiers.saving import save_all
from stemfirst_server.tiers.stats import TierStats

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemfirst_server.memory.cache import PageCache
    from stemfirst_server.memory.node import EvictedRun, PageArray
    from stemfirst_server.tiers.disk import DiskStore, Place
    from stemfirst_server.tiers.host import HostMemory

log = logging.getLogger("stemfirst.tiers")

_WRITING_SHARE = 0.5
"""Share of the host's slots that may wait for the disk; they cannot be had meanwhile."""


class Tiers:
    """Host and disk behind the device's cache.

    Invariant: a slot is free or one block's; a block that is listed lies somewhere. Safe for
    several threads.

    Args:
        page: tokens.
        host: memory for blocks.
        disk: where the host's go; None: they are forgotten.
    """

    def __init__(self, page: int, host: HostMemory, disk: DiskStore | None = None) -> None:
        self.page = page
        self._page_bytes = page * TOKEN_BYTES
        self._host = host
        self._disk = disk
        self._index = BlockIndex(page)
        # Blocks in the host's memory, least recently used first; of them, those not on disk and
        # not on their way there, oldest first.
        self._in_host: OrderedDict[Block, None] = OrderedDict()
        self._by_path: dict[Path, Block] = {}
        self._newest: Block | None = None
        self._reading: dict[Block, threading.Event] = {}
        self._lock = threading.RLock()
        self._to_write: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._unwritten: OrderedDict[Block, None] = OrderedDict()
        self._writing_pages = 0
        self._idle = threading.Condition(self._lock)
        self._kept = self._restored = self._written = self._read = self._lost = 0
        self._writer: threading.Thread | None = None
        if disk is not None:
            for found in disk.scan():
                pages = len(found.data) // self._page_bytes - found.start_page
                if not 0 < pages <= MOST_BLOCK_PAGES or len(found.data) % self._page_bytes:
                    disk.drop(found.file.path, "it is of another page size")
                    continue
                block = Block(found.namespace, found.data, found.start_page, pages)
                block.file = found.file
                self._index.add(block)
                self._by_path[found.file.path] = block
            self._writer = threading.Thread(
                target=self._write_all, name="stemfirst-tiers", daemon=True
            )
            self._writer.start()

    # In the engine's thread.

    def keep(self, run: EvictedRun) -> None:
        """Copy a run that the device gives up; its pages are read before this returns."""
        count = len(run.pages)
        start = len(run.data) // self._page_bytes - count
        with self._lock:
            known = self._index.each(run.namespace, run.data, start)
            for page, block in enumerate(known, start):
                if block is not None:
                    block.device_end = min(block.device_end, page)
                    self._touch(block)
            place = 0
            for is_known, group in groupby(block is not None for block in known):
                length = len(list(group))
                for first in range(place, place + length, MOST_BLOCK_PAGES):
                    last = min(first + MOST_BLOCK_PAGES, place + length)
                    if not is_known:
                        self._add(run, start + first, run.pages[first:last])
                place += length
            self._clean()

    def bring_back(
        self, cache: PageCache, namespace: str, data: bytes, *, limit_tokens: int
    ) -> BroughtBack:
        """Copy to the device what continues its longest match, as far as the host has it.

        Args:
            cache: the device's; gets what is found, unlocked.
            namespace: the tree to continue.
            data: the prompt.
            limit_tokens: bring no more than this.
        """
        data = data[: limit_tokens * TOKEN_BYTES]
        with self._lock:
            if not len(self._index):
                return NOTHING
            began = time.perf_counter()
            have = cache.tree.lookup(namespace, data, limit_tokens=limit_tokens) // self.page
            wanted: list[tuple[Block, int]] = []
            for page, block in self._index.run(namespace, data, have):
                if block.slots is None:
                    break
                wanted.append((block, int(block.slots[page - block.start_page])))
            if not wanted:
                return NOTHING
            blocks = list(dict.fromkeys(block for block, _ in wanted))
            slots = np.array([slot for _, slot in wanted], dtype=np.int32)

            def fill(count: int, pages: PageArray) -> None:
                self._host.load(slots[:count], pages)

            # Taking pages evicts others, which come here for slots.
            for block in blocks:
                block.pins += 1
            try:
                count = continue_match(
                    cache, namespace, data, have=have, most=len(slots), fill=fill
                )
            finally:
                for block in blocks:
                    block.pins -= 1
            from_disk = sum(block.was_read for block, _ in wanted[:count])
            for page, (block, _) in enumerate(wanted[:count], have):
                block.device_end = page + 1
                self._touch(block)
            for block in {block for block, _ in wanted[:count]}:
                block.was_read = False
            self._restored += count
            ms = (time.perf_counter() - began) * 1e3
            return BroughtBack((count - from_disk) * self.page, from_disk * self.page, ms)

    # From any thread.

    @property
    def has_disk(self) -> bool:
        """Whether there is a disk behind the host."""
        return self._disk is not None

    @property
    def reads_disk(self) -> bool:
        """Whether there is anything on disk to read."""
        return bool(self._by_path)

    def prefetch(self, namespace: str, data: bytes) -> float:
        """Read from disk what continues what is faster to have; return the milliseconds.

        May wait for the disk: not for the engine's thread.
        """
        if self._disk is None or not self._by_path:
            return 0.0
        began = time.perf_counter()
        most_pages = self._host.slots // 2
        with self._lock:
            self._forget_gone()
            path = [block for _, block in self._index.run(namespace, data, 0)]
            for block in reversed(list(dict.fromkeys(path))):
                # What is wanted makes no room for what else is wanted.
                self._touch(block)
        for block in dict.fromkeys(path):
            wanted_end = min(block.end_page, len(data) // self._page_bytes)
            if block.slots is not None or wanted_end <= block.device_end:
                continue
            most_pages -= block.pages
            if most_pages < 0 or not self._read_block(block):
                break
        return (time.perf_counter() - began) * 1e3

    def reaches(self, namespace: str, data: bytes, have_pages: int) -> tuple[int, int]:
        """Return how many pages behind the first ones lie in the host's memory, and on disk.

        Changes nothing; what lies in both counts for the host.
        """
        host = disk = 0
        with self._lock:
            for _, block in self._index.run(namespace, data, have_pages):
                if block.slots is not None:
                    host += 1
                else:
                    disk += 1
        return host, disk

    def flush(self) -> None:
        """Forget everything, on disk too; waits for the disk."""
        self.forget()
        self.clear_disk()

    def forget(self, place: Place | None = None) -> None:
        """Have nothing found any more, at once; `clear_disk` must follow, and may wait.

        Args:
            place: of other weights' files; all that is kept from now on is theirs.
        """
        with self._lock:
            for block in list(self._in_host):
                self._leave_host(block)
            self._index.clear()
            self._by_path.clear()
            self._newest = None
            if self._disk is not None and place is not None:
                self._disk.place = place

    def clear_disk(self) -> None:
        """Remove every file; what is being written, once it is written."""
        if self._disk is None:
            return
        if not self.settle():
            log.warning("the disk is slow: what it is being given is removed when it is there")
        self._disk.flush()
        with self._lock:
            self._forget_gone()

    def place_of(self, fingerprint_of: Callable[[], str]) -> Place | None:
        """Return where files of other weights are to lie; None without a disk."""
        return self._disk.place_of(fingerprint_of()) if self._disk is not None else None

    def settle(self, timeout_s: float = 60.0) -> bool:
        """Wait until what was to be written is; return whether it is."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._writing_pages, timeout_s)

    def save(self, cache: PageCache, *, most_s: float) -> int:
        """Write what the device and the host hold to disk, the last used first; return the pages.

        For the end of the process: the engine must have ended.

        Args:
            cache: the device's.
            most_s: after this time, what is not written is lost.
        """
        disk = self._disk
        if disk is None:
            return 0
        deadline = time.monotonic() + most_s
        self.settle(most_s)
        with self._lock:
            in_host = [block for block in reversed(self._in_host) if block.file is None]
        return save_all(cache, self._host, disk, in_host, self._is_on_disk, deadline=deadline)

    def stats(self) -> TierStats:
        """Return gauges and counters."""
        disk = self._disk
        with self._lock:
            return TierStats(
                page_bytes=self._host.page_bytes,
                host_pages_total=self._host.slots,
                host_pages=self._host.slots - self._host.free_slots,
                host_blocks=len(self._in_host),
                disk_bytes=disk.nbytes if disk else 0,
                disk_bytes_total=disk.most_bytes if disk else 0,
                disk_files=disk.files if disk else 0,
                kept_pages=self._kept,
                restored_pages=self._restored,
                written_pages=self._written,
                read_pages=self._read,
                lost_pages=self._lost,
                dropped_files=disk.dropped_files if disk else 0,
                write_failures=disk.write_failures if disk else 0,
                is_writing=disk.is_writing if disk else False,
            )

    def check(self) -> None:
        """The class's invariant."""
        with self._lock:
            slots: list[int] = []
            for block in self._in_host:
                assert block.slots is not None
                assert len(block.slots) == block.pages
                slots += block.slots.tolist()
            assert len(set(slots)) == len(slots), "a slot is one block's"
            assert len(slots) + self._host.free_slots == self._host.slots, "no slot is lost"
        if self._disk is not None:
            self._disk.check()

    # Under the lock.

    def _add(self, run: EvictedRun, start_page: int, pages: PageArray) -> None:
        if not self._free_slots(len(pages)):
            self._lost += len(pages)
            return
        end = start_page + len(pages)
        slots = self._host.take(len(pages))
        self._host.save(pages, slots)
        self._kept += len(pages)
        block = Block(run.namespace, run.data[: end * self._page_bytes], start_page, len(pages))
        block.slots = slots
        behind = self._newest
        if behind is not None and self._joins(block, behind):
            # A leaf that gives up a page at a time would make a block of each.
            self._in_host.pop(behind)
            self._unwritten.pop(behind, None)
            self._index.remove(behind)
            joined = Block(run.namespace, behind.data, start_page, len(pages) + behind.pages)
            joined.slots = np.concatenate([slots, _slots(behind)])
            behind.slots = None
            block = joined
        self._index.add(block)
        self._in_host[block] = None
        self._unwritten[block] = None
        self._newest = block

    def _joins(self, front: Block, behind: Block) -> bool:
        return (
            behind in self._in_host
            and not behind.pins
            and behind.file is None
            and behind.start_page == front.end_page
            and behind.namespace == front.namespace
            and behind.pages + front.pages <= MOST_BLOCK_PAGES
            and behind.data.startswith(front.data)
        )

    def _free_slots(self, count: int) -> bool:
        """Make room in the host's memory; False if what is there is in use."""
        if count > self._host.slots:
            return False
        free = self._host.free_slots
        leaving = []
        for block in self._in_host:
            if free >= count:
                break
            if not block.pins:
                leaving.append(block)
                free += block.pages
        if free < count:
            return False
        for block in leaving:
            if block.file is None:
                self._lost += block.pages
            self._leave_host(block)
        return True

    def _leave_host(self, block: Block) -> None:
        self._in_host.pop(block, None)
        self._unwritten.pop(block, None)
        if block.slots is not None and not block.pins:
            self._host.give_back(block.slots)
            block.slots = None
        if block.file is None:
            self._index.remove(block)

    def _clean(self) -> None:
        """Have blocks written, the oldest first, so that their slots can be had at once."""
        if self._disk is None or not self._disk.is_writing:
            return
        self._forget_gone()
        for block in list(self._unwritten):
            # The newest may yet be joined by what stood before it.
            if self._writing_pages >= self._host.slots * _WRITING_SHARE or block is self._newest:
                return
            del self._unwritten[block]
            block.pins += 1
            self._writing_pages += block.pages
            self._to_write.put(block)

    def _touch(self, block: Block) -> None:
        if block in self._in_host:
            self._in_host.move_to_end(block)

    def _forget_gone(self) -> None:
        """Note which files the disk's bound has taken."""
        assert self._disk is not None
        while self._disk.gone:
            block = self._by_path.pop(self._disk.gone.popleft(), None)
            if block is not None:
                block.file = None
                if block.slots is None:
                    self._index.remove(block)

    # Other threads.

    def _read_block(self, block: Block) -> bool:
        """Bring a block from disk to the host; False if that was not to be."""
        assert self._disk is not None
        with self._lock:
            if block.slots is not None:
                return True
            if block.file is None:
                return False
            other = self._reading.get(block)
            if other is None:
                self._reading[block] = threading.Event()
        if other is not None:
            other.wait(60.0)
            return block.slots is not None
        try:
            tensors = self._disk.read(block)
            if not self._host.fits(tensors, block.pages):
                self._disk.drop(block.file.path, "its shapes are another model's")
                return False
            with self._lock:
                # Flushed meanwhile: nobody may find it again.
                is_listed = self._by_path.get(block.file.path) is block
                if not is_listed or not self._free_slots(block.pages):
                    return False
                block.slots = self._host.take(block.pages)
                self._host.write(block.slots, tensors)
                block.was_read = True
                self._in_host[block] = None
                self._read += block.pages
        except BrokenFileError:
            return False
        finally:
            with self._lock:
                self._forget_gone()
                self._reading.pop(block).set()
        return True

    def _write_all(self) -> None:
        while (block := self._to_write.get()) is not None:
            try:
                self._write(block)
            except Exception:
                # Not worth the server: the block is forgotten when its slots are needed.
                log.exception("a block could not be written")
            finally:
                with self._idle:
                    self._writing_pages -= block.pages
                    self._clean()
                    self._idle.notify_all()

    def _write(self, block: Block) -> None:
        assert self._disk is not None
        file = None
        try:
            with self._lock:
                # Forgotten while it waited: it may be of other weights than those of now.
                place = self._disk.place if block in self._in_host else None
            if place is not None:
                file = self._disk.write(block, self._host.read(_slots(block)), place)
        finally:
            with self._lock:
                block.pins -= 1
                self._written += block.pages if file is not None else 0
                is_listed = block in self._in_host
                if is_listed and file is not None:
                    block.file = file
                    self._by_path[file.path] = block
                elif not is_listed and not block.pins:
                    # Flushed meanwhile.
                    self._leave_host(block)
        if file is not None and not is_listed:
            self._disk.remove(file)

    def _is_on_disk(self, block: Block) -> bool:
        with self._lock:
            found = self._index.run(block.namespace, block.data, block.start_page)
            return sum(other.file is not None for _, other in found) == block.pages


def _slots(block: Block) -> PageArray:
    assert block.slots is not None
    return block.slots
