"""Calls taken out of text that arrives in pieces.

Text that might be the beginning of a call waits until it is decided; a call is told whole, once
its end is there. Text that begins like a call and is none is shown as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from stemfirst_server.tools.calls import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemfirst_server.tools.calls import Tool, ToolCall
    from stemfirst_server.tools.formats import Format


class Reader(Protocol):
    """Reads one output."""

    def feed(self, text: str) -> Reading:
        """Return what became certain with this text."""
        ...

    def finish(self) -> Reading:
        """Return the rest."""
        ...


class CallReader:
    """Reads one output in one format.

    Invariant: what was shown, the raw text of told calls, blanks around them, and what is held
    are together what was fed.
    """

    def __init__(self, form: Format, tools: Sequence[Tool], *, is_parallel: bool = True) -> None:
        self._form = form
        self._tools = tools
        self._most = None if is_parallel else 1
        self._held = ""
        self._blanks = ""
        self._is_inside = False
        self._has_shown = False
        self._told = 0

    def feed(self, text: str) -> Reading:
        """Return what became certain with this text."""
        self._held += text
        shown: list[str] = []
        calls: list[ToolCall] = []
        while self._take(shown, calls, is_last=False):
            pass
        return Reading("".join(shown), tuple(calls))

    def finish(self) -> Reading:
        """Return the rest: a call whose end never came is one if it is whole."""
        shown: list[str] = []
        calls: list[ToolCall] = []
        while self._take(shown, calls, is_last=True):
            pass
        if self._held:
            self._show(self._held, shown)
            self._held = ""
        return Reading("".join(shown), tuple(calls))

    def _take(self, shown: list[str], calls: list[ToolCall], *, is_last: bool) -> bool:
        """Take one thing off what is held; return whether there may be another."""
        return (
            self._take_call(shown, calls, is_last=is_last)
            if self._is_inside
            else self._take_text(shown, is_last=is_last)
        )

    def _take_text(self, shown: list[str], *, is_last: bool) -> bool:
        form = self._form
        held = self._held
        if form.is_only_first and (self._has_shown or self._told):
            self._show(held, shown)
            self._held = ""
            return False
        start = _first(held, form.begins)
        if start is not None and (not form.is_only_first or not held[:start].strip()):
            before = held[:start].rstrip()
            self._show(before, shown)
            self._blanks = held[len(before) : start]
            self._held = held[start:]
            self._is_inside = True
            return True
        keep = 0 if is_last else undecided(held, form.begins)
        cut = len(held) - keep
        if not is_last:
            # Blanks before a call are no text.
            cut = len(held[:cut].rstrip())
        self._show(held[:cut], shown)
        self._held = held[cut:]
        return False

    def _take_call(self, shown: list[str], calls: list[ToolCall], *, is_last: bool) -> bool:
        end = self._form.end
        place = self._held.find(end) if end is not None else -1
        if place < 0 and not is_last:
            return False
        stop = len(self._held) if place < 0 or end is None else place + len(end)
        raw, self._held = self._held[:stop], self._held[stop:]
        found = self._form.calls(raw, self._tools)
        self._is_inside = False
        if found is None:
            self._show(self._blanks + raw, shown)
        else:
            left = None if self._most is None else self._most - self._told
            calls += found[:left]
            self._told += len(found)
        return bool(self._held)

    def _show(self, text: str, shown: list[str]) -> None:
        if self._told and not text.strip():
            return  # blanks between calls
        if text:
            self._has_shown = self._has_shown or bool(text.strip())
            shown.append(text)


def _first(text: str, marks: Sequence[str]) -> int | None:
    """Return where the first mark begins, or None."""
    places = [place for place in (text.find(mark) for mark in marks) if place >= 0]
    return min(places, default=None)


def undecided(text: str, marks: Sequence[str]) -> int:
    """Return the length of the longest end of `text` that is a proper start of a mark."""
    for length in range(min(len(text), max(len(mark) for mark in marks) - 1), 0, -1):
        end = text[-length:]
        if any(mark.startswith(end) and len(mark) > length for mark in marks):
            return length
    return 0
