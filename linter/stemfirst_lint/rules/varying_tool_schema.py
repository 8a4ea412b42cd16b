"""The rule SF108."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Request, Resolution
from stemfirst_lint.rules.rule import Case, Limits, Rule


class VaryingToolSchema(Rule):
    """A clock or random value stands in the definition of a tool.

    Why: tool definitions are rendered before or just behind the system message. One digit that
    moves in them and every call reads the rest of the tools and the whole conversation again.

    Fix: take it out of the definition: the tool can return it, or the newest user message tell it.
    """

    code = "SF108"
    name = "varying-tool-schema"
    cases = (
        Case(
            "a time in a description",
            "import time\n\n"
            + "def ask(client, history):\n"
            + '    tools = [{"type": "function", "function": {"name": "search",\n'
            + '        "description": f"Index of {time.time()}"}}]\n'
            + "    return client.chat.completions.create(messages=history, tools=tools)\n",
            finds=1,
        ),
        Case(
            "a constant description",
            "def ask(client, history):\n"
            + '    tools = [{"type": "function", "function": {"name": "search",\n'
            + '        "description": "Looks things up"}}]\n'
            + "    return client.chat.completions.create(messages=history, tools=tools)\n",
        ),
        Case(
            "a time in the result of a tool",
            "import time\n\n"
            + "def ask(client, history):\n"
            + '    history.append({"role": "tool", "content": f"It is {time.time()}"})\n'
            + "    return client.chat.completions.create(messages=history, tools=[])\n",
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding where the tools' text moves."""
        tools = request.tools
        if tools is None or tools.verdict.kind not in (Kind.CLOCK, Kind.RANDOM):
            return
        if tools.verdict.resolution is Resolution.DAY:
            return
        what = "a clock" if tools.verdict.kind is Kind.CLOCK else "a random value"
        yield self.finding_at(
            tools.location,
            f"{what} stands in the tool definitions; what follows it is read again in every call",
            "take it out of the definitions",
            tools,
        )
