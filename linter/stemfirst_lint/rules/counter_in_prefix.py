"""The rule SF105."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits

_ASK = (
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "system", "content": system}, *history])\n'
)


class CounterInPrefix(Rule):
    """A counter of turns or steps stands before text that stays.

    Why: it differs in every step of a loop, so each step reads again all that stands behind it;
    in a system message that is the tools and the whole conversation.

    Fix: tell the step in the newest user message, or at the end of the prompt.
    """

    code = "SF105"
    name = "counter-in-prefix"
    cases = (
        Case(
            "the step of an agent's loop",
            "def run(client, history):\n"
            + "    for step in range(20):\n"
            + '        system = f"You are an agent. Step {step} of 20."\n'
            + _ASK.replace("    return", "        reply ="),
            finds=1,
        ),
        Case(
            "a turn that is counted up",
            "def ask(client, history):\n"
            + "    turns = 0\n"
            + "    while True:\n"
            + "        turns += 1\n"
            + '        system = f"You are an agent. Turn {turns}."\n'
            + _ASK.replace("    return", "        reply ="),
            finds=1,
        ),
        Case(
            "the steps that are left",
            "def ask(client, history):\n"
            + "    left = 20\n"
            + "    while left:\n"
            + "        left -= 1\n"
            + '        system = f"You are an agent. {left} steps are left."\n'
            + _ASK.replace("    return", "        reply ="),
            finds=1,
        ),
        Case(
            "how long the history is",
            "def ask(client, history):\n"
            + '    system = f"You are an agent. Turn {len(history)}."\n'
            + _ASK,
            finds=1,
        ),
        Case(
            "how many documents there are",
            "def ask(client, documents, history):\n"
            + '    system = f"You are an agent. There are {len(documents)} documents."\n'
            + _ASK,
        ),
        Case(
            "what was counted before",
            "def ask(client, history, rows):\n"
            + "    count = 0\n"
            + "    for row in rows:\n"
            + "        count += 1\n"
            + '    system = f"You are an agent. There are {count} rows."\n'
            + _ASK,
        ),
        Case(
            "a numbered list inside one prompt",
            'RULES = ["a", "b"]\n\n'
            + "def ask(client, history):\n"
            + '    system = "\\n".join(f"{i}. {rule}" for i, rule in enumerate(RULES))\n'
            + _ASK,
        ),
        Case(
            "a limit that stays",
            "def ask(client, history):\n"
            + '    system = f"You are an agent. Take at most {20} steps."\n'
            + _ASK,
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each such hole that forfeits enough."""
        for hole, count in self.holes_of(site, limits, (Kind.COUNTER,), always=True):
            yield self.finding(
                site, hole, f"`{hole.name}` is a counter" + forfeits(count, site), count
            )
