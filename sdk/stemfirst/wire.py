"""The wire format, version 1: what the client hints and what the server reports.

Knows names and shapes of headers and JSON fields, both ways. Does not send, and trusts
nothing: what comes in from outside is read leniently, and a hint that is malformed or of an
unknown version is no hint.

    request   x-stemfirst-prefix: v1;k=<key id>;c=<link>.<link>     x-session-id: <affinity>
              body "stemfirst": {v, kid, alg, segs: [{id, tier, at, n, h}], report: […],
                                 put: {kid, h, n, messages} or ref: {kid, h, n}}
    response  body "stemfirst": Report        x-stemfirst: v1;hit=4096;of=5120
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stemfirst.chain import ChainKey, chain_of, name_of
from stemfirst.prompt import Path, Rendered
from stemfirst.reports import VERSION as VERSION
from stemfirst.reports import Cost as Cost
from stemfirst.reports import Estimate as Estimate
from stemfirst.reports import Miss as Miss
from stemfirst.reports import MissPlace as MissPlace
from stemfirst.reports import PrefixHeld as PrefixHeld
from stemfirst.reports import Report as Report
from stemfirst.reports import SegmentUse as SegmentUse
from stemfirst.reports import Times as Times
from stemfirst.reports import is_count, is_hex, is_list, path_of
from stemfirst.reports import report_from_json as report_from_json
from stemfirst.reports import report_to_json as report_to_json
from stemfirst.tiers import Tier

ALGORITHM = "blake2b-128"
BODY_FIELD = "stemfirst"
PREFIX_HEADER = "x-stemfirst-prefix"
SESSION_HEADER = "x-session-id"
HIT_HEADER = "x-stemfirst"
CAPABILITIES_PATH = "/v1/stemfirst"
MAX_LINKS = 8
"""Links in the header at most: those where the tier changes, then the last ones."""
MAX_SEGMENTS = 4096
"""Segments in the body at most; a prompt of more is sent without hints."""


@dataclass(frozen=True, slots=True)
class SegmentHint:
    """One segment as the client names it: `size_bytes` of the string at `at`.

    For a tool, `size_bytes` and `digest` are of its canonical JSON.
    """

    id: str
    tier: Tier
    at: Path
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class PrefixRef:
    """A prefix that stands in the place of the body's first messages and tools, by its digest."""

    key_id: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PrefixPut:
    """The body's first `messages` messages and its tools, to be kept under their digest."""

    key_id: str
    digest: str
    size_bytes: int
    messages: int


@dataclass(frozen=True, slots=True)
class PromptHint:
    """The body's field: every segment, in the order tools, then messages.

    With `ref`, only the segments behind the prefix that it names.
    """

    key_id: str
    segments: tuple[SegmentHint, ...]
    report: tuple[str, ...] = ()
    ref: PrefixRef | None = None
    put: PrefixPut | None = None


@dataclass(frozen=True, slots=True)
class PrefixHint:
    """The header: cumulative links, most of a prompt's names in 160 bytes."""

    key_id: str
    links: tuple[str, ...]


def prompt_hint(rendered: Rendered, key: ChainKey) -> PromptHint:
    """Return the hint of a rendered prompt under this key."""
    named = ((segment, name_of(segment, key)) for segment in rendered.segments)
    return PromptHint(
        key.id,
        tuple(
            SegmentHint(segment.id, segment.tier, segment.at, name.size_bytes, name.digest)
            for segment, name in named
        ),
    )


def hint_to_json(hint: PromptHint) -> dict[str, Any]:
    """Return the hint as the body's field."""
    field: dict[str, Any] = {
        "v": VERSION,
        "kid": hint.key_id,
        "alg": ALGORITHM,
        "segs": [
            {
                "id": segment.id,
                "tier": segment.tier.label,
                "at": list(segment.at),
                "n": segment.size_bytes,
                "h": segment.digest,
            }
            for segment in hint.segments
        ],
    }
    if hint.report:
        field["report"] = list(hint.report)
    if hint.ref:
        field["ref"] = {"kid": hint.ref.key_id, "h": hint.ref.digest, "n": hint.ref.size_bytes}
    if hint.put:
        put = hint.put
        field["put"] = {
            "kid": put.key_id, "h": put.digest, "n": put.size_bytes, "messages": put.messages
        }  # fmt: skip
    return field


