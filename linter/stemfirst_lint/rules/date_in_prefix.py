"""The rule SF102."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Resolution, Severity, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits, precedes_conversation

_HEAD = "from datetime import date, datetime\n\n"
_ASK = (
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "system", "content": system}, *history])\n'
)


class DateInPrefix(Rule):
    """A date stands in a system message that a conversation or tools follow.

    Why: every conversation that lives past midnight is read again as a whole, once, and what
    users share is read again once a day. That is little for a chat of minutes and much for an
    agent that runs for days.

    Fix: read the date once when the conversation starts and keep it; or tell it in the newest
    user message. Of level `info`: it never changes the exit code.
    """

    code = "SF102"
    name = "date-in-prefix"
    severity = Severity.INFO
    cases = (
        Case(
            "today's date before a history",
            _HEAD
            + "def ask(client, history):\n"
            + '    system = f"You are terse. Today is {date.today()}."\n'
            + _ASK,
            finds=1,
        ),
        Case(
            "a clock is another rule's",
            _HEAD
            + "def ask(client, history):\n"
            + '    system = f"You are terse. Now is {datetime.now()}."\n'
            + _ASK,
        ),
        Case(
            "a date that an object read when it was made",
            _HEAD
            + "class Chat:\n"
            + "    def __init__(self):\n        self.today = date.today()\n\n"
            + "    def ask(self, client, history):\n"
            + '        system = f"You are terse. Today is {self.today}."\n'
            + _ASK.replace("    return", "        return"),
        ),
        Case(
            "a date in a message that nothing follows",
            _HEAD
            + "def ask(client):\n"
            + '    text = f"What happened on {date.today()}?"\n'
            + '    return client.create(messages=[{"role": "user", "content": text}])\n',
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each date before tools or a history."""
        if site.follows_history or not precedes_conversation(site):
            return
        for hole in site.template.holes:
            verdict = hole.verdict
            if verdict.kind is Kind.CLOCK and verdict.resolution is Resolution.DAY:
                count = limits.counter.count(*site.following.texts)
                yield self.finding(
                    site, hole, f"`{hole.name}` moves once a day" + forfeits(count, site), count
                )
