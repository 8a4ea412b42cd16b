"""The rule SF503."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.habits import HabitKind
from stemfirst_lint.model import Finding, Kind, Request, Resolution
from stemfirst_lint.rules.rule import Case, Limits, Rule

_MARK = '"cache_control": {"type": "ephemeral"}'


class MarkerOnVaryingText(Rule):
    """A marker or breakpoint of the system message stands on text that moves in every call.

    Why: a marker writes all up to its block into the cache, for more than plain input costs. Where
    the block differs in every call, each call pays for writing and none ever reads.

    Fix: put the marker on the last block that stays, and what varies into a block behind it.
    """

    code = "SF503"
    name = "marker-on-varying-text"
    cases = (
        Case(
            "a clock in the marked block",
            "import time\n\n"
            + "def ask(client, history):\n"
            + "    return client.messages.create(messages=history, system=[\n"
            + '        {"type": "text", "text": f"It is {time.time()}", '
            + _MARK
            + "}])\n",
            finds=1,
        ),
        Case(
            "a marked block that stays, and one behind it that moves",
            "import time\n\n"
            + "def ask(client, history):\n"
            + "    return client.messages.create(messages=history, system=[\n"
            + '        {"type": "text", "text": "You are terse.", '
            + _MARK
            + "},\n"
            + '        {"type": "text", "text": f"It is {time.time()}"}])\n',
        ),
        Case(
            "a breakpoint of OpenAI's behind a clock",
            "import time\n\n"
            + "def ask(client, history):\n"
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "developer", "content": [{"type": "text", '
            + '"text": f"It is {time.time()}",\n'
            + '         "prompt_cache_breakpoint": {"mode": "explicit"}}]}, *history])\n',
            finds=1,
        ),
        Case(
            "the tail marker of a history",
            "def ask(client, history, question):\n"
            + "    return client.messages.create(messages=[*history, {\n"
            + '        "role": "user", "content": [\n'
            + '            {"type": "text", "text": question, '
            + _MARK
            + "}]}])\n",
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each marked block that holds a clock or random value."""
        marked = [marker.text for marker in request.markers if marker.part == "system"]
        marked += [
            habit.about for habit in request.habits if habit.kind is HabitKind.VARYING_BREAKPOINT
        ]
        for text in marked:
            if (
                text is not None
                and text.verdict.kind in (Kind.CLOCK, Kind.RANDOM)
                and text.verdict.resolution is not Resolution.DAY
            ):
                yield self.finding_at(
                    text.location,
                    "a marked block that differs in every call is written and never read",
                    "mark the last block that stays, and put this one behind it",
                    text,
                )
