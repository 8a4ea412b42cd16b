"""The rule SF107."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits

_LONG = "Answer politely and never promise what the policy does not grant. " * 16


class RetrievalInPrefix(Rule):
    """Text that was looked up for one request stands in the system message.

    Why: the system message comes first. What was looked up differs in every request, so all that
    stands behind it in the system message, the tools and the conversation are read again.

    Fix: send it in the newest user message, in a tag of its own, and store it with that turn; or
    offer a tool that looks it up.
    """

    code = "SF107"
    name = "retrieval-in-prefix"
    cases = (
        Case(
            "documents in the system message, before the history",
            "def ask(client, store, history, question):\n"
            + "    found = store.similarity_search(question)\n"
            + '    system = f"You are terse. {found}"\n'
            + "    return client.chat.completions.create(\n"
            + '        messages=[{"role": "system", "content": system}, *history])\n',
            finds=1,
        ),
        Case(
            "documents before the instructions",
            "def ask(client, store, question):\n"
            + "    found = store.retrieve(question)\n"
            + '    system = f"{found}\\n'
            + _LONG
            + '"\n'
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": system},\n'
            + '        {"role": "user", "content": question}])\n',
            finds=1,
        ),
        Case(
            "documents in the user's message",
            "def ask(client, store, history, question):\n"
            + "    found = store.similarity_search(question)\n"
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": "You are terse."}, *history,\n'
            + '        {"role": "user", "content": f"{found} {question}"}])\n',
        ),
        Case(
            "documents at the end of a system message that little follows",
            "def ask(client, store, question):\n"
            + "    found = store.similarity_search(question)\n"
            + '    system = f"'
            + _LONG
            + '{found}"\n'
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": system},\n'
            + '        {"role": "user", "content": question}])\n',
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each looked-up value in a system message that forfeits enough."""
        if site.role != "system":
            return
        for hole, count in self.holes_of(site, limits, (Kind.RETRIEVAL,), always=True):
            message = f"`{hole.name}` is looked up for each request" + forfeits(count, site)
            yield self.finding(site, hole, message, count)
