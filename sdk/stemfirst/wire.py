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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, TypeGuard, TypeVar

from stemfirst.chain import ChainKey, chain, name_of
from stemfirst.prompt import Path, Rendered
from stemfirst.tiers import Tier

T = TypeVar("T")

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


MAX_STEPS = 8
"""Steps in the path of a string at most."""


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
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None  # a server of a later minor version, or not ours at all


def _report(value: Mapping[str, Any]) -> Report:
    return Report(
        prompt_tokens=_count(value["prompt_tokens"]),
        cached_tokens=_count(value["cached_tokens"]),
        computed_tokens=_count(value["computed_tokens"]),
        time=_times(value["time"]),
        missed=_read(_miss, value.get("missed")),
        cost=_read(_cost, value.get("cost")),
        tiers=_read(_uses, value.get("tiers")),
        segments=_read(_uses, value.get("segments")),
        source=_read(_source, value.get("source")),
        notice=_read(_text, value.get("notice")),
    )


def _times(value: Mapping[str, Any]) -> Times:
    return Times(
        queue=_number(value["queue"]),
        prefill=_number(value["prefill"]),
        load=_number(value["load"]),
        ttft=_number(value["ttft"]),
        decode=_number(value["decode"]),
        tpot=_read(_number, value.get("tpot")),
        prefill_ms_saved=_read(_estimate, value.get("prefill_ms_saved")),
    )


def _estimate(value: Mapping[str, Any]) -> Estimate:
    est, lo, hi = (_number(value[name]) for name in ("est", "lo", "hi"))
    return Estimate(est, lo, hi, _count(value["n"]), _read(_number, value.get("error")))


def _cost(value: Mapping[str, Any]) -> Cost:
    actual, without, saved = (_number(value[name]) for name in ("actual", "without_cache", "saved"))
    currency = value.get("currency", "USD")
    return Cost(actual, without, saved, _text(value["basis"]), _text(currency))


def _miss(value: Mapping[str, Any]) -> Miss:
    return Miss(
        _count(value["tokens"]), _text(value["reason"]), _read(_miss_place, value.get("at"))
    )


def _miss_place(value: Mapping[str, Any]) -> MissPlace:
    return MissPlace(
        _count(value["token"]),
        _read(_path, value.get("path")),
        _read(_count, value.get("byte")),
        _read(_text, value.get("segment")),
    )


def _uses(value: Mapping[str, Any]) -> dict[str, SegmentUse]:
    return {
        name: SegmentUse(_count(use["prompt_tokens"]), _count(use["cached_tokens"]))
        for name, use in value.items()
    }


def _source(value: Mapping[str, Any]) -> dict[str, int]:
    return {name: _count(tokens) for name, tokens in value.items()}


def _read(reader: Callable[[Any], T], value: object) -> T | None:
    """Return what `reader` makes of a value that may be missing."""
    return None if value is None else reader(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"no number: {value!r}")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"no count: {value!r}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"no text: {value!r}")
    return value


def _path(value: object) -> Path:
    if not _is_list(value) or not 0 < len(value) <= MAX_STEPS:
        raise ValueError(f"no path: {value!r}")
    steps = tuple(item for item in value if isinstance(item, str | int))
    if len(steps) != len(value) or any(isinstance(item, bool) for item in steps):
        raise ValueError(f"no path: {value!r}")
    return steps


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
        path = _path(at)
    except ValueError:
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
