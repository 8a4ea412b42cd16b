"""The rule SF303."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.habits import HabitKind
from stemfirst_lint.model import Finding, Request, Severity
from stemfirst_lint.rules.rule import Case, Limits, Rule

_LONG = "Answer politely and never promise what the policy does not grant. " * 16
_SEND = (
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "user", "content": text}])\n'
)


class ConditionalPrefix(Rule):
    """Text that only some requests have stands before text that all have.

    Why: requests with it and requests without it share nothing behind that place. That makes two
    prefixes where one would do, not a miss in every call, and so this is level info.

    Fix: put the conditional text behind what all requests share, or into the newest message.

    Off unless `select` or `extend-select` names the code in full: two prefixes are often enough.
    """

    code = "SF303"
    name = "conditional-prefix"
    severity = Severity.INFO
    is_opt_in = True
    cases = (
        Case(
            "a remark about documents, where there are some",
            "def ask(client, question, documents):\n"
            + '    text = "You help customers. "\n'
            + "    if documents:\n"
            + '        text += "Use the documents that you are given and cite them. "\n'
            + f'    text += "{_LONG}"\n'
            + "    text += question\n"
            + _SEND,
            finds=1,
        ),
        Case(
            "one part of a list",
            "def ask(client, question, documents):\n"
            + '    parts = ["You help customers."]\n'
            + "    if documents:\n"
            + '        parts.append("Use the documents that you are given and cite them.")\n'
            + f'    parts.append("{_LONG}")\n'
            + "    parts.append(question)\n"
            + '    text = "\\n".join(parts)\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "a field that is empty or not",
            "def ask(client, question, documents):\n"
            + "    text = f\"You help. {'Cite the documents.' if documents else ''} "
            + _LONG
            + '{question}"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "a setting decides: one deployment, one prefix",
            "import os\n\n"
            + "def ask(client, question):\n"
            + '    text = "You help customers. "\n'
            + '    if os.environ.get("STRICT"):\n'
            + '        text += "Refuse whatever the policy does not name. "\n'
            + f'    text += "{_LONG}"\n'
            + "    text += question\n"
            + _SEND,
        ),
        Case(
            "nothing is known about what decides",
            "def ask(client, question, is_strict):\n"
            + '    text = "You help customers. "\n'
            + "    if is_strict:\n"
            + '        text += "Refuse whatever the policy does not name. "\n'
            + f'    text += "{_LONG}"\n'
            + "    text += question\n"
            + _SEND,
        ),
        Case(
            "at the end of what is shared",
            "def ask(client, question, documents):\n"
            + f'    text = "{_LONG}"\n'
            + "    if documents:\n"
            + '        text += "Use the documents that you are given and cite them. "\n'
            + "    text += question\n"
            + _SEND,
        ),
        Case(
            "behind data that varies anyway",
            "def ask(client, question, documents):\n"
            + '    text = f"Question: {question} "\n'
            + "    if documents:\n"
            + '        text += "Use the documents that you are given and cite them. "\n'
            + f'    text += "{_LONG}"\n'
            + _SEND,
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each text that is there or not, before enough that stays."""
        for habit in request.habits:
            if habit.kind is not HabitKind.CONDITIONAL_TEXT:
                continue
            count = limits.counter.count(*habit.texts)
            if count.tokens >= limits.min_gain_tokens:
                yield self.finding_at(
                    habit.location,
                    f"this text depends on `{habit.name}`; requests with it and without it do not "
                    f"share the {count} stable tokens behind it",
                    "put it behind what all requests share",
                    habit.about,
                    site=habit.site,
                    count=count,
                )
