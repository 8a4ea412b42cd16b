"""The arithmetic of the blind study: agreement, precision, recall, and what went wrong how often.

Knows ratings and the key. A place that two raters judge differently counts half each way, unless
a file of ratings with `"decides": true` settles it.

Sources: Wilson 1927 (interval of a proportion); Cohen 1960 (kappa); Zou and Donner 2008 (interval
of a ratio of two estimates from those of each, on the log scale).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STRATA = ("reported", "seen", "unseen")
VERDICTS = ("defect", "no defect", "unclear")
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Rating:
    """One rater's verdict on one place: one of VERDICTS, why, and how the prompt is written."""

    rater: str
    verdict: str
    why: str
    form: str
    note: str
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """A proportion with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return percent, with the interval."""
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


def read_ratings(paths: list[Path]) -> dict[str, list[Rating]]:
    """Return the ratings by place.

    Raises:
        ValueError: a verdict is none of VERDICTS; the message names file and place.
    """
    found: dict[str, list[Rating]] = {}
    for path in paths:
        content = json.loads(path.read_text("utf-8"))
        rows = content["ratings"] if isinstance(content, dict) else content
        decides = isinstance(content, dict) and bool(content.get("decides"))
        for row in rows:
            if row["verdict"] not in VERDICTS:
                raise ValueError(f"{path}: {row['id']}: verdict {row['verdict']!r}; use {VERDICTS}")
            why, form, note = (str(row.get(name, "")) for name in ("why", "form", "note"))
            rating = Rating(path.stem, row["verdict"], why, form, note, decides)
            found.setdefault(row["id"], []).append(rating)
    return found


def wilson(successes: float, total: float) -> Estimate:
    """Return a proportion with its Wilson interval; everything from 0 to 1 if nothing was drawn."""
    if total == 0:
        return Estimate(math.nan, 0.0, 1.0)
    share = successes / total
    middle = share + _Z**2 / (2 * total)
    half = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    scale = 1 + _Z**2 / total
    return Estimate(share, max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale))


def kappa(pairs: list[tuple[str, str]]) -> float:
    """Return Cohen's kappa of two raters' verdicts on the same places, or nan."""
    total = len(pairs)
    if not total:
        return math.nan
    agreed = sum(one == other for one, other in pairs) / total
    firsts, seconds = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(firsts[v] * seconds[v] for v in VERDICTS) / total**2
    return (agreed - expected) / (1 - expected) if expected < 1 else math.nan


def share_of_defects(ratings: list[Rating]) -> float | None:
    """Return 1 for a defect, 0 for none, 1/2 where raters differ; None where nobody could tell."""
    deciding = [rating for rating in ratings if rating.decides] or ratings
    clear = [rating.verdict == "defect" for rating in deciding if rating.verdict != "unclear"]
    return sum(clear) / len(clear) if clear else None


def recall(parts: dict[str, Estimate], population: dict[str, int]) -> Estimate:
    """Return the share of all defects that was reported, each stratum weighted by its size."""
    found = parts["reported"].value * population["reported"]
    missed_parts = [(parts[s], population[s]) for s in STRATA if s != "reported" and population[s]]
    missed = sum(part.value * size for part, size in missed_parts if not math.isnan(part.value))
    if found + missed == 0:
        return Estimate(math.nan, 0.0, 1.0)
    below = math.sqrt(sum(((p.value - p.low) * n) ** 2 for p, n in missed_parts))
    above = math.sqrt(sum(((p.high - p.value) * n) ** 2 for p, n in missed_parts))
    found_low = parts["reported"].low * population["reported"]
    found_high = parts["reported"].high * population["reported"]
    tiny = 1e-9
    ratio = math.log(max(missed, tiny)) - math.log(max(found, tiny))
    to_high = math.hypot(
        math.log(max(missed + above, tiny)) - math.log(max(missed, tiny)),
        math.log(max(found, tiny)) - math.log(max(found_low, tiny)),
    )
    to_low = math.hypot(
        math.log(max(missed, tiny)) - math.log(max(missed - below, tiny)),
        math.log(max(found_high, tiny)) - math.log(max(found, tiny)),
    )
    low = 1 / (1 + math.exp(ratio + to_high)) if missed > 0 else found / (found + above)
    return Estimate(found / (found + missed), low, 1 / (1 + math.exp(ratio - to_low)))


