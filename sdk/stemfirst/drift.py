"""Development mode: notices when text that was called static is not.

Knows what each place in the source has rendered as static before, and what the project's
`stemfirst.lock` pins. Does not know why it changed. Off by default, because it remembers a digest
for every place; on inside `watching()`, or for a whole process with the environment variable
STEMFIRST_DEV=1.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from stemfirst.locks import Lock, find_lock
from stemfirst.tiers import Tier

if TYPE_CHECKING:
    from stemfirst.rendered import RenderedSegment


class StaticChangedWarning(UserWarning):
    """A static segment's bytes differ from those that the same place gave before."""


class LockChangedWarning(StaticChangedWarning):
    """A static segment is no longer what `stemfirst.lock` pins."""


class _Place(NamedTuple):
    path: str
    line: int
    name: str | None
    nth: int
    """Which of the segments that this line made in one prompt."""


class _Memory:
    """What was rendered at each place; each change is told once."""

    def __init__(self) -> None:
        self.texts: dict[_Place, str] = {}
        self.told: set[_Place] = set()
        self.lock = threading.Lock()
        self.pinned = find_lock()
        self.compared: set[str] = set()
        """Texts that were compared to the lock, by digest."""


_memory = _Memory() if os.environ.get("STEMFIRST_DEV") not in (None, "", "0") else None


def is_watching() -> bool:
    """Return whether development mode is on."""
    return _memory is not None


@contextmanager
def watching() -> Iterator[None]:
    """Turn development mode on for the whole process, until the block ends."""
    global _memory
    before, _memory = _memory, _Memory()
    try:
        yield
    finally:
        _memory = before


def notice(segments: Iterable[RenderedSegment]) -> None:
    """Compare static segments to what their places rendered before; warn where they differ."""
    memory = _memory
    if memory is None:
        return
    seen: Counter[tuple[str, int, str | None]] = Counter()
    for segment in segments:
        if segment.tier is not Tier.STATIC or segment.origin is None:
            continue
        if memory.pinned is not None and segment.is_text:
            _compare(memory, memory.pinned, segment)
        key = (segment.origin.path, segment.origin.line, segment.name)
        place = _Place(*key, seen[key])
        seen[key] += 1
        with memory.lock:
            before = memory.texts.setdefault(place, segment.text)
            is_news = before != segment.text and place not in memory.told
            if is_news:
                memory.told.add(place)
        if is_news:
            _warn(segment, before)


def _compare(memory: _Memory, pinned: Lock, segment: RenderedSegment) -> None:
    text = segment.text.removeprefix("\n\n")  # the separator is not the source's
    mark = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    with memory.lock:
        if mark in memory.compared:
            return
        memory.compared.add(mark)
    left = pinned.departure(text)
    if left is None:
        return
    shown = f"it has {left.text.strip()[:60]!r} now" if left.text else "the text ends before it"
    warnings.warn(
        f"{segment.label} built at {segment.origin} is not what {left.lock.name} pins as "
        f"{left.key}: paragraph {left.block + 1} differs, {shown}. Every cached prompt behind "
        "it is read again, once. Where that is meant, run `stemfirst lock`.",
        LockChangedWarning,
        stacklevel=5,
    )


def _warn(segment: RenderedSegment, before: str) -> None:
    from stemfirst.divergence import first_difference

    difference = first_difference(before, segment.text)
    assert difference is not None
    warnings.warn(
        f"{segment.label} built at {segment.origin} is called static, and its text changed "
        f"at character {difference.index:,}:\n{difference.window()}\n"
        "Move what changes behind the stable text, into tenant(...), session(...) or "
        "request(...); where there are a few fixed variants, give each its own name=....",
        StaticChangedWarning,
        stacklevel=4,
    )
