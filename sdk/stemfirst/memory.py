"""A folder in which processes leave each other what their prompts were: digests, no text.

    with ledger("checkout", memory=".stemfirst/memory"): ...      or STEMFIRST_MEMORY=folder

One file a prompt's name and API key, replaced whole at each call, so that readers see the last
prompt or the one before it and never half of one. Losing it costs an explanation, nothing else:
no lock is taken, nothing is flushed to the disk, and no call fails because of it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike

from stemfirst.chain import ChainKey, segment_digest
from stemfirst.earlier import Earlier, Parted
from stemfirst.rendered import Rendered
from stemfirst.wire import MissPlace

MEMORY_VARIABLE = "STEMFIRST_MEMORY"
MOST_PROMPTS = 256
"""Files that a folder keeps; the oldest go."""
SUFFIX = ".json"
LOCAL_KEY = "none"
"""Keys digests where a client has no API key of its own."""

log = logging.getLogger("stemfirst")


@dataclass(frozen=True, slots=True)
class Recalled:
    """What was sent before under a prompt's name, unread until a miss asks for it."""

    data: bytes = field(repr=False)
    key: ChainKey

    def parted(self, rendered: Rendered, place: MissPlace | None) -> Parted | None:
        """Return where a prompt leaves it, or None; as `Earlier.parted`."""
        earlier = Earlier.of_bytes(self.data)
        return earlier.parted(rendered, self.key, place) if earlier else None


class Memory:
    """The last prompt of each name, shared by all processes that are given the same folder.

    Args:
        folder: made where it does not exist, readable by its owner only. Holds source lines and
            segments' names: it stays where it was made.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = os.path.abspath(folder)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._has_failed = False

    def exchange(self, rendered: Rendered, api_key: object) -> Recalled | None:
        """Return what was sent before under this prompt's name, and leave this one for others."""
        if rendered.title is None:
            return None
        key = ChainKey.derive(api_key if isinstance(api_key, str) and api_key else LOCAL_KEY)
        name = segment_digest(rendered.title.encode("utf-8", "surrogatepass"), key)
        path = os.path.join(self.folder, name + SUFFIX)
        kept = Earlier.of(rendered, key, process=os.getpid(), at_s=time.time())
        try:
            before = _read(path)
            self._write(path, kept.as_bytes())
            if before is None:
                self._prune()
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                log.warning("prompts are not remembered in %s: %s", self.folder, error)
            return None
        return Recalled(before, key) if before is not None else None

    def _write(self, path: str, data: bytes) -> None:
        draft = f"{path}.{os.getpid()}.{threading.get_ident()}"
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(file, "wb") as opened:
                opened.write(data)
            os.replace(draft, path)
        except OSError:
            os.unlink(draft)
            raise

    def _prune(self) -> None:
        with os.scandir(self.folder) as found:
            files = [item for item in found if item.name.endswith(SUFFIX)]
        if len(files) <= MOST_PROMPTS:
            return
        ages = []
        for item in files:
            try:
                ages.append((item.stat().st_mtime, item.path))
            except FileNotFoundError:
                continue  # another process prunes, too
        for _, path in sorted(ages)[: len(ages) - MOST_PROMPTS]:
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue

    def __repr__(self) -> str:
        return f"<Memory {self.folder!r}>"


def memory_of_environment() -> Memory | None:
    """Return the memory in the folder that the environment names, or None."""
    folder = os.environ.get(MEMORY_VARIABLE)
    return _memory_in(os.path.abspath(folder)) if folder else None


@lru_cache(maxsize=8)
def _memory_in(folder: str) -> Memory | None:
    try:
        return Memory(folder)
    except OSError as error:
        log.warning("prompts are not remembered in %s=%s: %s", MEMORY_VARIABLE, folder, error)
        return None


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