def page(key: dict[str, Any], ratings: dict[str, list[Rating]], public: dict[str, Any]) -> str:
    """Return the study's results as Markdown."""
    places: dict[str, dict[str, Any]] = key["places"]
    population: dict[str, int] = key["population"]
    shares = {name: share_of_defects(found) for name, found in ratings.items() if name in places}

    def part(names: Iterable[str]) -> Estimate:
        known = [share for name in names if (share := shares.get(name)) is not None]
        return wilson(sum(known), len(known))

    of = {s: [name for name, place in places.items() if place["stratum"] == s] for s in STRATA}
    parts = {s: part(of[s]) for s in STRATA}
    warned = [name for name in of["reported"] if not places[name]["is_info"]]
    pairs = [
        (both[0].verdict, both[1].verdict)
        for found in ratings.values()
        if len(both := [rating for rating in found if not rating.decides]) >= 2
    ]
    agreed = sum(one == other for one, other in pairs)
    lines = [
        "## How often it is right, and what it finds",
        "",
        f"Made by `benchmarks/precision.py`; drawn on {public['date']} from "
        f"{len(public['packages'])} published packages with seed {public['seed']} before any place "
        "was judged ([the draw](precision-draw.json), [what raters were told]"
        "(precision-study.md)). Raters saw code and lines, and not what the linter had said.",
        "",
        "| places | in all packages | judged | defects |",
        "|---|--:|--:|--:|",
    ]
    words = {"reported": "reported", "seen": "seen as a prompt, not reported",
             "unseen": "long text, not seen as a prompt"}  # fmt: skip
    for s in STRATA:
        judged = sum(shares.get(name) is not None for name in of[s])
        lines.append(f"| {words[s]} | {population[s]:,} | {judged} | {parts[s]} |")
    lines += [
        "",
        f"**Precision** {parts['reported']}; without what is `info`: {part(warned)}. "
        f"**Recall** {recall(parts, population)}, each kind of place weighted by its number.",
        "",
        f"Two raters judged {len(pairs)} places: {agreed} alike, Cohen's kappa {kappa(pairs):.2f}. "
        f"{sum(share is None for share in shares.values())} places were unclear to all who judged "
        f"them and are left out; {sum(name not in ratings for name in places)} were not judged.",
        "",
        *causes("False alarms, by cause", of["reported"], ratings, shares, places, "no defect"),
        *causes("Misses, by form and cause", [*of["seen"], *of["unseen"]], ratings, shares, places,
                "defect"),
        *by_code(of["reported"], shares, places),
    ]  # fmt: skip
    return "\n".join(lines).rstrip()


def causes(
    title: str, names: list[str], ratings: dict[str, list[Rating]],
    shares: dict[str, float | None], places: dict[str, dict[str, Any]], verdict: str,
) -> list[str]:  # fmt: skip
    """Return a table of the reasons that raters gave for a verdict."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for name in names:
        share = shares.get(name)
        if share is None or share == (1.0 if verdict == "no defect" else 0.0):
            continue
        for rating in [r for r in ratings[name] if r.verdict == verdict][:1]:
            counted[rating.why or "?", rating.form or "?", places[name]["stratum"]] += 1
    rows = [f"| {why} | {form} | {stratum} | {n} |" for (why, form, stratum), n in
            counted.most_common()]  # fmt: skip
    return [f"### {title}", "", "| cause | written as | place | places |", "|---|---|---|--:|",
            *rows, ""]  # fmt: skip


def by_code(
    names: list[str], shares: dict[str, float | None], places: dict[str, dict[str, Any]]
) -> list[str]:
    """Return a table of precision by rule; a place with two codes counts for both."""
    judged: dict[str, list[float]] = {}
    for name in names:
        share = shares.get(name)
        for code in places[name]["codes"] if share is not None else ():
            assert share is not None
            judged.setdefault(code, []).append(share)
    rows = [f"| {code} | {len(found)} | {wilson(sum(found), len(found))} |"
            for code, found in sorted(judged.items())]  # fmt: skip
    return ["### By rule", "", "| rule | judged | right |", "|---|--:|--:|", *rows, ""]
