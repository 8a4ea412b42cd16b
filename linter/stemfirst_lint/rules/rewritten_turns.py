"""The rule SF702."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.chat_templates import ChatTemplate
from stemfirst_lint.model import Finding, Severity
from stemfirst_lint.rules.rule import Case, Rule

_STRIPPED = (
    "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' and not loop.last %}"
    "{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}\n{% endfor %}"
)


class RewrittenTurns(Rule):
    """The chat template renders an answer otherwise once a turn follows it.

    Why: most such templates leave out the thinking of earlier turns. The cache holds the answer as
    it was generated, so each turn reads the last answer again, with what stands behind it. That is
    how these models were trained, and shorter; so it is level info.

    Fix: know it when you expect hits; nothing, if the model is meant to forget its thinking. In
    agent loops look for an option such as `clear_thinking` or `preserve_thinking`.
    """

    code = "SF702"
    name = "rewritten-turns"
    severity = Severity.INFO
    cases = (
        Case("old thinking is left out", "", finds=1, chat_template=_STRIPPED),
        Case(
            "a template in the source",
            "def load(tokenizer):\n"
            + '    tokenizer.chat_template = "'
            + _STRIPPED.replace("\n", "\\n")
            + '"\n',
            finds=1,
        ),
        Case(
            "answers stay as they were",
            "",
            chat_template="{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        ),
    )

    def check_template(self, template: ChatTemplate) -> Iterator[Finding]:
        """Yield a finding where a turn's rendering is not what the next one begins with."""
        if template.rewrites_turns:
            yield self.finding_at(
                template.location,
                "the chat template renders an answer otherwise once a turn follows it; each turn"
                " reads the last answer again",
                "look for an option that keeps the thinking of earlier turns",
            )
