"""The rule SF203."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.habits import HabitKind
from stemfirst_lint.model import Finding, Kind, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule


class ToolOrder(Rule):
    """The tools of a request come in no fixed order, or what is found at run time comes first.

    Why: tools are rendered near the start. A set or an unsorted listing gives them in another
    order in every process, and all behind the first swap misses. Tools that a server or a user
    brings differ between conversations, and those that the source spells out miss behind them.

    Fix: keep tools in the order in which they were written, static ones first, and sort what is
    found at run time by name. The order need not be alphabetical, only the same each time.
    """

    code = "SF203"
    name = "tool-order"
    cases = (
        Case(
            "tools from a set",
            "def ask(client, history, schema):\n"
            + '    names = {"search", "buy", "pay"}\n'
            + "    tools = [schema(name) for name in names]\n"
            + "    return client.chat.completions.create(messages=history, tools=tools)\n",
            finds=1,
        ),
        Case(
            "tools found at run time before those that stay",
            'TOOLS = [{"name": "search"}, {"name": "buy"}]\n\n'
            + "async def ask(client, session, history):\n"
            + "    tools = await session.list_tools() + TOOLS\n"
            + "    return client.chat.completions.create(messages=history, tools=tools)\n",
            finds=1,
        ),
        Case(
            "those that stay first",
            'TOOLS = [{"name": "search"}, {"name": "buy"}]\n\n'
            + "async def ask(client, session, history):\n"
            + "    tools = TOOLS + await session.list_tools()\n"
            + "    return client.chat.completions.create(messages=history, tools=tools)\n",
        ),
        Case(
            "sorted by name",
            "def ask(client, history, schema):\n"
            + '    names = {"search", "buy", "pay"}\n'
            + "    tools = [schema(name) for name in sorted(names)]\n"
            + "    return client.chat.completions.create(messages=history, tools=tools)\n",
        ),
        Case(
            "as written, though not alphabetical",
            'TOOLS = [{"name": "search"}, {"name": "buy"}]\n\n'
            + "def ask(client, history):\n"
            + "    return client.chat.completions.create(messages=history, tools=TOOLS)\n",
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding where the order of the tools is not fixed."""
        tools = request.tools
        if tools is not None and tools.verdict.kind in (Kind.SET, Kind.LISTING, Kind.SHUFFLED):
            yield self.finding_at(
                tools.location,
                "the tools come in another order in every process; what follows is read again",
                "sort them by name, or keep the order in which they were written",
                tools,
            )
        for habit in request.habits:
            if habit.kind is HabitKind.FOUND_TOOLS_FIRST:
                yield self.finding_at(
                    habit.location,
                    f"`{habit.name}` is found at run time and stands before tools that stay",
                    "list the tools that stay first",
                    habit.about,
                )
