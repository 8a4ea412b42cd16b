"""What a whole template says of its holes, where the code around each says nothing.

Knows templates and the names of holes. Knows no syntax trees and no sinks.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from stemfirst.tiers import Tier

from stemfirst_lint import naming
from stemfirst_lint.model import UNKNOWN, Hole, Kind, Template, Text, Verdict
from stemfirst_lint.patterns import pattern
from stemfirst_lint.verdicts import named_verdict
from stemfirst_lint.wording import is_plain

_PROTOCOL = frozenset({"thought", "action", "action_input", "response", "observation", "finish"})
"""Words of a protocol of tools that a template spells as its agent does: `{thought} Think ...`."""


_TOOL = pattern(r"[`'\"*]{0,2} tool\b")
_FIELDS = frozenset({"prompt", "instruction", "options", "choices"})
"""Fields that judges' and benchmarks' templates fill with what is judged or asked."""


def told_together(template: Template) -> Template:
    """Return a template with its holes judged again, now that all of them are known.

    In what is a prompt by all its words, `{content}` is data, whatever made it; not what an object
    keeps, nor what the text calls a tool. Beside `{thought}`, `{action}` and its input are words
    of a protocol, and stay.
    """
    names = {hole.name for hole in template.holes}
    is_protocol = {"thought", "action"} <= names
    is_prompt = any(hole.verdict.tier is None for hole in template.holes) and is_plain(template)
    tools = _named_tools(template) if is_prompt else frozenset()
    told: dict[int, Hole] = {}
    for hole in template.holes:
        found = hole.verdict
        if is_protocol and hole.name in _PROTOCOL and found.kind in (Kind.PARAMETER, Kind.NAMED):
            found = UNKNOWN
        elif is_prompt and found.tier is None and hole.source not in tools:
            found = _by_name(hole)
        if found is not hole.verdict:
            told[id(hole)] = replace(hole, verdict=found)
    if not told:
        return template
    return replace(template, pieces=tuple(told.get(id(piece), piece) for piece in template.pieces))


def _named_tools(template: Template) -> frozenset[str]:
    """What the text calls a tool somewhere: the name of one stands in "the `{x}` tool"."""
    pieces = template.pieces
    return frozenset(
        piece.source
        for piece, behind in pairwise(pieces)
        if isinstance(piece, Hole) and isinstance(behind, Text) and _TOOL.match(behind.text)
    )


def _by_name(hole: Hole) -> Verdict:
    """What the name of a hole says that nothing else is known of."""
    is_kept = hole.source.startswith(("self.", "cls.")) or not hole.name.isidentifier()
    is_field = hole.value_location is None and hole.name in _FIELDS
    if not is_kept and (is_field or naming.parameter_tier(hole.name, None) is Tier.REQUEST):
        return named_verdict(f"`{hole.name}`", Tier.REQUEST, hole.location)
    return hole.verdict
