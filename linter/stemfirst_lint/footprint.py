"""What an answer came from: files that were read, folders that were looked into; is all as it was?

A file is as it was if its size and time are, or else its digest. Where a name was looked for, the
nearest folder that is there decides: it is as it was if its time is, or else those of the names
asked for that it holds. Knows nothing of source or rules, and imports next to nothing: a run that
has nothing to do waits for it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from collections.abc import Iterable

COARSE_NS = 2_000_000_000
"""What was changed so shortly before a look may be changed again at what looks like the same time;
file systems count in steps of up to two seconds."""

PASSING = frozenset({"__pycache__", ".stemfirst_cache", ".ruff_cache", ".mypy_cache"})
"""Names that come and go in folders of source and hold none."""


def digest_of(data: bytes) -> str:
    """Return a digest that tells two contents apart, not one that resists an attacker."""
    import xxhash

    return xxhash.xxh3_128_hexdigest(data)


def file_digest(path: str) -> str | None:
    """Return the digest of a file's bytes; None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return digest_of(file.read())
    except OSError:
        return None


def settled_ns(time_ns: int, now_ns: int) -> int:
    """Return a time that tells whether something changed since, or 0 if it is too near to now."""
    return time_ns if time_ns <= now_ns - COARSE_NS else 0


def folder_time_ns(path: str) -> int | None:
    """Return when names last came to or went from a folder; None if there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def names_in(folder: str, asked: frozenset[str] | None = None) -> tuple[str, ...] | None:
    """Return the names in a folder, folders with a `/` behind, sorted; None if it is none.

    Args:
        folder: where to look.
        asked: only these, without the `/`; None for all that matter.
    """
    try:
        with os.scandir(folder) as entries:
            if asked is None:
                return listed_names(entries)
            found = [_marked(entry) for entry in entries if entry.name in asked]
    except OSError:
        return None
    return tuple(sorted(found))


def listed_names(entries: Iterable[os.DirEntry[str]]) -> tuple[str, ...]:
    """Return the names of a folder's entries that matter, as `names_in` does."""
    return tuple(sorted(_marked(entry) for entry in entries if entry.name not in PASSING))


def _marked(entry: os.DirEntry[str]) -> str:
    try:
        return f"{entry.name}/" if entry.is_dir() else entry.name
    except OSError:  # a link in circles
        return entry.name


Place = tuple[tuple[str, ...], tuple[str, ...]]
"""The names that were asked for in a folder, and those of them that it holds."""


class Changed(Exception):  # noqa: N818 nothing is wrong: it is only too late
    """Something changed while it was looked at, so that nothing can be said of it."""


def places(probes: dict[str, bool]) -> dict[str, Place]:
    """Return the folders that decide whether files are at paths, with the names that matter there.

    Args:
        probes: absolute paths, and whether a file or folder was found there.

    Raises:
        Changed: what is there now is not what was found.
    """
    asked: dict[str, set[str]] = {}
    nearest: dict[str, tuple[str, str | None]] = {}
    own: dict[str, list[tuple[str, bool]]] = {}
    for path, was_there in probes.items():
        folder, name = os.path.split(path)
        if folder not in nearest:
            nearest[folder] = _nearest(folder)
        deciding, first = nearest[folder]
        asked.setdefault(deciding, set()).add(first or name)
        if first is None:
            own.setdefault(deciding, []).append((name, was_there))
        elif was_there:
            raise Changed(path)
    found: dict[str, Place] = {}
    for folder, names in asked.items():
        present = names_in(folder, frozenset(names))
        for name, was_there in own.get(folder, ()):
            is_there = name in (present or ()) or (was_there and f"{name}/" in (present or ()))
            if present is None or is_there != was_there:
                raise Changed(folder)
        found[folder] = (tuple(sorted(names)), present or ())
    return found


def _nearest(folder: str) -> tuple[str, str | None]:
    """The nearest folder above that is there, and the name in it that leads to `folder`."""
    name: str | None = None
    while not os.path.isdir(folder):
        parent, name = os.path.split(folder)
        if parent == folder:
            break
        folder = parent
    return folder, name


class Look:
    """What one run knows of folders; invariant: each is looked at once at most for each question.

    Attributes:
        known: the time of each folder as an earlier run noted it.
    """

    def __init__(self, known: dict[str, int]) -> None:
        self.known = known
        self.times: dict[str, int | None] = {}

    def is_same(self, folder: str, asked: Iterable[str], present: Iterable[str]) -> bool:
        """Return True if a folder holds the same ones of some names as before."""
        if folder not in self.times:
            self.times[folder] = folder_time_ns(folder)
        time_ns = self.times[folder]
        if time_ns is not None and time_ns == self.known.get(folder):
            return True
        return (names_in(folder, frozenset(asked)) or ()) == tuple(present)
