"""The arithmetic of verdicts: what is known of a whole from its parts, its variants, its formats.

Knows tiers and resolutions. Of syntax it knows only an f-string's format spec.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace

from stemfirst.tiers import Tier

from stemfirst_lint import known, naming
from stemfirst_lint.model import UNKNOWN, Evidence, Kind, Location, Resolution, Verdict

_MAX_EVIDENCE = 12

CONSTANT = Verdict(Tier.STATIC, Kind.CONSTANT)
CONFIG = Verdict(Tier.STATIC, Kind.CONFIG)

PASSED = "is passed here"
"""The end of the step of evidence that a caller passes a value."""


def join(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of a value that is made of parts: as lively as its liveliest part."""
    liveliest: Verdict | None = None
    has_unknown = False
    for verdict in verdicts:
        if verdict.tier is None:
            has_unknown = True
        elif liveliest is None or verdict.tier > (liveliest.tier or Tier.STATIC):
            liveliest = verdict
    if liveliest is None:
        return UNKNOWN if has_unknown else CONSTANT
    if has_unknown and liveliest.is_stable:
        return UNKNOWN
    return liveliest


def in_all_rounds(verdicts: Iterable[Verdict], function: Location | None) -> Verdict:
    """Return the verdict of what all rounds of a loop add: its every number and element.

    An element of a loop outside the function around varies like other data.
    """
    varies = [
        verdict
        for verdict in verdicts
        if verdict.tier is not None
        and verdict.tier > Tier.STATIC
        and not (verdict.kind in (Kind.ELEMENT, Kind.COUNTER) and _starts_in(verdict, function))
    ]
    return join(varies) if varies else UNKNOWN


def _starts_in(verdict: Verdict, function: Location | None) -> bool:
    """True unless a verdict's evidence begins outside a function."""
    first = verdict.evidence[0].location if verdict.evidence else None
    return (
        first is None
        or function is None
        or (first.path == function.path and function.line <= first.line <= function.end_line)
    )


def alternatives(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of a value that is one of several.

    One that varies is enough to vary; to stay, each one must be known to stay.
    """
    found = list(verdicts)
    liveliest = max(found, key=lambda verdict: verdict.tier or Tier.STATIC, default=UNKNOWN)
    if any(verdict.tier is None for verdict in found):
        return liveliest if (liveliest.tier or Tier.STATIC) >= Tier.REQUEST else UNKNOWN
    return liveliest


def of_field(name: str, place: Location) -> Verdict:
    """Return the verdict of a template's field that is filled where we cannot see it."""
    resolution = naming.clock_field(name)
    if resolution is not None:
        told = Evidence(f"the field `{{{name}}}` is named for a clock", place)
        return Verdict(Tier.VOLATILE, Kind.CLOCK, (told,), resolution)
    tier = naming.parameter_tier(name, None)
    if tier is None:
        return UNKNOWN
    identity = naming.identity_tier(name)
    tier = identity if identity is not None else tier
    told = Evidence(f"the name of the field `{{{name}}}` says {says(tier)}", place)
    return Verdict(tier, Kind.PARAMETER if identity is None else Kind.IDENTITY, (told,))


def clock_named(name: str, place: Location | None) -> Verdict:
    """Return the verdict of a parameter or variable that is named for the time."""
    told = Evidence(f"`{name}` is named for a clock", place)
    return Verdict(Tier.VOLATILE, Kind.CLOCK, (told,), naming.CLOCK_PARAMETERS[name])


def named_verdict(what: str, tier: Tier, place: Location | None) -> Verdict:
    """Return the verdict of a value of which only its name speaks."""
    return Verdict(tier, Kind.NAMED, (Evidence(f"the name of {what} says {says(tier)}", place),))


def with_format_spec(verdict: Verdict, spec: str | None) -> Verdict:
    """Return the verdict of a value formatted by a spec: `{now:%Y}` moves once a day."""
    if verdict.kind is Kind.CLOCK and spec and "%" in spec:
        return coarser(verdict, known.strftime_resolution(spec))
    return verdict


def constant_spec(node: ast.FormattedValue) -> str | None:
    """Return an f-string field's format spec if it is constant text, else None."""
    if isinstance(node.format_spec, ast.JoinedStr):
        parts = [v.value for v in node.format_spec.values if isinstance(v, ast.Constant)]
        return "".join(str(part) for part in parts)
    return None


def coarser(verdict: Verdict, resolution: Resolution) -> Verdict:
    """Return a clock's verdict where its text moves no finer than `resolution`."""
    order = [Resolution.SECOND, Resolution.MINUTE, Resolution.DAY]
    assert verdict.resolution is not None
    coarsest = max(verdict.resolution, resolution, key=order.index)
    return replace(verdict, resolution=coarsest)


def pure(verdict: Verdict) -> Verdict:
    """Return the verdict of what a pure function makes of a value."""
    return Verdict(Tier.STATIC, Kind.PURE) if verdict.is_stable else verdict


def frozen_value(verdict: Verdict, when: str, tier: Tier) -> Verdict:
    """Return the verdict of a clock or random value that is read once and kept.

    The order of a set still differs between processes, so a set's verdict stays.
    """
    if verdict.kind in (Kind.CLOCK, Kind.RANDOM):
        return Verdict(tier, Kind.CONSTANT, (*verdict.evidence, Evidence(f"computed {when}")))
    return verdict


def was_passed(verdict: Verdict) -> bool:
    """Return True if a known caller passes the value: more than a name speaks."""
    return any(step.text.endswith(PASSED) for step in verdict.evidence)


def because(verdict: Verdict, text: str, place: Location | None) -> Verdict:
    """Return a verdict with one more step of evidence, up to `_MAX_EVIDENCE`."""
    last = verdict.evidence[-1] if verdict.evidence else None
    if len(verdict.evidence) >= _MAX_EVIDENCE or (
        last is not None and last.text == text and last.location == place
    ):
        return verdict
    return replace(verdict, evidence=(*verdict.evidence, Evidence(text, place)))


def declared(name: str, tier: Tier, place: Location | None = None) -> Verdict:
    """Return the verdict of a name whose tier the user declared, at a place or in the settings."""
    return Verdict(tier, Kind.DECLARED, (Evidence(f"`{name}` is declared {tier.label}", place),))


def kept(verdict: Verdict, name: str) -> Verdict:
    """Return the verdict of a value that was judged by a name, under a name that says a setting.

    A language that was detected in a document seldom differs from the last one. What belongs to a
    customer belongs to that customer under any name.
    """
    kinds = (Kind.NAMED, Kind.PARAMETER, Kind.ELEMENT)
    is_by_name = verdict.kind in kinds and verdict.tier is not Tier.TENANT
    return UNKNOWN if is_by_name and naming.is_setting(name.removesuffix("()")) else verdict


def says(tier: Tier) -> str:
    """Return what a parameter's name says if it speaks for a tier."""
    return {
        Tier.TENANT: "it belongs to one user or customer",
        Tier.SESSION: "it grows with a conversation",
    }.get(tier, "it is data of one request")
