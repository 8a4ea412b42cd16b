"""The rule SF101."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Resolution, Site
from stemfirst_lint.rules.rule import (
    Case,
    Limits,
    Rule,
    forfeits,
    precedes_conversation,
    stable_in_request,
)

_HEAD = "from datetime import datetime, date\nimport time\n\n"
_LONG = "Answer politely and never promise what the policy does not grant. " * 16


class ClockInPrefix(Rule):
    """A time of day stands before text that stays, so no two calls share what follows.

    Why: a cached prefix ends at the first token that differs. A clock of a second or a minute
    differs in nearly every call; all that stands behind it, in this message, in the tools and in
    the conversation, is read and paid for again.

    Fix: move the time behind the text that stays (`stemfirst fix` does, where the text allows
    it); or coarsen it to the date; or read it once when the session starts; or offer a tool that
    tells the time. In an agent, put it into the newest user message and store it with that turn.
    """

    code = "SF101"
    name = "clock-in-prefix"
    cases = (
        Case(
            "a clock before instructions",
            _HEAD
            + "def ask(client, question):\n"
            + '    system = f"Now: {datetime.now()}\\n'
            + _LONG
            + '"\n'
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": system},\n'
            + '        {"role": "user", "content": question}])\n',
            finds=1,
        ),
        Case(
            "a clock at the end of a system message that a history follows",
            _HEAD
            + "def ask(client, history):\n"
            + "    system = f\"You are terse. It is {time.strftime('%H:%M')}.\"\n"
            + "    return client.chat.completions.create(\n"
            + '        messages=[{"role": "system", "content": system}, *history])\n',
            finds=1,
        ),
        Case(
            "a clock behind a helper and `.format`",
            _HEAD
            + f'PROMPT = "Time: {{now}}\\n{_LONG}"\n\n'
            + "def stamp():\n    return datetime.now().isoformat()\n\n"
            + "def ask(client, question):\n"
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": PROMPT.format(now=stamp())}])\n',
            finds=1,
        ),
        Case(
            "a date changes once a day",
            _HEAD
            + "def ask(client, history):\n"
            + '    system = f"Today is {date.today():%Y-%m-%d}. '
            + _LONG
            + '"\n'
            + "    return client.chat.completions.create(\n"
            + '        messages=[{"role": "system", "content": system}, *history])\n',
        ),
        Case(
            "a clock in the system message of Anthropic's client, which renders tools first",
            _HEAD
            + "def ask(client, tools, question):\n"
            + "    return client.messages.create(\n"
            + '        system=f"You are terse. It is {datetime.now()}.", tools=tools,\n'
            + '        messages=[{"role": "user", "content": question}])\n',
        ),
        Case(
            "a time read once at import",
            _HEAD
            + 'STARTED = f"{datetime.now()}"\n\n'
            + "def ask(client, history):\n"
            + '    system = f"Up since {STARTED}. '
            + _LONG
            + '"\n'
            + "    return client.chat.completions.create(\n"
            + '        messages=[{"role": "system", "content": system}, *history])\n',
        ),
        Case(
            "a clock in a log line",
            _HEAD + "def note(log):\n" + '    log.info(f"{datetime.now()} ' + _LONG + '")\n',
        ),
        Case(
            "a clock at the very end",
            _HEAD
            + "def ask(client, question):\n"
            + '    text = f"'
            + _LONG
            + '\\nNow: {datetime.now()}"\n'
            + "    return client.chat.completions.create(\n"
            + '        messages=[{"role": "user", "content": text}])\n',
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each clock finer than a day that forfeits enough."""
        if site.follows_history:
            return
        for hole in site.template.holes:
            verdict = hole.verdict
            if verdict.kind is not Kind.CLOCK or verdict.resolution is Resolution.DAY:
                continue
            texts = stable_in_request(site, hole, limits)
            is_always = precedes_conversation(site)
            if not is_always and limits.counter.is_surely_below(texts, limits.min_gain_tokens):
                continue
            count = limits.counter.count(*texts)
            if is_always or count.tokens >= limits.min_gain_tokens:
                assert verdict.resolution is not None
                yield self.finding(
                    site,
                    hole,
                    f"`{hole.name}` is a clock that moves every {verdict.resolution.value}"
                    + forfeits(count, site),
                    count,
                )
