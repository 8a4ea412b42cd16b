"""The rule SF201."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.habits import HabitKind
from stemfirst_lint.model import Finding, Kind, Request, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits

_LONG = "Answer politely and never promise what the policy does not grant. " * 16
_ASK = (
    "def ask(client, question):\n"
    "    return client.chat.completions.create(messages=[\n"
    '        {"role": "system", "content": PROMPT},\n'
    '        {"role": "user", "content": question}])\n'
)


class SetOrder(Rule):
    """Text is built from a set, so its order differs between processes.

    Why: Python randomises the hashes of strings in every process. The same set is written in
    another order after a restart and in every replica, and all behind the first swap misses.

    Fix: `identical`: `sorted(...)` around the set leaves the members as they were. A list or a
    dict keeps the order in which it was written.
    """

    code = "SF201"
    name = "set-order"
    cases = (
        Case(
            "a set has no order",
            f"PROMPT = f\"Tools: {{list({{'search', 'buy'}})}} {_LONG}\"\n\n" + _ASK,
            finds=1,
        ),
        Case(
            "joined through a name",
            'NAMES = {"search", "buy"}\n'
            + f"PROMPT = f\"Tools: {{', '.join(NAMES)}} {_LONG}\"\n\n"
            + _ASK,
            finds=1,
        ),
        Case(
            "a set at the end of a system message that a history follows",
            "PROMPT = f\"Tools: {list({'search', 'buy'})}\"\n\n"
            + "def ask(client, history):\n"
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": PROMPT}, *history])\n',
            finds=1,
        ),
        Case(
            "too little to gain",
            "PROMPT = f\"Tools: {list({'search', 'buy'})}\"\n\n" + _ASK,
        ),
        Case(
            "sorted is stable",
            f"PROMPT = f\"Tools: {{sorted({{'search', 'buy'}})}} {_LONG}\"\n\n" + _ASK,
        ),
        Case(
            "joined after sorting",
            'NAMES = {"search", "buy"}\n'
            + f"PROMPT = f\"Tools: {{', '.join(sorted(NAMES))}} {_LONG}\"\n\n"
            + _ASK,
        ),
        Case(
            "in a tool's definition",
            "def ask(client, messages, names):\n"
            + '    kind = {"type": "string", "enum": list(set(names))}\n'
            + '    tools = [{"name": "find", "input_schema": {"properties": {"kind": kind}}}]\n'
            + "    return client.messages.create(messages=messages, tools=tools)\n",
            finds=1,
        ),
        Case("only its size", "PROMPT = f\"{len({'search', 'buy'})} tools\"\n\n" + _ASK),
        Case("small integers hash to themselves", 'PROMPT = f"Use {({1, 2})}"\n\n' + _ASK),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for a set's order in a tool's definition."""
        for habit in request.habits:
            if habit.kind is HabitKind.SET_IN_TOOL:
                yield self.finding_at(
                    habit.location,
                    f"`{habit.name}` in a tool's definition is written from a set, in another "
                    "order in every process; the tools and what follows are read again",
                    "put `sorted(...)` around the set",
                    habit.about,
                )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each hole that shows a set's order and forfeits enough."""
        for hole, count in self.holes_of(site, limits, (Kind.SET,), always=True):
            yield self.finding(
                site,
                hole,
                f"`{hole.name}` is written from a set, in another order in every process"
                + forfeits(count, site),
                count,
            )
