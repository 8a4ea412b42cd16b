"""The rule SF401."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule


class SlidingWindow(Rule):
    """The history loses its oldest messages one by one.

    Why: once the window is full, each new message drops one at the head. The first token behind
    the system message then differs in every call, and the whole history is read again.

    Fix: cut rarely and much: drop the oldest half when a limit is reached, or summarise it into
    one message, and leave the rest as it is until the next cut.
    """

    code = "SF401"
    name = "sliding-window"
    cases = (
        Case(
            "the newest ten messages",
            "def ask(client, system, history):\n"
            + "    return client.chat.completions.create(\n"
            + '        messages=[{"role": "system", "content": system}, *history[-10:]])\n',
            finds=1,
        ),
        Case(
            "the oldest message popped",
            "class Chat:\n"
            + "    def ask(self, client, text):\n"
            + '        self.messages.append({"role": "user", "content": text})\n'
            + "        while len(self.messages) > 20:\n"
            + "            self.messages.pop(0)\n"
            + "        return client.chat.completions.create(messages=self.messages)\n",
            finds=1,
        ),
        Case(
            "a deque with a limit",
            "from collections import deque\n\n"
            + "class Chat:\n"
            + "    def __init__(self):\n        self.history = deque(maxlen=20)\n\n"
            + "    def ask(self, client):\n"
            + "        return client.chat.completions.create(messages=list(self.history))\n",
            finds=1,
        ),
        Case(
            "the whole history",
            "def ask(client, history):\n"
            + "    return client.chat.completions.create(messages=history)\n",
        ),
        Case(
            "a window that is only shown",
            "def show(history):\n    for message in history[-10:]:\n        print(message)\n",
        ),
        Case(
            "a window with a named limit, one turn two messages",
            "def ask(client, history, max_turns):\n"
            + "    recent = history[-max_turns * 2 :]\n"
            + "    return client.chat.completions.create(messages=recent)\n",
            finds=1,
        ),
        Case(
            "the messages that a call has just added",
            "def ask(client, history, results):\n"
            + "    return client.chat.completions.create(messages=history[-len(results):])\n",
        ),
        Case(
            "the last message alone",
            "def ask(client, history):\n"
            + "    return client.chat.completions.create(messages=history[-1:])\n",
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each cut."""
        for window in request.windows:
            yield self.finding_at(
                window.location,
                f"{window.how}, so the history is read again in every call once it is full",
                "cut rarely and much, not one message a turn",
            )
