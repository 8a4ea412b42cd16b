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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import zip_longest
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
        self.tools: dict[tuple[object, ...], tuple[str, ...]] = {}
        """The names of each prompt's tools in their order, by the prompt's first text."""
        self.told_tools: set[tuple[object, ...]] = set()


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
    segments = tuple(segments)
    _notice_tools(memory, segments)
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


def _notice_tools(memory: _Memory, segments: Sequence[RenderedSegment]) -> None:
    """Compare a prompt's tools to those that the same prompt had before: they stand in front."""
    front = next((item for item in segments if not item.is_tool), None)
    if front is None or front.origin is None:
        return
    prompt = (front.origin.path, front.origin.line, front.name)
    names = tuple(item.name or "" for item in segments if item.is_tool)
    with memory.lock:
        before = memory.tools.setdefault(prompt, names)
        if before == names or prompt in memory.told_tools:
            return
        memory.told_tools.add(prompt)
    index = next(i for i, pair in enumerate(zip_longest(before, names)) if pair[0] != pair[1])
    what = "came in another order" if sorted(before) == sorted(names) else "changed"
    was, now = (", ".join(some[index : index + 3]) or "none" for some in (before, names))
    warnings.warn(
        f"the tools of the prompt built at {front.origin} {what}: {now} at place "
        f"{index + 1}, where {was} stood before. Tools stand in front of all text, so "
        "everything behind them is read again: give the same tools in the same order; where "
        "there are a few fixed sets, give each prompt's first text its own name=....",
        StaticChangedWarning,
        stacklevel=5,
    )


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
