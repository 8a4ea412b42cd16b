"""The rule SF201."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits, stable_in_request

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
            "PROMPT = f\"Tools: {list({'search', 'buy'})}\"\n\n" + _ASK,
            finds=1,
        ),
        Case(
            "joined through a name",
            'NAMES = {"search", "buy"}\nPROMPT = f"Tools: {\', \'.join(NAMES)}"\n\n' + _ASK,
            finds=1,
        ),
        Case("sorted is stable", "PROMPT = f\"Tools: {sorted({'search', 'buy'})}\"\n\n" + _ASK),
        Case(
            "joined after sorting",
            'NAMES = {"search", "buy"}\nPROMPT = f"Tools: {\', \'.join(sorted(NAMES))}"\n\n' + _ASK,
        ),
        Case("only its size", "PROMPT = f\"{len({'search', 'buy'})} tools\"\n\n" + _ASK),
        Case("small integers hash to themselves", 'PROMPT = f"Use {({1, 2})}"\n\n' + _ASK),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each hole that shows a set's order, whatever stands behind it."""
        if site.follows_history:
            return
        for hole in site.template.holes:
            if hole.verdict.kind is Kind.SET:
                count = limits.counter.count(*stable_in_request(site, hole, limits))
                yield self.finding(
                    site,
                    hole,
                    f"`{hole.name}` is written from a set, in another order in every process"
                    + forfeits(count, site),
                    count,
                )
