"""The rule SF701."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stemfirst_lint.chat_templates import ChatTemplate
from stemfirst_lint.model import Finding, Resolution, Severity
from stemfirst_lint.rules.rule import Case, Rule

_END = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


class ClockInTemplate(Rule):
    """The chat template writes the time into every prompt.

    Why: it stands in front of the system message or in it, where no caller can see it. When it
    moves on, every cached prompt of this model misses. A date does that once a day: level info.

    Fix: give the template a date of your own (many take `date_string`), or take the line out of it
    and put the time into the newest user message.
    """

    code = "SF701"
    name = "clock-in-template"
    cases = (
        Case(
            "the minute, in the target's template",
            "",
            finds=1,
            chat_template="Now: {{ strftime_now('%H:%M') }}\n" + _END,
        ),
        Case(
            "a date that a caller can give",
            "",
            finds=1,
            chat_template="{% if date_string is not defined %}"
            "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{{ date_string }}\n" + _END,
        ),
        Case(
            "a template in the source",
            "CHAT_TEMPLATE = \"Now: {{ strftime_now('%H:%M') }} {% for m in messages %}"
            + '{{ m.content }}{% endfor %}"\n',
            finds=1,
        ),
        Case("no clock", "", chat_template=_END),
        Case(
            "a clock that is only read where somebody asks for it",
            "",
            chat_template="{% if show_time is defined %}{{ strftime_now('%H') }}{% endif %}" + _END,
        ),
    )

    def check_template(self, template: ChatTemplate) -> Iterator[Finding]:
        """Yield a finding where a clock is part of what is rendered."""
        if template.clock is None:
            return
        is_date = template.resolution is Resolution.DAY
        found = self.finding_at(
            template.clock,
            f"the chat template writes the {'date' if is_date else 'time'} into every prompt;"
            " all that is cached misses when it moves on",
            "give it a date of your own, or take it out of the template",
        )
        yield replace(found, severity=Severity.INFO) if is_date else found
