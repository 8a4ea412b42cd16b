"""The rule SF507."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule


class ToggledParameter(Rule):
    """Thinking or the choice of tools changes between the rounds of one loop.

    Why: Anthropic's cache of the messages is kept by these parameters, too. A last round without
    tools, or one round without thinking, reads the whole conversation again and writes it anew.

    Fix: keep the parameter; say in the newest message that no tool is to be used.
    """

    code = "SF507"
    name = "toggled-parameter"
    cases = (
        Case(
            "no tools in the last round",
            "def work(client, messages, tools, most):\n"
            + "    for step in range(most):\n"
            + "        client.messages.create(messages=messages, tools=tools,\n"
            + '            tool_choice={"type": "none"} if step == most else {"type": "auto"})\n',
            finds=1,
        ),
        Case(
            "the same in every round",
            "def work(client, messages, tools, most):\n"
            + "    for step in range(most):\n"
            + "        client.messages.create(messages=messages, tools=tools,\n"
            + '            tool_choice={"type": "auto"})\n',
        ),
        Case(
            "chosen once, outside a loop",
            "def work(client, messages, tools, is_free):\n"
            + "    client.messages.create(messages=messages, tools=tools,\n"
            + '        tool_choice={"type": "auto"} if is_free else {"type": "any"})\n',
        ),
        Case(
            "a client whose cache does not depend on it",
            "def work(client, messages, tools, most):\n"
            + "    for step in range(most):\n"
            + "        client.chat.completions.create(messages=messages, tools=tools,\n"
            + '            tool_choice="none" if step == most - 1 else "auto")\n',
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each parameter that changes inside a loop."""
        for toggle in request.toggles:
            yield self.finding_at(
                toggle.location,
                f"`{toggle.name}` changes between the rounds of this loop; the messages are read"
                " again",
                "keep it, and say in the newest message what is wanted",
            )
