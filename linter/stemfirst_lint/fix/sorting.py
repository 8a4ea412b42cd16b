"""Sets and listings of files put into order: where `sorted` goes, and what it would change.

Knows what stands in front of an iterable. Finds no sets; a finding names them.
"""

from __future__ import annotations

import re

from stemfirst_lint.fix.prove import Edit
from stemfirst_lint.fix.safety import Refusal
from stemfirst_lint.model import Applicability

BRACES_CHANGE = Refusal(
    "sorting a set that is printed itself turns its braces into brackets",
    "join its sorted members, or run `fix --risky`",
)
BUILT_ELSEWHERE = Refusal(
    "the set is built elsewhere", "put `sorted(...)` around it where it is iterated"
)
LISTED_ELSEWHERE = Refusal("the files are listed elsewhere", "put `sorted(...)` around it there")
OTHER_SORTED = Refusal("`sorted` means something else in this file", "sort it yourself")

_ITERATED = re.compile(r"(?:\b(?:list|tuple|enumerate|map)\(|\bin)$|\bmap\([\w.]+,$")
_OTHER_SORTED = re.compile(
    r"^\s*(?:def\s+sorted\b|sorted\s*=|from\s.*\simport\s.*\bsorted\b)", re.MULTILINE
)


def means_other(text: str) -> bool:
    """Return True if a module gives the name `sorted` to something of its own."""
    return _OTHER_SORTED.search(text) is not None


def set_sorted(text: str, start: int, end: int) -> tuple[Applicability, Edit]:
    """Return the edit that sorts the set at `text[start:end]`, and what it does to the text.

    Only a set that is iterated stays what it was; one that is printed gets other brackets.
    """
    before = text[:start].rstrip()
    is_joined = before.endswith(".join(")
    is_listed = is_joined or _ITERATED.search(before) is not None
    # Joined members are strings; others need not be comparable, but all have a text.
    key = "" if is_joined else ", key=str"
    made = Edit(start, end, f"sorted({text[start:end]}{key})")
    return Applicability.IDENTICAL if is_listed else Applicability.RISKY, made


def listing_sorted(text: str, start: int, end: int) -> Edit:
    """Return the edit that sorts the call at `text[start:end]`, which lists files."""
    return Edit(start, end, f"sorted({text[start:end]})")
