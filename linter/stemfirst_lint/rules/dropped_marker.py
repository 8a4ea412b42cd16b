"""The rule SF506."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.habits import HabitKind
from stemfirst_lint.model import Finding, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule


class DroppedMarker(Rule):
    """A `cache_control` marker stands where it is not sent on, or not understood.

    Why: LangChain's messages keep `additional_kwargs` to themselves; OpenAI's models know no such
    marker. There is no error, and nothing is cached by it.

    Fix: for LangChain put the marker into a content block; for OpenAI leave it out: prefixes are
    cached without being asked.
    """

    code = "SF506"
    name = "dropped-marker"
    cases = (
        Case(
            "among the additional arguments of a message",
            "from langchain_core.messages import SystemMessage\n\n"
            + 'RULES = SystemMessage(content="You are terse.",\n'
            + '    additional_kwargs={"cache_control": {"type": "ephemeral"}})\n',
            finds=1,
        ),
        Case(
            "a model that knows no markers",
            "def ask(client, rules):\n"
            + '    return client.chat.completions.create(model="gpt-4.1", messages=[\n'
            + '        {"role": "system", "content": [{"type": "text", "text": rules,\n'
            + '            "cache_control": {"type": "ephemeral"}}]}])\n',
            finds=1,
        ),
        Case(
            "in a content block",
            "from langchain_core.messages import SystemMessage\n\n"
            + 'RULES = SystemMessage(content=[{"type": "text", "text": "You are terse.",\n'
            + '    "cache_control": {"type": "ephemeral"}}])\n',
        ),
        Case(
            "a model that knows them, behind a router",
            "def ask(client, rules):\n"
            + "    return client.chat.completions.create(\n"
            + '        model="anthropic/claude-sonnet-4-5", messages=[\n'
            + '        {"role": "system", "content": [{"type": "text", "text": rules,\n'
            + '            "cache_control": {"type": "ephemeral"}}]}])\n',
        ),
        Case(
            "a class of the project with the same name",
            "from app.messages import SystemMessage\n\n"
            + 'RULES = SystemMessage(content="You are terse.",\n'
            + '    additional_kwargs={"cache_control": {"type": "ephemeral"}})\n',
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each marker that does nothing."""
        for habit in request.habits:
            if habit.kind is not HabitKind.DROPPED_MARKER:
                continue
            if habit.model is not None:
                told, remedy = f"{habit.model} knows no `cache_control`", "leave it out"
            else:
                told = f"`{habit.name}` is not sent"
                remedy = "put the marker into a content block"
            yield self.finding_at(habit.location, f"{told}; this marker does nothing", remedy)
