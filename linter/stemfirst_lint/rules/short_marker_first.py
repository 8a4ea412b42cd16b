"""The rule SF505."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule


class ShortMarkerFirst(Rule):
    """A `cache_control` marker of one hour stands behind one of five minutes.

    Why: the API demands that longer times come first and answers with an error.

    Fix: give the earlier marker one hour too, or the later one five minutes.
    """

    code = "SF505"
    name = "short-marker-first"
    cases = (
        Case(
            "five minutes, then an hour",
            "def ask(client):\n"
            + "    return client.messages.create(messages=[], system=[\n"
            + '        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},\n'
            + '        {"type": "text", "text": "b",\n'
            + '         "cache_control": {"type": "ephemeral", "ttl": "1h"}}])\n',
            finds=1,
        ),
        Case(
            "an hour, then five minutes",
            "def ask(client):\n"
            + "    return client.messages.create(messages=[], system=[\n"
            + '        {"type": "text", "text": "a",\n'
            + '         "cache_control": {"type": "ephemeral", "ttl": "1h"}},\n'
            + '        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}])\n',
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding at the first long marker behind a short one."""
        seen_short = False
        for marker in request.markers:
            if marker.ttl == "1h" and seen_short:
                yield self.finding_at(
                    marker.location,
                    "a marker of one hour stands behind one of five minutes",
                    "put markers of one hour first",
                )
                return
            seen_short = seen_short or marker.ttl == "5m"
