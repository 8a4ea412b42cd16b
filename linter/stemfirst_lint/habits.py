"""What calls and histories do beside their texts: the facts behind rules that know no template.

Knows the kinds of such facts. Finding them is the work of `histories`, `marking`,
`conditions` and `tool_lists`; judging them that of the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemfirst_lint.model import Argument, Location, Site


class HabitKind(Enum):
    """What is done."""

    CONDITIONAL_TEXT = "text that a condition adds"
    UNSTORED_TEXT = "text that is sent and not stored"
    FRESH_ID = "an id that is made anew"
    SHAPE_FLIP = "a content that changes its shape"
    NO_MARKER = "a prefix without a marker"
    SHORT_PREFIX = "a marker on too little"
    DROPPED_MARKER = "a marker that is not sent on"
    VARYING_BREAKPOINT = "a breakpoint behind text that varies"
    SET_IN_TOOL = "a set's order in a tool's definition"
    FOUND_TOOLS_FIRST = "tools found at run time before those that stay"


@dataclass(frozen=True, slots=True)
class Habit:
    """One such fact.

    Attributes:
        kind: what is done.
        location: where.
        name: what it is done to, to show.
        about: the value behind it, judged, if there is one.
        texts: constant texts that it concerns, in order; what they are is the kind's matter.
        model: the model that the call names, if it does.
        site: the prompt that it belongs to, if it is known.
    """

    kind: HabitKind
    location: Location
    name: str
    about: Argument | None = None
    texts: tuple[str, ...] = ()
    model: str | None = None
    site: Site | None = None
