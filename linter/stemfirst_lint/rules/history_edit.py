"""The rule SF402."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule


class HistoryEdit(Rule):
    """An earlier message of a conversation is replaced by a note that something was left out.

    Why: what was sent before is cached up to the first byte that differs. A tool result or image
    that is elided in the middle makes every later call read again all that stands behind it.

    Fix: elide rarely and much at once, so that many calls share the shorter history; never touch
    the same message twice; or let the tool return less.
    """

    code = "SF402"
    name = "history-edit"
    cases = (
        Case(
            "old tool results elided in place",
            "def shrink(messages):\n"
            + "    for message in messages[:-4]:\n"
            + '        if message["role"] == "tool":\n'
            + '            message["content"] = "[old result removed]"\n',
            finds=1,
        ),
        Case(
            "by index",
            "def shrink(history, keep):\n"
            + "    for index in range(len(history) - keep):\n"
            + '        history[index]["content"] = f"[{index} omitted]"\n',
            finds=1,
        ),
        Case(
            "a message that was not sent yet",
            "def build(question):\n"
            + '    messages = [{"role": "user", "content": ""}]\n'
            + '    messages[0]["content"] = "[removed]"\n'
            + "    return messages\n",
        ),
        Case(
            "a copy for the log",
            "def log_messages(messages):\n"
            + "    for message in messages:\n"
            + '        message["content"] = "[removed]"\n',
        ),
        Case(
            "the last message",
            "def note(messages):\n" + '    messages[-1]["content"] = "[removed]"\n',
        ),
        Case(
            "a change of the content's shape",
            "def convert(messages):\n"
            + "    for message in messages:\n"
            + '        message["content"] = [{"type": "text", "text": message["content"]}]\n',
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each message that is elided in place."""
        for edit in request.edits:
            if edit.is_elided:
                yield self.finding_at(
                    edit.location,
                    f"an earlier message of `{edit.listed}` is replaced; what follows it is read"
                    " again",
                    "elide rarely and much at once, not a message a call",
                )
