"""Where a place that a server names in a request's body lies in the prompt that made the body.

A server that was told no segments (another client package sent the request) names a string of the
body and a byte in it. Knows how the shapes of all APIs keep a prompt's text: whole, or cut at
segments' ends. Does not know why the prompt left the cache there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from stemfirst.rendered import Rendered, RenderedSegment
from stemfirst.segments import Path
from stemfirst.wire import MissPlace


def placed_in(rendered: Rendered, place: MissPlace, body: Mapping[str, Any] | None) -> MissPlace:
    """Return the place in the prompt's terms, with its segment; as it is where it is not found.

    Args:
        rendered: the prompt.
        place: in the body's terms.
        body: the request; None where its strings are the prompt's own.
    """
    if place.path is None:
        return place
    text = _string_at(body, place.path) if body is not None else None
    byte = place.byte or 0
    best: MissPlace | None = None
    for at, run in groupby(rendered.segments, lambda item: item.at):
        segments = list(run)
        ahead = 0 if at == place.path and (body is None or segments[0].is_tool) else None
        if ahead is None and text and not segments[0].is_tool:
            ahead = _start_of(text, segments)
        if ahead is None:
            continue
        found = _segment_at(segments, ahead + byte)
        here = replace(place, path=at, byte=ahead + byte, segment=found.id)
        if best is None or _is_nearer(at, best.path, place.path):
            best = here  # the same text may stand in several messages
    return best or place


def _is_nearer(at: Path, than: Path | None, path: Path) -> bool:
    """Whether a message stands nearer to the body's; system text stands in front of them all."""
    if not than or len(path) < 2 or not isinstance(path[1], int) or path[0] == "system":
        return False
    here, there = (int(item[1]) - path[1] for item in (at, than))
    return here >= 0 and (there < 0 or here < there)


def _start_of(text: str, segments: Sequence[RenderedSegment]) -> int | None:
    """Return the byte at which neighbours among the segments begin to form just this text."""
    ahead = 0
    for first, item in enumerate(segments):
        joined = ""
        for other in segments[first:]:
            joined += other.text
            if joined == text:
                return ahead
            if not text.startswith(joined):
                break
        ahead += _size(item.text)
    return None


def _segment_at(segments: Sequence[RenderedSegment], byte: int) -> RenderedSegment:
    """Return the segment that holds a byte of the string that they form."""
    end = 0
    for item in segments:
        end += _size(item.text)
        if byte < end:
            return item
    return segments[-1]


def _string_at(body: Mapping[str, Any], path: Path) -> str | None:
    found: Any = body
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return None
    return found if isinstance(found, str) else None


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
