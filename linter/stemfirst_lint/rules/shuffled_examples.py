"""The rule SF205."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits

_LONG = "Answer politely and never promise what the policy does not grant. " * 16
_SEND = (
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "user", "content": text}])\n'
)


class ShuffledExamples(Rule):
    """Text is drawn or mixed at random in every call.

    Why: examples in another order, or other examples, share no prefix with those of the last call.

    Fix: draw once and keep the order, or give the generator a seed. What must vary belongs behind
    what stays.
    """

    code = "SF205"
    name = "shuffled-examples"
    cases = (
        Case(
            "a sample of examples",
            "import random\n\n"
            + 'EXAMPLES = ["a", "b", "c"]\n\n'
            + "def ask(client):\n"
            + "    shots = random.sample(EXAMPLES, 2)\n"
            + '    text = "\\n".join(shots) + "'
            + _LONG
            + '"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "shuffled in place",
            "import random\n\n"
            + "def ask(client, load):\n"
            + "    shots = list(load())\n"
            + "    random.shuffle(shots)\n"
            + '    text = f"{shots}'
            + _LONG
            + '"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "a seeded shuffle",
            "import random\n\n"
            + "def ask(client, load):\n"
            + "    random.seed(7)\n"
            + "    shots = list(load())\n"
            + "    random.shuffle(shots)\n"
            + '    text = f"{shots}'
            + _LONG
            + '"\n'
            + _SEND,
        ),
        Case(
            "a generator of its own with a seed",
            "import random\n\n"
            + 'EXAMPLES = ["a", "b", "c"]\n\n'
            + "def ask(client):\n"
            + "    shots = random.Random(7).sample(EXAMPLES, 2)\n"
            + '    text = f"{shots}'
            + _LONG
            + '"\n'
            + _SEND,
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each such hole that forfeits enough."""
        for hole, count in self.holes_of(site, limits, (Kind.SHUFFLED,), always=True):
            yield self.finding(
                site,
                hole,
                f"`{hole.name}` is mixed anew in every call" + forfeits(count, site),
                count,
            )
