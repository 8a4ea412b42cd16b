"""The rule SF405."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.habits import HabitKind
from stemfirst_lint.model import Finding, Request, Severity
from stemfirst_lint.rules.rule import Case, Limits, Rule


class ContentShapeFlip(Rule):
    """A message's content is a list of parts while it is the last one, and a string afterwards.

    Why: some servers and chat templates render a list with one text otherwise than that text. Where
    they do, each message is read again, with all behind it, once a turn follows it.

    Fix: always a list, or always a string.

    Off unless `select` or `extend-select` names the code in full: many servers render both alike.
    """

    code = "SF405"
    name = "content-shape-flip"
    severity = Severity.INFO
    is_opt_in = True
    cases = (
        Case(
            "a list for the last message",
            "def build(turns):\n"
            + '    return [{"role": turn.role, "content":\n'
            + '             [{"type": "text", "text": turn.text}] if n == len(turns) - 1\n'
            + "             else turn.text} for n, turn in enumerate(turns)]\n",
            finds=1,
        ),
        Case(
            "always a list",
            "def build(turns):\n"
            + '    return [{"role": turn.role, "content": [{"type": "text", "text": turn.text}]}\n'
            + "            for turn in turns]\n",
        ),
        Case(
            "a list where there are images, which stay",
            "def build(turns):\n"
            + '    return [{"role": turn.role, "content":\n'
            + '             [{"type": "text", "text": turn.text}, *turn.images] if turn.images\n'
            + "             else turn.text} for turn in turns]\n",
        ),
        Case(
            "the marker of the tail, for a provider that renders both alike",
            "def build(turns):\n"
            + '    return [{"role": turn.role, "content":\n'
            + '             [{"type": "text", "text": turn.text,\n'
            + '               "cache_control": {"type": "ephemeral"}}] if n == len(turns) - 1\n'
            + "             else turn.text} for n, turn in enumerate(turns)]\n",
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each such content."""
        for habit in request.habits:
            if habit.kind is HabitKind.SHAPE_FLIP:
                yield self.finding_at(
                    habit.location,
                    f"the content is a list or a string by `{habit.name}`, which changes when a"
                    " turn follows",
                    "give it one shape",
                )
