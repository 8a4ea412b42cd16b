"""The rule SF508."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule


class ExplicitWithoutBreakpoint(Rule):
    """`prompt_cache_options` asks for explicit caching, and no breakpoint is set.

    Why: in this mode only breakpoints are cached. Without one caching is turned off.

    Fix: set `prompt_cache_breakpoint` on the last content block that stays, or leave the mode out.
    """

    code = "SF508"
    name = "explicit-without-breakpoint"
    cases = (
        Case(
            "no breakpoint anywhere",
            "def ask(client, messages):\n"
            + "    return client.responses.create(input=messages,\n"
            + '        prompt_cache_options={"mode": "explicit"})\n',
            finds=1,
        ),
        Case(
            "a breakpoint",
            'BLOCK = {"type": "input_text", "text": "You are terse.",\n'
            + '    "prompt_cache_breakpoint": {"mode": "explicit"}}\n\n'
            + "def ask(client, question):\n"
            + "    return client.responses.create(\n"
            + '        input=[{"role": "developer", "content": [BLOCK]}, question],\n'
            + '        prompt_cache_options={"mode": "explicit"})\n',
        ),
        Case(
            "implicit caching",
            "def ask(client, messages):\n"
            + "    return client.responses.create(input=messages,\n"
            + '        prompt_cache_options={"mode": "implicit"})\n',
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding where caching is limited to breakpoints and there is none."""
        if request.explicit is not None:
            yield self.finding_at(
                request.explicit,
                "explicit caching without a breakpoint turns caching off",
                "set `prompt_cache_breakpoint` on the last content block that stays",
            )
