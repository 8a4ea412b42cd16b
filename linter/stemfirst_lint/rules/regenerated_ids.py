"""The rule SF404."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.habits import HabitKind
from stemfirst_lint.model import Finding, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule


class RegeneratedIds(Rule):
    """Ids of messages are drawn anew whenever the history is rebuilt.

    Why: ids of tool calls are rendered into the prompt. Drawn anew they differ from what was sent
    before, and all behind the first of them is read again.

    Fix: store the ids with the messages, or derive them from the content: a hash, a running number.
    """

    code = "SF404"
    name = "regenerated-ids"
    cases = (
        Case(
            "a new id for every stored tool result",
            "import uuid\n\n"
            + "def rebuild(history):\n"
            + "    messages = []\n"
            + "    for row in history:\n"
            + '        messages.append({"role": "tool", "content": row.text,\n'
            + '            "tool_call_id": f"call_{uuid.uuid4().hex}"})\n'
            + "    return messages\n",
            finds=1,
        ),
        Case(
            "in a comprehension",
            "from uuid import uuid4\n\n"
            + "def rebuild(history):\n"
            + '    return [{"role": "assistant", "tool_calls": [{"id": str(uuid4()),\n'
            + '             "function": {"name": row.name}}]} for row in history]\n',
            finds=1,
        ),
        Case(
            "the stored id",
            "def rebuild(history):\n"
            + '    return [{"role": "tool", "content": row.text, "tool_call_id": row.id}\n'
            + "            for row in history]\n",
        ),
        Case(
            "a new message gets a new id",
            "import uuid\n\n"
            + "def record(history, call, result):\n"
            + '    history.append({"role": "tool", "content": result,\n'
            + '        "tool_call_id": str(uuid.uuid4())})\n',
        ),
        Case(
            "rows for a database",
            "import uuid\n\n"
            + "def rows(history):\n"
            + '    return [{"id": str(uuid.uuid4()), "text": message} for message in history]\n',
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each such id."""
        for habit in request.habits:
            if habit.kind is HabitKind.FRESH_ID:
                yield self.finding_at(
                    habit.location,
                    f"`{habit.name}` is drawn anew whenever the history is rebuilt; what follows it"
                    " is read again",
                    "store the id, or derive it from the content",
                    habit.about,
                )
