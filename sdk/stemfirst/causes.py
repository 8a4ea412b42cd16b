"""Why a prompt left what was cached, as a lint rule would say it: from two texts to a code.

Knows what changed between two renderings of one prompt (a clock, a random id, an order) and
which rule of `stemfirst check` finds such a thing in source. Does not read source: what it says
of two texts is what they show, and a rule that it names is where to look first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

if TYPE_CHECKING:
    from stemfirst.divergence import Difference, Divergence, Run


@dataclass(frozen=True, slots=True)
class RuleName:
    """A rule of the linter: its code and its name, as `stemfirst rule` takes them."""

    code: str
    name: str
    is_fixed: bool
    """Whether `stemfirst fix` rewrites what it finds."""

    def remedy(self, path: str, *, is_mended: bool) -> str:
        """Return what to do: "`stemfirst fix agent.py` moves it", or to try that.

        Args:
            path: the file that built the text.
            is_mended: whether the linter was asked and has a proven change.
        """
        if not is_mended:
            return f"try `stemfirst fix {path}`"
        return f"`stemfirst fix {path}` {'sorts' if self is SET_ORDER else 'moves'} it"

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


CLOCK = RuleName("SF101", "clock-in-prefix", True)
DATE = RuleName("SF102", "date-in-prefix", True)
NONCE = RuleName("SF103", "nonce-in-prefix", True)
IDENTITY = RuleName("SF104", "identity-in-prefix", True)
COUNTER = RuleName("SF105", "counter-in-prefix", True)
TOOL_SCHEMA = RuleName("SF108", "varying-tool-schema", False)
SET_ORDER = RuleName("SF201", "set-order", True)
TOOL_ORDER = RuleName("SF203", "tool-order", False)
HOLE = RuleName("SF301", "hole-before-static", True)
SLIDING = RuleName("SF401", "sliding-window", False)

RULES = (CLOCK, DATE, NONCE, IDENTITY, COUNTER, TOOL_SCHEMA, SET_ORDER, TOOL_ORDER, HOLE, SLIDING)

_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?([.,]\d+)?|\b1[5-9]\d{8}(\d{3})?(\.\d+)?\b")
_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}"
    r"|\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d{1,2}\b"
    r"|\b\d{1,2}\.? (jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)|\b(mon|tues|wednes|thurs|fri"
    r"|satur|sun)day\b",
    re.IGNORECASE,
)
_NONCE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?=[0-9a-z_-]*\d)(?=[0-9a-z_-]*[a-z])[0-9a-z_-]{16,}|\b[0-9a-f]{12,}\b|0x[0-9a-f]{6,}",
    re.IGNORECASE,
)
_IDENTITY = re.compile(r"[\w.+-]+@[\w-]+\.\w+")
_NUMBER = re.compile(r"\d+([.,]\d+)?")
_PATTERNS = (
    (NONCE, _NONCE),
    (CLOCK, _CLOCK),
    (DATE, _DATE),
    (IDENTITY, _IDENTITY),
    (COUNTER, _NUMBER),
)

SHOWN = 24
"""Characters of a changed text that a sentence shows."""

REST = 16
"""Characters at the end of a text that count as a rest of it; fewer are there by chance."""

AROUND = 40
"""Characters on either side of a difference that are looked at: a clock's hour may be equal."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What changed between two prompts, and the rule that finds such a thing in source.

    `was` and `now` are the texts that differ, with the word, time or id that they belong to;
    `hole` is the name of the hole that they filled, `behind` what stable text stands behind.
    """

    rule: RuleName
    was: str
    now: str
    hole: str | None = None
    behind: str | None = None

    def clause(self, place: str) -> str:
        """Return what was done, in words: "`agent.py:42` puts "14:31" before the policy".

        Args:
            place: the line that built the text, or its place in the request.
        """
        if self.rule is SET_ORDER:
            return f"{place} puts the same words in another order"
        if self.rule is TOOL_ORDER:
            return f"the tools came in another order ({_quoted(self.now)}, not {_quoted(self.was)})"
        if self.rule is TOOL_SCHEMA:
            return f"{place} defines a tool differently"
        if self.rule is SLIDING:
            return f"{place} holds another history than was sent before"
        what = f"`{{{self.hole}}}`" if self.hole else _quoted(self.now)
        was = f" (was {_quoted(self.was)})" if self.was and not self.hole else ""
        return f"{place} puts {what}{was} before {self.behind or 'what follows'}"


def cause_of(found: Divergence, runs: Sequence[Run] = ()) -> Cause:
    """Return what made a prompt leave another one, as far as the two texts show it.

    Args:
        found: where it left.
        runs: the newer prompt's runs.
    """
    cause = _cause_of(found, runs)
    hole = found.run.hole if found.run else None
    rest = _same_at_the_end(found.difference)
    return replace(cause, hole=hole, behind=_stable_behind(found.run, runs, rest))


def cause_between(was: str | None, now: str | None) -> Cause:
    """Return why a tool's text differs, from the tools' names only."""
    rule = TOOL_ORDER if was != now else TOOL_SCHEMA
    return Cause(rule, was or "", now or "")


def cause_near(
    run: Run, runs: Sequence[Run], start: int, end: int, *, is_reordered: bool, is_session: bool
) -> Cause:
    """Return why a text differs, as far as the newer one shows it: what was there is not known.

    Args:
        run: the text.
        runs: the newer prompt's runs.
        start: the first of the characters among which the two part.
        end: the one behind the last of them.
        is_reordered: whether both hold the same words.
        is_session: whether it belongs to a conversation's history.
    """
    now = _word_at(run.text, start)
    rule = SET_ORDER if is_reordered else SLIDING if is_session else HOLE
    if rule is HOLE:
        near = [
            (match.start(), number, pattern_rule, match[0])
            for number, (pattern_rule, pattern) in enumerate(_PATTERNS)
            for match in pattern.finditer(run.text, max(0, start - AROUND), end + AROUND)
            if match.start() < max(end, start + 1) and match.end() > start
        ]
        if near:
            *_, rule, now = min(near, key=lambda found: found[:2])
    return Cause(rule, "", now, run.hole, _stable_behind(run, runs, len(run.text) - end))


def _cause_of(found: Divergence, runs: Sequence[Run]) -> Cause:
    run = found.run
    before, after, index = found.difference.before, found.difference.after, found.difference.index
    if found.at and found.at[0] == "tools":
        names = [_tool_name(text) for text in (before, after)]
        # Another order has the old tool in another place; else there are other tools.
        is_moved = names[0] != names[1] and names[0] in {
            _tool_name(run.text) for run in runs if run.at and run.at[0] == "tools"
        }
        rule = TOOL_ORDER if is_moved else TOOL_SCHEMA
        return Cause(rule, *(names if rule is TOOL_ORDER else _differing(before, after, index)))
    was, now = _differing(before, after, index)
    if _is_reordered(before, after):
        return Cause(SET_ORDER, was, now)
    if run is not None and run.tier is Tier.SESSION:
        return Cause(SLIDING, was, now)
    for rule, pattern in _PATTERNS:
        both = [_match_at(pattern, text, index) for text in (before, after)]
        if both[0] and both[1]:
            return Cause(rule, both[0], both[1])
    return Cause(HOLE, was, now)


def _stable_behind(parting: Run | None, runs: Sequence[Run], rest: int) -> str | None:
    """Return what stable text stands behind the place where a prompt parts, or None.

    Args:
        parting: the run in which it parts.
        runs: all of the prompt's.
        rest: characters at the run's end that did not change.
    """
    if parting is None:
        return None
    is_stable = parting.tier is None or parting.tier <= Tier.TENANT
    if parting.hole is None and is_stable and rest >= REST:
        return f"the rest of {parting.label}"
    index = next((i for i, run in enumerate(runs) if run is parting), len(runs))
    for run in runs[index + 1 :]:
        if run.tier is not None and run.tier <= Tier.TENANT and run.text.strip():
            return run.label if run.has_name else f"the {run.label}"
    return None


def _same_at_the_end(difference: Difference) -> int:
    """Return the characters that both texts have behind what differs, at their ends."""
    rests = [text[difference.index :][::-1] for text in (difference.before, difference.after)]
    return len(commonprefix(rests))  # noqa: RUF071 text, not a path


def _differing(before: str, after: str, index: int) -> tuple[str, str]:
    """Return the words around the first difference, as far as they differ."""
    return _word_at(before, index), _word_at(after, index)


def _word_at(text: str, index: int) -> str:
    while index < len(text) and text[index].isspace():
        index += 1
    start = index
    while start > 0 and index - start < AROUND and not text[start - 1].isspace():
        start -= 1
    end = index
    while end < len(text) and end - index < AROUND and not text[end].isspace():
        end += 1
    return text[start:end]


def _match_at(pattern: re.Pattern[str], text: str, index: int) -> str | None:
    """Return the match that covers a character or ends at it."""
    start = max(0, index - AROUND)
    for match in pattern.finditer(text, start, index + AROUND):
        if match.start() <= index <= match.end():
            return match[0]
    return None


def _is_reordered(before: str, after: str) -> bool:
    """Whether both hold the same words in another order."""
    if len(before) != len(after):
        return False
    words = [sorted(re.findall(r"\w+", text)) for text in (before, after)]
    return words[0] == words[1] and len(words[0]) > 1


def _tool_name(text: str) -> str:
    found = re.search(r'"name":\s*"([^"]+)"', text)
    return found[1] if found else text[:SHOWN]


def _quoted(text: str) -> str:
    flat = " ".join(text.split())
    return f'"{flat[: SHOWN - 1]}…"' if len(flat) > SHOWN else f'"{flat}"'
