"""The rule SF407."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Request, Resolution
from stemfirst_lint.rules.rule import Case, Limits, Rule


class SystemRebuilt(Rule):
    """The first message of a conversation that goes on is written anew with what varies.

    Why: the system message comes first. Where it is refreshed with the time or with what the
    newest turn asked for, every turn reads the whole conversation again.

    Fix: build it once when the session starts; put what varies into the newest user message and
    store it with that turn.
    """

    code = "SF407"
    name = "system-rebuilt"
    cases = (
        Case(
            "the time in the first message, in every turn",
            "from datetime import datetime\n\n"
            + "def turn(client, messages):\n"
            + '    messages[0]["content"] = f"You are terse. It is {datetime.now()}."\n'
            + "    return client.chat.completions.create(messages=messages)\n",
            finds=1,
        ),
        Case(
            "what the newest question found",
            "def turn(client, store, history, question):\n"
            + '    history[0]["content"] = "Known: " + store.similarity_search(question)\n'
            + "    return client.chat.completions.create(messages=history)\n",
            finds=1,
        ),
        Case(
            "a list that this function made before the loop that sends it",
            "from datetime import datetime\n\n"
            + "def run(client, question):\n"
            + '    messages = [{"role": "system", "content": ""}]\n'
            + "    while True:\n"
            + '        messages[0]["content"] = f"You are terse. It is {datetime.now()}."\n'
            + "        answer = client.chat.completions.create(messages=messages)\n"
            + "        messages.append(answer.choices[0].message)\n",
            finds=1,
        ),
        Case(
            "the whole first message",
            "from datetime import datetime\n\n"
            + "def turn(client, messages):\n"
            + '    messages[0] = {"role": "system", "content": f"It is {datetime.now()}."}\n'
            + "    return client.chat.completions.create(messages=messages)\n",
            finds=1,
        ),
        Case(
            "the time at the end of the first message",
            "from datetime import datetime\n\n"
            + "def turn(client, messages):\n"
            + '    messages[0]["content"] += f"It is {datetime.now()}."\n'
            + "    return client.chat.completions.create(messages=messages)\n",
            finds=1,
        ),
        Case(
            "a list that a loop sends as long as it was made",
            "from datetime import datetime\n\n"
            + "def run(client, rows):\n"
            + '    messages = [{"role": "system", "content": ""}]\n'
            + "    for row in rows:\n"
            + '        messages[0]["content"] = f"You are terse. It is {datetime.now()}."\n'
            + "        client.chat.completions.create(messages=messages)\n",
        ),
        Case(
            "a date",
            "from datetime import date\n\n"
            + "def turn(client, messages):\n"
            + '    messages[0]["content"] = f"You are terse. It is {date.today()}."\n'
            + "    return client.chat.completions.create(messages=messages)\n",
        ),
        Case(
            "a constant",
            "def turn(client, messages):\n"
            + '    messages[0]["content"] = "You are terse."\n'
            + "    return client.chat.completions.create(messages=messages)\n",
        ),
        Case(
            "a list that this function makes",
            "from datetime import datetime\n\n"
            + "def start():\n"
            + '    messages = [{"role": "system", "content": ""}]\n'
            + '    messages[0]["content"] = f"Started {datetime.now()}."\n'
            + "    return messages\n",
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding where the first message gets a clock, a nonce or looked-up text."""
        for edit in request.edits:
            verdict = edit.text.verdict
            is_lively = verdict.kind in (Kind.CLOCK, Kind.RANDOM, Kind.RETRIEVAL)
            if edit.is_first and is_lively and verdict.resolution is not Resolution.DAY:
                yield self.finding_at(
                    edit.location,
                    f"the first message of `{edit.listed}` is written anew with what varies; the"
                    " conversation behind it is read again",
                    "build it once a session, and put what varies into the newest user message",
                    edit.text,
                )
