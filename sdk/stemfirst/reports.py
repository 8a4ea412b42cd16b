"""What our server reports of a request: the `stemfirst` object of a response, as values.

Knows the fields, and how to read them leniently: what is malformed or of an unknown version is
no report. Does not know what a client makes of it, or how the figures come about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, TypeGuard, TypeVar

from stemfirst.segments import Path

T = TypeVar("T")

VERSION = 1
MAX_STEPS = 8
"""Steps in the path of a string at most."""


@dataclass(frozen=True, slots=True)
class PrefixHeld:
    """A server's word that it holds a prefix, for so many seconds after its last use."""

    digest: str
    size_bytes: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A fitted figure with its interval: `lo` to `hi` holds the truth in 90 % of cases.

    `n` counts the measurements behind it. `error` is the median relative error of such
    estimates: as `shadows` runs without the cache measured it, else the fit's own residuals'.
    """

    est: float
    lo: float
    hi: float
    n: int
    error: float | None = None
    shadows: int = 0


@dataclass(frozen=True, slots=True)
class Times:
    """Where a request's time went, in milliseconds; None where it does not apply.

    `prefill_ms_saved` is None where prefill was not measured well enough to tell: outside the
    measured range, before there are enough measurements, and where they scatter so much that
    the interval could not tell a gain from a loss.
    """

    queue: float
    prefill: float
    load: float
    ttft: float | None
    decode: float
    tpot: float | None
    prefill_ms_saved: Estimate | None
    unestimated: str | None = None
    """Why `prefill_ms_saved` is None, in the server's words; None where it is known."""


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
    """Prompt tokens that were computed, why, and where the divergence lies.

    `ms` is the prefill that their being cached would have avoided; None where the cost model
    gives no estimate. `cost` is its price, in the currency of the report's `cost`.
    """

    tokens: int
    reason: str
    at: MissPlace | None = None
    ms: Estimate | None = None
    cost: float | None = None
    unestimated: str | None = None
    """Why `ms` is None, in the server's words."""


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
    ref: PrefixHeld | None = None
    """The prefix that the server holds now for this client to name."""
    unpriced: str | None = None
    """Why `cost` is None, in the server's words."""


def report_to_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON values; None stays null, so that every field is there."""
    field = {"v": VERSION, **asdict(report)}
    if report.ref is not None:
        field["ref"] = held_to_json(report.ref)
    return field


def held_to_json(held: PrefixHeld) -> dict[str, Any]:
    """Return the word that a prefix is held as the report's field `ref`."""
    return {"h": held.digest, "n": held.size_bytes, "ttl_s": held.ttl_s}


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
        cost=_cost_or_none(value.get("cost")),
        tiers=_read(_uses, value.get("tiers")),
        segments=_read(_uses, value.get("segments")),
        source=_read(_source, value.get("source")),
        notice=_read(_text, value.get("notice")),
        ref=held_from_json(value.get("ref")),
        unpriced=_read(_text, value.get("unpriced")),
    )


def held_from_json(value: object) -> PrefixHeld | None:
    """Return the prefix that a report says is held, or None."""
    if not isinstance(value, Mapping):
        return None
    digest, size, ttl_s = value.get("h"), value.get("n"), value.get("ttl_s")
    if not is_hex(digest, 32) or not is_count(size):
        return None
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float) or not ttl_s > 0:
        return None
    return PrefixHeld(digest, size, float(ttl_s))


def _times(value: Mapping[str, Any]) -> Times:
    return Times(
        queue=_number(value["queue"]),
        prefill=_number(value["prefill"]),
        load=_number(value["load"]),
        ttft=_read(_number, value.get("ttft")),
        decode=_number(value["decode"]),
        tpot=_read(_number, value.get("tpot")),
        prefill_ms_saved=_read(_estimate, value.get("prefill_ms_saved")),
        unestimated=_read(_text, value.get("unestimated")),
    )


def _estimate(value: Mapping[str, Any]) -> Estimate:
    est, lo, hi = (_number(value[name]) for name in ("est", "lo", "hi"))
    return Estimate(
        est,
        lo,
        hi,
        _count(value["n"]),
        _read(_number, value.get("error")),
        _read(_count, value.get("shadows")) or 0,
    )


def _cost(value: Mapping[str, Any]) -> Cost:
    actual, without, saved = (_number(value[name]) for name in ("actual", "without_cache", "saved"))
    currency = value.get("currency", "USD")
    return Cost(actual, without, saved, _text(value["basis"]), _text(currency))


def _cost_or_none(value: object) -> Cost | None:
    """Return the cost; None for one that makes no sense, which spoils no other field."""
    try:
        return _read(_cost, value)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _miss(value: Mapping[str, Any]) -> Miss:
    return Miss(
        _count(value["tokens"]),
        _text(value["reason"]),
        _read(_miss_place, value.get("at")),
        _read(_estimate, value.get("ms")),
        _read(_number, value.get("cost")),
        _read(_text, value.get("unestimated")),
    )


def _miss_place(value: Mapping[str, Any]) -> MissPlace:
    return MissPlace(
        _count(value["token"]),
        _read(path_of, value.get("path")),
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


def path_of(value: object) -> Path:
    """Return a path in a request body.

    Raises:
        ValueError: it is none.
    """
    if not is_list(value) or not 0 < len(value) <= MAX_STEPS:
        raise ValueError(f"no path: {value!r}")
    steps = tuple(item for item in value if isinstance(item, str | int))
    if len(steps) != len(value) or any(isinstance(item, bool) for item in steps):
        raise ValueError(f"no path: {value!r}")
    return steps


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Whether this is a list of JSON."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def is_count(value: object) -> TypeGuard[int]:
    """Whether this is a whole number, at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_hex(value: object, length: int) -> TypeGuard[str]:
    """Whether this is text of so many hexadecimal digits, in lower case."""
    return isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{length}}}", value) is not None
