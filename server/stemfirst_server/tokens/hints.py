"""The client's segments, verified, and how many tokens of each came from the cache.

A hint is believed only where its keyed digest fits the text that was really sent; one segment
that does not fit, and the whole list is set aside. Hints steer reports only, never the cache.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

import numpy as np
from stemfirst.chain import canonical_bytes, segment_digest
from stemfirst.wire import MissPlace, SegmentUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stemfirst.chain import ChainKey
    from stemfirst.wire import PromptHint, SegmentHint

    from stemfirst_server.tokens.encoder import Encoded
    from stemfirst_server.tokens.placement import Path, Place, Placement


@dataclass(frozen=True, slots=True)
class SegmentMap:
    """Segments by the string that they stand in; `ends` are cumulative bytes of that string."""

    by_path: Mapping[Path, tuple[tuple[int, ...], tuple[SegmentHint, ...]]]

    def at(self, path: Path, byte: int | None) -> SegmentHint | None:
        """Return the segment that holds this byte; None for a byte asks for the whole string."""
        ends, segments = self.by_path.get(path, ((), ()))
        if not segments:
            return None
        index = bisect_right(ends, byte or 0)
        return segments[min(index, len(segments) - 1)]


NO_SEGMENTS = SegmentMap({})


def verified(hint: PromptHint | None, key: ChainKey, body: Mapping[str, Any]) -> SegmentMap:
    """Return the segments of `hint` if each of them fits `body`, else none.

    Args:
        hint: what the client sent.
        key: derived from the key that the client authenticated with.
        body: the request as it was parsed: `messages` and `tools`.
    """
    if hint is None or hint.key_id != key.id:
        return NO_SEGMENTS
    runs: dict[Path, list[SegmentHint]] = defaultdict(list)
    for segment in hint.segments:
        runs[segment.at].append(segment)
    found: dict[Path, tuple[tuple[int, ...], tuple[SegmentHint, ...]]] = {}
    for path, segments in runs.items():
        data = _bytes_at(path, body)
        if data is None:
            return NO_SEGMENTS
        ends: list[int] = []
        start = 0
        for segment in segments:
            end = start + segment.size_bytes
            if not compare_digest(segment_digest(data[start:end], key), segment.digest):
                return NO_SEGMENTS
            ends.append(end)
            start = end
        if start != len(data):
            return NO_SEGMENTS
        found[path] = (tuple(ends), tuple(segments))
    return SegmentMap(found)


@dataclass(frozen=True, slots=True)
class Uses:
    """Prompt and cached tokens by tier and by segment id."""

    tiers: Mapping[str, SegmentUse]
    segments: Mapping[str, SegmentUse]


def count_uses(
    encoded: Encoded, cached_tokens: int, placement: Placement, segments: SegmentMap
) -> Uses | None:
    """Return how many tokens of each segment came from the cache; None without segments.

    A token counts for the segment that its first character lies in; tokens of the template's
    own text count for none.
    """
    if not segments.by_path:
        return None
    by_segment: dict[str, SegmentUse] = {}
    by_tier: dict[str, list[int]] = {}
    for place in placement.places:
        ends, hints = segments.by_path.get(place.path, ((), ()))
        if not hints:
            continue
        # Token indices at which each segment of this place begins, and one past its last.
        cuts = [place.start, *(_character_of(place, end) for end in ends)]
        if place.is_json:
            cuts = [place.start, place.end]
        edges = np.searchsorted(encoded.starts, np.asarray(cuts), side="left").tolist()
        for hint, first, last in zip(hints, edges[:-1], edges[1:], strict=False):
            use = SegmentUse(last - first, max(0, min(last, cached_tokens) - first))
            before = by_segment.get(hint.id, SegmentUse(0, 0))
            by_segment[hint.id] = SegmentUse(
                before.prompt_tokens + use.prompt_tokens, before.cached_tokens + use.cached_tokens
            )
            tier = by_tier.setdefault(hint.tier.label, [0, 0])
            tier[0] += use.prompt_tokens
            tier[1] += use.cached_tokens
    return Uses({label: SegmentUse(*counts) for label, counts in by_tier.items()}, by_segment)


def locate(
    token: int, encoded: Encoded, text_length: int, placement: Placement, segments: SegmentMap
) -> MissPlace:
    """Return the string, byte and segment that a prompt token begins in.

    Args:
        token: index into the prompt; its length means the end of the prompt.
        encoded: the prompt's tokens.
        text_length: characters of the rendered prompt.
        placement: where the request's strings stand in the rendered prompt.
        segments: the client's segments, verified.
    """
    count = len(encoded.starts)
    if token >= count:
        return MissPlace(token)
    start = int(encoded.starts[token])
    end = int(encoded.starts[token + 1]) if token + 1 < count else text_length
    place = placement.at(start, max(end, start + 1))
    if place is None:
        return MissPlace(token)
    byte = place.byte_at(start)
    segment = segments.at(place.path, byte)
    return MissPlace(token, place.path, byte, segment.id if segment else None)


def _bytes_at(path: Path, body: Mapping[str, Any]) -> bytes | None:
    """Return the bytes that the client hashed at `path`, or None where no such string is."""
    value: Any = body
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict):
        try:
            return canonical_bytes(json.dumps(value), path)
        except (ValueError, RecursionError):
            return None  # what canonical JSON cannot hold, or not so deeply nested
    return None


def _character_of(place: Place, byte: int) -> int:
    """Return the character of the rendered prompt at a byte of the place's string."""
    data = place.text.encode("utf-8", "surrogatepass")[:byte]
    within = byte if place.text.isascii() else len(data.decode("utf-8", "ignore"))
    return min(max(place.start + within - place.skipped, place.start), place.end)
