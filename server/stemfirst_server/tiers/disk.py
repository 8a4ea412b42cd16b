"""KV on disk: one safetensors file a block, with all its tokens and a checksum.

Knows files, their bound, and what to do when one is broken or the disk is full. Does not know
which blocks are worth keeping beyond the order of use.

A file holds the tokens from the root to the block's end, so it is found and verified by itself,
in whatever order files came and went. It lies in a folder named for the weights and everything
else that the numbers depend on. It is written beside its place and renamed, and everything in it
is under the checksum: half a file, a flipped bit or another server's file is dropped, not used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load, save

from stemfirst_server.errors import ConfigError
from stemfirst_server.memory.node import TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stemfirst_server.tiers.block import Block

log = logging.getLogger("stemfirst.tiers")

FORMAT = "1"
PAUSE_S = 60.0
"""After the disk refused a write, the next is tried this much later."""

_SUFFIX = ".safetensors"
_TOKENS = "tokens"
_MOST_HEADER_BYTES = 10**7


@dataclass(frozen=True, slots=True)
class BlockFile:
    """A block's place on disk."""

    path: Path
    nbytes: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where blocks of some weights lie, and the name that their checksums hold."""

    folder: Path
    fingerprint: str


@dataclass(frozen=True, slots=True, eq=False)
class FoundBlock:
    """A block that an earlier process left."""

    namespace: str
    data: bytes
    start_page: int
    file: BlockFile


class BrokenFileError(Exception):
    """A file is not what was written, or not what is looked for."""


class DiskStore:
    """Files of one model's blocks. Safe for several threads.

    Invariant: `nbytes` is what the files listed take, and at most `most_bytes`.

    Attributes:
        gone: paths of files that were removed, for whoever lists blocks.
        place: of what is written from now on.
        dropped_files: broken ones, so far.
        write_failures: files that the disk refused, so far.

    Args:
        folder: of this server alone while it runs.
        fingerprint: of the weights and all else that KV depends on.
        most_bytes: of all files, of earlier fingerprints too.
        clock: seconds, for the pause after a refused write.

    Raises:
        ConfigError: the folder cannot be used, or another server uses it.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        most_bytes: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most_bytes = most_bytes
        self.nbytes = 0
        self.dropped_files = self.write_failures = 0
        self._clock = clock
        self._paused_until = 0.0
        self._lock = Lock()
        self._sizes: OrderedDict[Path, int] = OrderedDict()
        self.place = Place(folder / fingerprint, fingerprint)
        self.gone: deque[Path] = deque()
        try:
            self.place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
            # Held until the process ends, however it ends.
            self._held = (folder / "lock").open("a")
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._held.close()
            raise ConfigError(
                f"another server uses the disk cache {folder}: give each its own --disk-cache"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"the disk cache {folder} cannot be used: {error.strerror or error}"
            ) from error
        for file in sorted(_files(folder), key=lambda file: file[2]):
            path, nbytes, _ = file
            # Of other weights: never read, and in the order of use the first to go.
            self._sizes[path] = nbytes
            self.nbytes += nbytes
            if path.parent != self.place.folder:
                self._sizes.move_to_end(path, last=False)
        with self._lock:
            self._make_room(0)

    def close(self) -> None:
        """Let another process have the folder."""
        self._held.close()

    @property
    def files(self) -> int:
        """How many there are, those of other weights too."""
        return len(self._sizes)

    @property
    def is_writing(self) -> bool:
        """Whether files are written: not for a while after the disk refused one."""
        return self._clock() >= self._paused_until

    def scan(self) -> Iterator[FoundBlock]:
        """Yield the blocks that an earlier process left, the least recently used first."""
        for path in [path for path in self._sizes if path.parent == self.place.folder]:
            try:
                yield self._head(path)
            except (OSError, BrokenFileError) as error:
                self.drop(path, str(error))

    def write(
        self, block: Block, tensors: Sequence[torch.Tensor], place: Place | None = None
    ) -> BlockFile | None:
        """Write a block; None if it does not fit, the disk refuses, or it is removed meanwhile.

        Args:
            block: whose tokens go with it.
            tensors: its KV, each `(pages, page, ...)`, in host memory.
            place: of the weights that computed it; None: those of now.
        """
        if not self.is_writing:
            return None
        place = place or self.place
        raw = _encoded(block, tensors, place.fingerprint)
        path = place.folder / f"{_file_name(block)}{_SUFFIX}"
        beside = path.with_suffix(".part")
        with self._lock:
            self._forget(path, is_told=False)
            if not self._make_room(len(raw)):
                return None
            # Counted before it is there, so that two writers do not share one gap.
            self._sizes[path] = len(raw)
            self.nbytes += len(raw)
        try:
            with open(beside, "wb", opener=_for_us_alone) as file:
                file.write(raw)
            beside.replace(path)
        except OSError as error:
            self._paused_until = self._clock() + PAUSE_S
            self.write_failures += 1
            log.warning(
                "the disk cache takes no more for %.0f s: %s", PAUSE_S, error.strerror or error
            )
            with contextlib.suppress(OSError):
                beside.unlink()
            with self._lock:
                self._forget(path)
            return None
        with self._lock:
            if path not in self._sizes:
                # Flushed or evicted before it was there to be removed.
                with contextlib.suppress(OSError):
                    path.unlink()
                return None
        return BlockFile(path, len(raw))

    def read(self, block: Block) -> tuple[torch.Tensor, ...]:
        """Return a block's KV as it was written.

        Raises:
            BrokenFileError: it is not; the file is gone now.
        """
        assert block.file is not None
        path = block.file.path
        try:
            raw = path.read_bytes()
            metadata = _metadata(raw)
            try:
                tensors = load(raw)
            except (SafetensorError, ValueError, TypeError, KeyError) as error:
                raise BrokenFileError(f"no safetensors file: {error}") from error
            tokens = tensors.pop(_TOKENS, None)
            ordered = tuple(tensors[name] for name in sorted(tensors))
            if tokens is None or tokens.numpy().tobytes() != block.data:
                raise BrokenFileError("it holds other tokens")
            if metadata.get("namespace") != block.namespace:
                raise BrokenFileError("it is another namespace's")
            if metadata.get("start_page") != str(block.start_page):
                raise BrokenFileError("it is of another place")
            expected = _checksum(
                path.parent.name, block.namespace, block.start_page, block.data, ordered
            )
            if metadata.get("checksum") != expected:
                raise BrokenFileError("its checksum is wrong")
        except (OSError, BrokenFileError) as error:
            self.drop(path, str(error))
            raise BrokenFileError(str(error)) from error
        with self._lock:
            if path in self._sizes:
                self._sizes.move_to_end(path)
        with contextlib.suppress(OSError):
            os.utime(path)
        return ordered

    def drop(self, path: Path, why: str) -> None:
        """Remove a file that cannot be used."""
        log.warning("a file of the disk cache is dropped: %s", why)
        self.dropped_files += 1
        with self._lock:
            self._forget(path)

    def place_of(self, fingerprint: str) -> Place:
        """Return the place of other weights' blocks; one that cannot be made stops writing."""
        place = Place(self.place.folder.parent / fingerprint, fingerprint)
        with contextlib.suppress(OSError):
            place.folder.mkdir(exist_ok=True, mode=0o700)
        return place

    def remove(self, file: BlockFile) -> None:
        """Remove a file."""
        with self._lock:
            self._forget(file.path)

    def rank(self, files: Sequence[BlockFile]) -> None:
        """Have the first of some files count as the last used, now and after a restart."""
        now_ns = time.time_ns()
        for place, file in reversed(list(enumerate(files))):
            with self._lock:
                if file.path in self._sizes:
                    self._sizes.move_to_end(file.path)
            with contextlib.suppress(OSError):
                os.utime(file.path, ns=(now_ns - place * 1000,) * 2)

    def flush(self) -> int:
        """Remove every file; return how many there were."""
        with self._lock:
            paths = list(self._sizes)
            for path in paths:
                self._forget(path)
        return len(paths)

    def check(self) -> None:
        """The class's invariant."""
        with self._lock:
            assert self.nbytes == sum(self._sizes.values()) <= self.most_bytes

    def _head(self, path: Path) -> FoundBlock:
        """Return what a file says of itself; its KV is verified when it is read."""
        with path.open("rb") as file:
            raw = file.read(8)
            length = int.from_bytes(raw, "little")
            if len(raw) < 8 or length > _MOST_HEADER_BYTES:
                raise BrokenFileError("no safetensors file")
            header = file.read(length)
            metadata, tensors = _parsed(header)
            place = tensors.get(_TOKENS)
            if not isinstance(place, dict) or place.get("dtype") != "I32":
                raise BrokenFileError("it holds no tokens")
            begin, end = _offsets(place)
            file.seek(8 + length + begin)
            data = file.read(end - begin)
        namespace, start = metadata.get("namespace"), metadata.get("start_page", "")
        if metadata.get("format") != FORMAT or not isinstance(namespace, str):
            raise BrokenFileError("it is of another format")
        if not start.isdigit() or len(data) != end - begin or len(data) % TOKEN_BYTES:
            raise BrokenFileError("it is cut off")
        return FoundBlock(namespace, data, int(start), BlockFile(path, self._sizes.get(path, 0)))

    def _make_room(self, nbytes: int) -> bool:
        """Remove the least recently used files until `nbytes` fit; False if they never do."""
        if nbytes > self.most_bytes:
            return False
        while self.nbytes + nbytes > self.most_bytes:
            self._forget(next(iter(self._sizes)))
        return True

    def _forget(self, path: Path, *, is_told: bool = True) -> None:
        size = self._sizes.pop(path, None)
        if size is None:
            return
        self.nbytes -= size
        with contextlib.suppress(OSError):
            path.unlink()
        if is_told:
            self.gone.append(path)


