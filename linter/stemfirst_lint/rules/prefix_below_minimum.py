"""The rule SF504."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst.providers import cache_rules

from stemfirst_lint.habits import HabitKind
from stemfirst_lint.model import Finding, Request, Severity
from stemfirst_lint.rules.rule import Case, Limits, Rule

_HUGE = "Answer politely and never promise what the policy does not grant. " * 128
_ASK = (
    "def ask(client, question):\n"
    '    return client.messages.create(model="claude-sonnet-4-5",\n'
    '        messages=[{"role": "user", "content": question}],%s\n'
    '        system=[{"type": "text", "text": RULES,\n'
    '                 "cache_control": {"type": "ephemeral"}}])\n'
)
_SURE = 0.6
"""A wide margin: the provider's tokenizer is not public and may make more tokens of a text."""


class PrefixBelowMinimum(Rule):
    """A marker ends a prefix that is shorter than what the provider caches.

    Why: shorter prefixes are taken without an error and never cached; the marker promises what does
    not happen.

    Fix: leave the marker out, or move more that stays in front of it.
    """

    code = "SF504"
    name = "prefix-below-minimum"
    severity = Severity.INFO
    cases = (
        Case(
            "one sentence",
            'RULES = "You are terse."\n\n' + _ASK % "",
            finds=1,
        ),
        Case("enough", f'RULES = "{_HUGE}"\n\n' + _ASK % ""),
        Case(
            "tools of which nothing is known stand in front of it",
            'RULES = "You are terse."\n\n'
            + (_ASK % " tools=tools,").replace("(client, question)", "(client, question, tools)"),
        ),
        Case(
            "another marker behind the conversation",
            'RULES = "You are terse."\n\n'
            + "def ask(client, question):\n"
            + '    return client.messages.create(model="claude-sonnet-4-5",\n'
            + '        system=[{"type": "text", "text": RULES,\n'
            + '                 "cache_control": {"type": "ephemeral"}}],\n'
            + '        messages=[{"role": "user", "content": [{"type": "text", "text": question,\n'
            + '                 "cache_control": {"type": "ephemeral"}}]}])\n',
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding where the longest marked prefix is surely too short."""
        for habit in request.habits:
            if habit.kind is not HabitKind.SHORT_PREFIX or habit.model is None:
                continue
            rules = cache_rules(habit.model)
            count = limits.counter.count(*habit.texts)
            if rules is not None and count.tokens < rules.min_tokens * _SURE:
                yield self.finding_at(
                    habit.location,
                    f"this marker ends {count} tokens; {habit.model} caches from"
                    f" {rules.min_tokens:,} tokens on",
                    "leave it out, or move more that stays in front of it",
                )
