"""The rule SF107."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst.tiers import Tier

from stemfirst_lint.model import Finding, Hole, Kind, Site
from stemfirst_lint.rules.rule import (
    Case,
    Limits,
    Rule,
    forfeits,
    stable_behind,
    stable_in_request,
)

_LONG = "Answer politely and never promise what the policy does not grant. " * 16


class RetrievalInPrefix(Rule):
    """Text that was looked up for one request, or came with it, stands in the system message.

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
            "the question in the system message, before the conversation",
            "def ask(client, history, question):\n"
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": f"You are terse. Asked: {question}"},\n'
            + "        *history])\n",
            finds=1,
        ),
        Case(
            "the question in the system message, before messages of which nothing is known",
            "def ask(client, extra, question):\n"
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": f"You are terse. Asked: {question}"},\n'
            + "        *extra])\n",
        ),
        Case(
            "the task in the system message of a loop that it opens",
            "def work(client, task):\n"
            + '    messages = [{"role": "system", "content": f"You are terse. Task: {task}"}]\n'
            + "    while True:\n"
            + "        answer = client.chat.completions.create(messages=messages)\n"
            + '        messages.append({"role": "assistant", "content": answer})\n',
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
        """Yield a finding for looked-up values, and for data before a conversation."""
        if site.role != "system":
            return
        is_found = False
        for hole, count in self.holes_of(site, limits, (Kind.RETRIEVAL,), always=True):
            is_found = True
            message = f"`{hole.name}` is looked up for each request" + forfeits(count, site)
            yield self.finding(site, hole, message, count)
        if is_found or site.follows_history or not site.following.has_conversation:
            return
        data = next((one for one in site.template.holes if _is_data(one)), None)
        if data is None:
            return
        own = limits.counter.count(*stable_behind(site, data))
        if own.tokens >= limits.min_gain_tokens:
            return  # SF301 speaks of it
        count = limits.counter.count(*stable_in_request(site, data, limits))
        message = f"`{data.name}` comes with each request" + forfeits(count, site)
        yield self.finding(site, data, message, count)


def _is_data(hole: Hole) -> bool:
    kinds = (Kind.PARAMETER, Kind.NAMED, Kind.CALL_ARGUMENT)
    is_kept = "summary" in hole.name  # it moves only when a conversation is summed up again
    return hole.verdict.tier is Tier.REQUEST and hole.verdict.kind in kinds and not is_kept
