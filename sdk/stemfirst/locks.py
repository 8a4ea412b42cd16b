"""The project's `stemfirst.lock` beside what is rendered: which pinned prefix a text has left.

Knows the lock's digests of paragraphs, which `stemfirst lock` wrote from source, and how to find
the pinned prompt that a rendered text must be. Holds no text of it, and reads no source.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

NAME = "stemfirst.lock"
VERSION = 1

_BLOCK = re.compile(r".*?(?:\n[ \t]*)+\n|.+\Z", re.DOTALL)
"""A paragraph with the blank lines behind it."""


@dataclass(frozen=True, slots=True)
class Departure:
    """A text that is no longer what the lock pins."""

    lock: Path
    key: str
    """The prompt's file and name: `prompts.py::POLICY`."""
    block: int
    """The first paragraph that differs, from 0."""
    text: str
    """What stands there now; empty where the text ends before it."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock's prefixes: digests of paragraphs by key."""

    path: Path
    prefixes: Mapping[str, tuple[str, ...]]

    def departure(self, text: str) -> Departure | None:
        """Return where a static text leaves its pinned prefix; None where it stands or is unknown.

        Its pinned prefix is the one that it holds at least half of the paragraphs of. The last
        one of a prefix may have been cut at a hole, so it is not compared.
        """
        blocks = blocks_of(text)
        digests = [digest_of_block(block) for block in blocks]
        best: Departure | None = None
        most = 0
        for key, pinned in self.prefixes.items():
            common = 0
            while common < min(len(pinned), len(digests)) and pinned[common] == digests[common]:
                common += 1
            if common >= max(1, len(pinned) - 1):
                return None
            had = len(set(pinned) & set(digests))
            if 2 * had >= len(pinned) and had > most:
                most = had
                now = blocks[common] if common < len(blocks) else ""
                best = Departure(self.path, key, common, now)
        return best


def find_lock(folder: Path | None = None) -> Lock | None:
    """Return the lock in a folder or the nearest one above; None without one that can be read."""
    start = folder or Path(os.getcwd())
    for place in (start, *start.parents):
        path = place / NAME
        if path.is_file():
            return _read(path)
    return None


def _read(path: Path) -> Lock | None:
    try:
        value = json.loads(path.read_text("utf-8"))
        if value["version"] != VERSION:
            return None
        return Lock(path, {key: tuple(map(str, item)) for key, item in value["prefixes"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # `stemfirst lock --check` says what is wrong with it


def blocks_of(text: str) -> tuple[str, ...]:
    """Return a text in paragraphs, each with the blank lines behind it: what a lock pins."""
    return tuple(_BLOCK.findall(text))


def digest_of_block(block: str) -> str:
    """Return a paragraph's digest as a lock holds it: SHA-256 of its UTF-8, in hex."""
    return sha256(block.encode("utf-8", "surrogatepass")).hexdigest()
