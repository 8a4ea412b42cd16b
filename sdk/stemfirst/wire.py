"""The wire format, version 1: what the client hints and what the server reports.

Knows names and shapes of headers and JSON fields, both ways. Does not send, and trusts
nothing: what comes in from outside is read leniently, and a hint that is malformed or of an
unknown version is no hint.

    request   x-stemfirst-prefix: v1;k=<key id>;c=<link>.<link>     x-session-id: <affinity>
              body "stemfirst": {v, kid, alg, segs: [{id, tier, at, n, h}], report: […]}
    response  body "stemfirst": Report        x-stemfirst: v1;hit=4096;of=5120
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

from stemfirst.chain import ChainKey, canonical_bytes, chain, digest_of
from stemfirst.prompt import Path, Rendered
from stemfirst.tiers import Tier

VERSION = 1
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
class PromptHint:
    """The body's field: every segment, in the order tools, then messages."""

    key_id: str
    segments: tuple[SegmentHint, ...]
    report: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PrefixHint:
    """The header: cumulative links, most of a prompt's names in 160 bytes."""

    key_id: str
    links: tuple[str, ...]


def prompt_hint(rendered: Rendered, key: ChainKey) -> PromptHint:
    """Return the hint of a rendered prompt under this key."""
    return PromptHint(
        key.id,
        tuple(
            SegmentHint(
                segment.id,
                segment.tier,
                segment.at,
                len(canonical_bytes(segment.text, segment.at)),
                digest_of(segment, key),
            )
            for segment in rendered.segments
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
    return field


def hint_from_json(value: object) -> PromptHint | None:
    """Return the hint in a body's field, or None where it is not one that we understand."""
    if not isinstance(value, Mapping) or value.get("v") != VERSION:
        return None
    key_id, segments, report = value.get("kid"), value.get("segs"), value.get("report", [])
    if value.get("alg") != ALGORITHM or not _is_hex(key_id, 8):
        return None
    if not isinstance(segments, list) or len(segments) > MAX_SEGMENTS:
        return None
    parsed = [_segment(item) for item in segments]
    known = tuple(item for item in parsed if item is not None)
    if len(known) != len(parsed):
        return None
    wanted = tuple(item for item in report if isinstance(item, str)) if _is_list(report) else ()
    return PromptHint(key_id, known, wanted)


def prefix_to_header(rendered: Rendered, key: ChainKey) -> str:
    """Return the header's value: at most `MAX_LINKS` links, ends of tiers first."""
    links = chain(rendered.segments, key)
    tiers = [segment.tier for segment in rendered.segments]
    ends = [i for i in range(len(links)) if i + 1 == len(links) or tiers[i] != tiers[i + 1]]
    others = [i for i in reversed(range(len(links))) if i not in ends]
    chosen = sorted((ends[-MAX_LINKS:] + others)[:MAX_LINKS])
    return f"v{VERSION};k={key.id};c={'.'.join(links[i] for i in chosen)}"


_PREFIX = re.compile(r"v1;k=([0-9a-f]{8});c=([0-9a-f]{16}(?:\.[0-9a-f]{16}){0,7})")


def prefix_from_header(value: str | None) -> PrefixHint | None:
    """Return the hint in a header, or None where it is not one that we understand."""
    match = _PREFIX.fullmatch(value.strip()) if value else None
    return PrefixHint(match[1], tuple(match[2].split("."))) if match else None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A fitted figure with its interval: `lo` to `hi` holds the truth in 90 % of cases.

    `n` counts the measurements behind it; `error` is the fit's median relative error.
    """

    est: float
    lo: float
    hi: float
    n: int
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """Where a request's time went, in milliseconds; None where it does not apply.

    `prefill_ms_saved` is None outside the range that the cost model was fitted for.
    """

    queue: float
    prefill: float
    load: float
    ttft: float | None
    decode: float
    tpot: float | None
    prefill_ms_saved: Estimate | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Money for the prefill, in `currency`; `basis` says how it was reckoned."""

    actual: float
    without_cache: float
    saved: float
    basis: str
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class MissPlace:
    """Where a prompt left everything cached.

    `token` counts from the prompt's start. `path` and `byte` place it in the request's string,
    and `segment` is the client's id; None where the divergence lies in the chat template's own
    text or the client sent no segments.
    """

    token: int
    path: Path | None = None
    byte: int | None = None
    segment: str | None = None


@dataclass(frozen=True, slots=True)
class Miss:
    """Prompt tokens that were computed, why, and where the divergence lies."""

    tokens: int
    reason: str
    at: MissPlace | None = None


@dataclass(frozen=True, slots=True)
class SegmentUse:
    """How many of a segment's (or a tier's) prompt tokens came from the cache."""

    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Report:
    """The `stemfirst` object of a response.

    `tiers` and `segments` are empty where the client sent no valid segments; tokens of the
    chat template's own text belong to neither.
    """

    prompt_tokens: int
    cached_tokens: int
    computed_tokens: int
    time: Times
    missed: Miss | None = None
    cost: Cost | None = None
    tiers: Mapping[str, SegmentUse] | None = None
    segments: Mapping[str, SegmentUse] | None = None
    source: Mapping[str, int] | None = None
    """Cached tokens by where they lay: gpu (the device's memory), host, disk."""
    notice: str | None = None


def report_to_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON values; None stays null, so that every field is there."""
    return {"v": VERSION, **asdict(report)}


def report_from_json(value: object) -> Report | None:
    """Return the report in a response, or None where it is not one that we understand."""
    if not isinstance(value, Mapping) or value.get("v") != VERSION:
        return None
    try:
        return _report(value)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # a server of a later minor version, or not ours at all


def _report(value: Mapping[str, Any]) -> Report:
    time = dict(value["time"])
    saved = time.pop("prefill_ms_saved", None)
    missed, cost = value.get("missed"), value.get("cost")
    return Report(
        prompt_tokens=int(value["prompt_tokens"]),
        cached_tokens=int(value["cached_tokens"]),
        computed_tokens=int(value["computed_tokens"]),
        time=Times(
            **_only(Times, time),
            prefill_ms_saved=Estimate(**_only(Estimate, saved)) if saved else None,
        ),
        missed=_miss(missed) if missed else None,
        cost=Cost(**_only(Cost, cost)) if cost else None,
        tiers=_uses(value.get("tiers")),
        segments=_uses(value.get("segments")),
        source=dict(value["source"]) if value.get("source") else None,
        notice=value.get("notice"),
    )


def _miss(value: Mapping[str, Any]) -> Miss:
    at = value.get("at")
    place = None
    if at:
        path = at.get("path")
        place = MissPlace(
            int(at["token"]), tuple(path) if path else None, at.get("byte"), at.get("segment")
        )
    return Miss(int(value["tokens"]), str(value["reason"]), place)


def _uses(value: Mapping[str, Any] | None) -> dict[str, SegmentUse] | None:
    if value is None:
        return None
    return {name: SegmentUse(**_only(SegmentUse, use)) for name, use in value.items()}


def _only(kind: type, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that `kind` knows: a newer server may send more."""
    return {name: value[name] for name in kind.__dataclass_fields__ if name in value}  # type: ignore[attr-defined]


def _segment(item: object) -> SegmentHint | None:
    if not isinstance(item, Mapping):
        return None
    identifier, tier, at = item.get("id"), item.get("tier"), item.get("at")
    size, digest = item.get("n"), item.get("h")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= 64:
        return None
    if not isinstance(tier, str) or tier not in _TIERS:
        return None
    if not _is_list(at) or not 0 < len(at) <= 8:
        return None
    path = tuple(step for step in at if isinstance(step, str | int) and not isinstance(step, bool))
    if len(path) != len(at):
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return None
    if not _is_hex(digest, 32):
        return None
    return SegmentHint(identifier, _TIERS[tier], path, size, digest)


_TIERS = {tier.label: tier for tier in Tier}


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_hex(value: object, length: int) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{length}}}", value) is not None
