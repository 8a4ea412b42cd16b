"""The rule SF502."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst.providers import ANTHROPIC, claude_minimum

from stemfirst_lint.habits import HabitKind
from stemfirst_lint.model import Finding, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule

_HUGE = "Answer politely and never promise what the policy does not grant. " * 128
_LONG = "Answer politely and never promise what the policy does not grant. " * 16
_LOOP = (
    "def work(client, messages, most):\n"
    "    for step in range(most):\n"
    '        client.messages.create(model="claude-sonnet-4-5", messages=messages,\n'
    "            system=%s)\n"
)


class NoMarker(Rule):
    """A call in a loop sends a large prefix that stays, and nothing asks for it to be cached.

    Why: Anthropic caches only what a `cache_control` marker ends. Without one every round of the
    loop pays the full price for tools and system message.

    Fix: put `"cache_control": {"type": "ephemeral"}` on the last block that stays, or give
    `cache_control` to the call. One that is made once needs none: writing costs more than reading.
    """

    code = "SF502"
    name = "no-marker"
    cases = (
        Case(
            "a long system message in a loop",
            f'RULES = "{_HUGE}"\n\n' + _LOOP % "RULES",
            finds=1,
        ),
        Case(
            "a marker",
            f'RULES = "{_HUGE}"\n\n'
            + _LOOP % '[{"type": "text", "text": RULES, "cache_control": {"type": "ephemeral"}}]',
        ),
        Case(
            "one call",
            f'RULES = "{_HUGE}"\n\n'
            + "def ask(client, messages):\n"
            + '    client.messages.create(model="claude-sonnet-4-5", messages=messages,\n'
            + "        system=RULES)\n",
        ),
        Case(
            "less than the provider caches at all",
            f'RULES = "{_LONG}"\n\n' + _LOOP % "RULES",
        ),
        Case(
            "a provider that caches without being asked",
            f'RULES = "{_HUGE}"\n\n'
            + "def work(client, question, most):\n"
            + "    for step in range(most):\n"
            + '        client.chat.completions.create(model="gpt-4.1", messages=[\n'
            + '            {"role": "system", "content": RULES},\n'
            + '            {"role": "user", "content": question}])\n',
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding where what stays is surely worth a marker."""
        for habit in request.habits:
            if habit.kind is not HabitKind.NO_MARKER:
                continue
            count = limits.counter.count(*habit.texts)
            least = claude_minimum(habit.model) if habit.model else ANTHROPIC.min_tokens * 4
            if count.tokens >= least:
                yield self.finding_at(
                    habit.location,
                    f"{count} tokens stay through all rounds of this loop and no `cache_control`"
                    " marks them; each round pays for them in full",
                    'put `"cache_control": {"type": "ephemeral"}` on the last block that stays',
                    count=count,
                )
