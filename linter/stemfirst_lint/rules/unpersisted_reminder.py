"""The rule SF403."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.habits import HabitKind
from stemfirst_lint.model import Finding, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule


class UnpersistedReminder(Rule):
    """The last message is sent with an addition that the stored conversation does not get.

    Why: the next request holds the message as it was stored, so it parts from what is cached at the
    addition. That message, which may be a long tool result, and the answer to it are read again.

    Fix: store what was sent, byte for byte; or send the addition as a message of its own and store
    that.
    """

    code = "SF403"
    name = "unpersisted-reminder"
    cases = (
        Case(
            "a reminder in a copy, while the original goes on",
            "import copy\n\n"
            + "def work(client, messages, reminder):\n"
            + "    while True:\n"
            + "        sent = copy.deepcopy(messages)\n"
            + '        sent[-1]["content"] += reminder\n'
            + "        answer = client.chat.completions.create(messages=sent)\n"
            + '        messages.append({"role": "assistant", "content": answer})\n',
            finds=1,
        ),
        Case(
            "the last message replaced in a copy",
            "class Chat:\n"
            + "    def add(self, message):\n        self.messages.append(message)\n\n"
            + "    def ask(self, client, plan):\n"
            + "        sent = list(self.messages)\n"
            + '        sent[-1] = {"role": "user", "content": sent[-1]["content"] + plan}\n'
            + "        return client.chat.completions.create(messages=sent)\n",
            finds=1,
        ),
        Case(
            "in the call",
            "def work(client, messages, note):\n"
            + "    while True:\n"
            + "        answer = client.chat.completions.create(messages=[*messages[:-1],\n"
            + '            {"role": "user", "content": messages[-1]["content"] + note}])\n'
            + '        messages.append({"role": "assistant", "content": answer})\n',
            finds=1,
        ),
        Case(
            "the stored message itself",
            "def work(client, messages, reminder):\n"
            + "    while True:\n"
            + '        messages[-1]["content"] += reminder\n'
            + "        answer = client.chat.completions.create(messages=messages)\n"
            + '        messages.append({"role": "assistant", "content": answer})\n',
        ),
        Case(
            "a shallow copy shares its messages with the original",
            "def work(client, messages, reminder):\n"
            + "    while True:\n"
            + "        sent = list(messages)\n"
            + '        sent[-1]["content"] += reminder\n'
            + "        answer = client.chat.completions.create(messages=sent)\n"
            + '        messages.append({"role": "assistant", "content": answer})\n',
        ),
        Case(
            "only the marker of the tail moves",
            "import copy\n\n"
            + "def work(client, messages):\n"
            + "    while True:\n"
            + "        sent = copy.deepcopy(messages)\n"
            + '        sent[-1]["content"] = [{"type": "text", "text": sent[-1]["content"],\n'
            + '            "cache_control": {"type": "ephemeral"}}]\n'
            + "        answer = client.messages.create(messages=sent)\n"
            + '        messages.append({"role": "assistant", "content": answer})\n',
        ),
        Case(
            "one request, and the conversation ends",
            "import copy\n\n"
            + "def ask(client, messages, reminder):\n"
            + "    sent = copy.deepcopy(messages)\n"
            + '    sent[-1]["content"] += reminder\n'
            + "    return client.chat.completions.create(messages=sent)\n",
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each addition that is sent and not stored."""
        for habit in request.habits:
            if habit.kind is HabitKind.UNSTORED_TEXT:
                yield self.finding_at(
                    habit.location,
                    f"the last message of `{habit.name}` is sent otherwise than it is stored; the"
                    " next turn reads it and the answer again",
                    "store what was sent, byte for byte",
                )