def _files(folder: Path) -> list[tuple[Path, int, float]]:
    """Return the files under a folder with size and last use; half-written ones are removed."""
    found = []
    for path in folder.glob("*/*"):
        with contextlib.suppress(OSError):
            if path.suffix == _SUFFIX:
                status = path.stat()
                found.append((path, status.st_size, status.st_mtime))
            elif path.suffix == ".part":
                path.unlink()
    return found


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _encoded(block: Block, tensors: Sequence[torch.Tensor], fingerprint: str) -> bytes:
    named = {f"{index:05d}": tensor.contiguous() for index, tensor in enumerate(tensors)}
    checksum = _checksum(fingerprint, block.namespace, block.start_page, block.data, tensors)
    named[_TOKENS] = torch.from_numpy(np.frombuffer(block.data, np.int32).copy())
    metadata = {
        "format": FORMAT,
        "namespace": block.namespace,
        "start_page": str(block.start_page),
        "checksum": checksum,
    }
    return bytes(save(named, metadata))


def _file_name(block: Block) -> str:
    named = hashlib.blake2b(digest_size=20)
    named.update(block.namespace.encode("utf-8", "surrogatepass") + b"\0")
    named.update(block.start_page.to_bytes(8, "little") + block.data)
    return named.hexdigest()


def _checksum(
    fingerprint: str,
    namespace: str,
    start_page: int,
    data: bytes,
    tensors: Sequence[torch.Tensor],
) -> str:
    head = json.dumps([FORMAT, fingerprint, namespace, start_page, len(data)])
    total = xxhash.xxh3_128(head.encode())
    total.update(data)
    for tensor in tensors:
        total.update(json.dumps([str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _metadata(raw: bytes) -> dict[str, str]:
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 + length:
        raise BrokenFileError("it is cut off")
    return _parsed(raw[8 : 8 + length])[0]


def _parsed(header: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    try:
        content = json.loads(header)
    except ValueError as error:
        raise BrokenFileError("its head is broken") from error
    metadata = content.pop("__metadata__", None) if isinstance(content, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BrokenFileError("its head is broken")
    return metadata, content


def _offsets(place: dict[str, Any]) -> tuple[int, int]:
    match place.get("data_offsets"):
        case [int(begin), int(end)] if 0 <= begin <= end:
            return begin, end
    raise BrokenFileError("its head is broken")
