"""The rule SF104."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits

_LONG = "Answer politely and never promise what the policy does not grant. " * 16
_SEND = (
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "user", "content": text}])\n'
)


class IdentityInPrefix(Rule):
    """The id or name of a user, session or request stands before text that all of them share.

    Why: users who send the same instructions and tools could share their prefix. A name in
    front of them gives each user, session or request a copy of its own, written and paid for
    anew.

    Fix: leave ids out, or send them as metadata. Put a name behind what is shared: at the end
    of the system message, or into a block of the first user message.
    """

    code = "SF104"
    name = "identity-in-prefix"
    cases = (
        Case(
            "a user's name before the instructions",
            "def ask(client, user_name, question):\n"
            + '    system = f"You help {user_name}.\\n'
            + _LONG
            + '"\n'
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": system},\n'
            + '        {"role": "user", "content": question}])\n',
            finds=1,
        ),
        Case(
            "a session's id first",
            "def ask(client, session_id):\n"
            + '    text = f"Session {session_id}\\n'
            + _LONG
            + '"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "a name behind what is shared",
            "def ask(client, user_name):\n"
            + '    text = f"'
            + _LONG
            + '\\nYou help {user_name}."\n'
            + _SEND,
        ),
        Case(
            "the one user of a deployment",
            "import os\n\nUSER_NAME = os.environ['OWNER']\n\n"
            + "def ask(client):\n"
            + '    text = f"You help {USER_NAME}.\\n'
            + _LONG
            + '"\n'
            + _SEND,
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each such hole that forfeits enough."""
        for hole, count in self.holes_of(site, limits, (Kind.IDENTITY,), always=False):
            yield self.finding(
                site,
                hole,
                f"`{hole.name}` differs between users, sessions or requests"
                + forfeits(count, site),
                count,
            )
