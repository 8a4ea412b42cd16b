"""The rule SF501."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule

_MARK = '"cache_control": {"type": "ephemeral"}'
_LIMIT = 4
"""Source: Anthropic's documentation of prompt caching, November 2026."""


class TooManyMarkers(Rule):
    """A request holds more than four `cache_control` markers.

    Why: the API takes four at most and answers with an error.

    Fix: keep one behind the tools, one behind the system message and one or two in the messages.
    """

    code = "SF501"
    name = "too-many-markers"
    cases = (
        Case(
            "a marker on each of five blocks",
            "def ask(client):\n"
            + "    return client.messages.create(messages=[], system=[\n"
            + "".join(f'        {{"type": "text", "text": "{n}", {_MARK}}},\n' for n in "abcde")
            + "    ])\n",
            finds=1,
        ),
        Case(
            "a marker that has a name, on each of five blocks",
            'MARK = {"type": "ephemeral"}\n\n'
            + "def ask(client):\n"
            + "    return client.messages.create(messages=[], system=[\n"
            + "".join(
                f'        {{"type": "text", "text": "{n}", "cache_control": MARK}},\n'
                for n in "abcde"
            )
            + "    ])\n",
            finds=1,
        ),
        Case(
            "four are allowed",
            "def ask(client):\n"
            + "    return client.messages.create(messages=[], system=[\n"
            + "".join(f'        {{"type": "text", "text": "{n}", {_MARK}}},\n' for n in "abcd")
            + "    ])\n",
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding at the fifth marker."""
        if len(request.markers) > _LIMIT:
            yield self.finding_at(
                request.markers[_LIMIT].location,
                f"{len(request.markers)} `cache_control` markers, and {_LIMIT} are allowed",
                "leave out the markers between which nothing changes",
            )
