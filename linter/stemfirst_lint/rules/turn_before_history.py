"""The rule SF304."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst.tiers import Tier

from stemfirst_lint.model import Finding, Hole, Kind, Resolution, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits, stable_in_request

_LIVELY = (Kind.CLOCK, Kind.RANDOM, Kind.RETRIEVAL, Kind.PARAMETER, Kind.NAMED, Kind.CALL_ARGUMENT)


class TurnBeforeHistory(Rule):
    """A message with what belongs to the newest turn stands before the conversation so far.

    Why: a conversation only grows at its end, so all of it can be shared with the last call. A
    block in front of it that differs from turn to turn makes every turn read all of it again.

    Fix: put the block behind the history, into the newest user message, and store it with it.
    """

    code = "SF304"
    name = "turn-before-history"
    cases = (
        Case(
            "documents for this question before the history",
            "def ask(client, store, history, question):\n"
            + "    found = store.similarity_search(question)\n"
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": "You are terse."},\n'
            + '        {"role": "user", "content": f"Known: {found}"}, *history,\n'
            + '        {"role": "user", "content": question}])\n',
            finds=1,
        ),
        Case(
            "behind the history",
            "def ask(client, store, history, question):\n"
            + "    found = store.similarity_search(question)\n"
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": "You are terse."}, *history,\n'
            + '        {"role": "user", "content": f"Known: {found} {question}"}])\n',
        ),
        Case(
            "a constant before the history",
            "def ask(client, history, question):\n"
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "user", "content": "You are terse."}, *history,\n'
            + '        {"role": "user", "content": question}])\n',
        ),
        Case(
            "a task that is kept with the conversation",
            "def work(client, state):\n"
            + '    text = "Topic: {topic}".format(topic=state.topic)\n'
            + '    first = {"role": "user", "content": text}\n'
            + "    return client.chat.completions.create(messages=[first, *state.messages])\n",
        ),
        Case(
            "a task that opens a loop",
            "def work(client, task):\n"
            + '    messages = [{"role": "user", "content": f"Task: {task}"}]\n'
            + "    while True:\n"
            + "        answer = client.chat.completions.create(messages=messages)\n"
            + '        messages.append({"role": "assistant", "content": answer})\n',
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for the first such value in a message that a conversation follows."""
        if site.role != "user" or site.follows_history or not site.following.has_conversation:
            return
        hole = next((hole for hole in site.template.holes if _is_of_turn(hole)), None)
        if hole is not None:
            count = limits.counter.count(*stable_in_request(site, hole, limits))
            message = f"`{hole.name}` comes with each turn" + forfeits(count, site)
            yield self.finding(site, hole, message, count)


_KEPT_WITH_IT = ("state.", "self.")
"""What a value is read from that is kept as long as the conversation itself."""


def _is_of_turn(hole: Hole) -> bool:
    verdict = hole.verdict
    return (
        verdict.tier is not None
        and not (verdict.kind is Kind.NAMED and hole.source.startswith(_KEPT_WITH_IT))
        and verdict.tier >= Tier.REQUEST
        and verdict.kind in _LIVELY
        and verdict.resolution is not Resolution.DAY
    )