def hint_from_json(value: object) -> PromptHint | None:
    """Return the hint in a body's field, or None where it is not one that we understand."""
    if not isinstance(value, Mapping) or value.get("v") != VERSION:
        return None
    key_id, segments, report = value.get("kid"), value.get("segs"), value.get("report", [])
    if value.get("alg") != ALGORITHM or not is_hex(key_id, 8):
        return None
    if not isinstance(segments, list) or len(segments) > MAX_SEGMENTS:
        return None
    parsed = [_segment(item) for item in segments]
    known = tuple(item for item in parsed if item is not None)
    if len(known) != len(parsed):
        return None
    wanted = tuple(item for item in report if isinstance(item, str)) if is_list(report) else ()
    return PromptHint(key_id, known, wanted, ref_of(value), put_of(value))


def ref_of(field: Mapping[str, Any]) -> PrefixRef | None:
    """Return the prefix that a body's field stands on, or None where it names none."""
    return _named(field.get("ref"))


def put_of(field: Mapping[str, Any]) -> PrefixPut | None:
    """Return the prefix that a body's field asks to keep, or None where it asks for none."""
    value = field.get("put")
    ref = _named(value)
    messages = value.get("messages") if isinstance(value, Mapping) else None
    if ref is None or not is_count(messages):
        return None
    return PrefixPut(ref.key_id, ref.digest, ref.size_bytes, messages)


def _named(value: object) -> PrefixRef | None:
    if not isinstance(value, Mapping):
        return None
    key_id, digest, size = value.get("kid"), value.get("h"), value.get("n")
    if not is_hex(key_id, 8) or not is_hex(digest, 32) or not is_count(size):
        return None
    return PrefixRef(key_id, digest, size)


def links_of(hint: PromptHint, key: ChainKey) -> tuple[str, ...]:
    """Return one link a segment of a hint; `key` is the one that its digests were made with."""
    return chain_of(((segment.at, segment.digest) for segment in hint.segments), key)


def prefix_to_header(hint: PromptHint, links: Sequence[str]) -> str:
    """Return the header's value: at most `MAX_LINKS` of a hint's links, ends of tiers first."""
    tiers = [segment.tier for segment in hint.segments]
    ends = [i for i in range(len(links)) if i + 1 == len(links) or tiers[i] != tiers[i + 1]]
    others = [i for i in reversed(range(len(links))) if i not in ends]
    chosen = sorted((ends[-MAX_LINKS:] + others)[:MAX_LINKS])
    return f"v{VERSION};k={hint.key_id};c={'.'.join(links[i] for i in chosen)}"


_PREFIX = re.compile(rf"v{VERSION};k=([0-9a-f]{{8}});c=([0-9a-f]{{16}}(?:\.[0-9a-f]{{16}}){{0,7}})")


def prefix_from_header(value: str | None) -> PrefixHint | None:
    """Return the hint in a header, or None where it is not one that we understand."""
    match = _PREFIX.fullmatch(value.strip()) if value else None
    return PrefixHint(match[1], tuple(match[2].split("."))) if match else None


def _segment(item: object) -> SegmentHint | None:
    if not isinstance(item, Mapping):
        return None
    identifier, tier, at = item.get("id"), item.get("tier"), item.get("at")
    size, digest = item.get("n"), item.get("h")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= 64:
        return None
    if not isinstance(tier, str) or tier not in _TIERS:
        return None
    try:
        path = path_of(at)
    except ValueError:
        return None
    if not is_count(size) or not is_hex(digest, 32):
        return None
    return SegmentHint(identifier, _TIERS[tier], path, size, digest)


_TIERS = {tier.label: tier for tier in Tier}
