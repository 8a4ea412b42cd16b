"""The rule SF103."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Site
from stemfirst_lint.rules.rule import (
    Case,
    Limits,
    Rule,
    forfeits,
    precedes_conversation,
    stable_in_request,
)

_HEAD = "import random\nimport uuid\n\n"
_LONG = "Answer politely and never promise what the policy does not grant. " * 16


class NonceInPrefix(Rule):
    """A random value stands before text that stays, so no two calls share what follows.

    Why: a uuid or random number is new in every call, and a cached prefix ends where the first
    token differs. Nothing behind it can ever be reused.

    Fix: leave it out of the prompt: send ids as metadata or headers. If the model must see it,
    move it behind the text that stays (`stemfirst fix` does, where the text allows it). A random
    choice that is meant belongs at the end, or gets a seed.
    """

    code = "SF103"
    name = "nonce-in-prefix"
    cases = (
        Case(
            "a request id before instructions",
            _HEAD
            + "def ask(client, question):\n"
            + '    system = f"Request {uuid.uuid4()}\\n'
            + _LONG
            + '"\n'
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": system},\n'
            + '        {"role": "user", "content": question}])\n',
            finds=1,
        ),
        Case(
            "a random name through a local variable",
            _HEAD
            + "def ask(client, history):\n"
            + '    name = random.choice(["Ada", "Alan"])\n'
            + '    system = f"You are {name}."\n'
            + "    return client.chat.completions.create(\n"
            + '        messages=[{"role": "system", "content": system}, *history])\n',
            finds=1,
        ),
        Case(
            "a generator with a seed",
            _HEAD
            + "def ask(client, history):\n"
            + "    dice = random.Random(7)\n"
            + '    system = f"Roll {dice.randint(1, 6)}. '
            + _LONG
            + '"\n'
            + "    return client.chat.completions.create(\n"
            + '        messages=[{"role": "system", "content": system}, *history])\n',
        ),
        Case(
            "one id a process",
            _HEAD
            + "RUN = uuid.uuid4().hex\n\n"
            + "def ask(client, history):\n"
            + '    system = f"Run {RUN}. '
            + _LONG
            + '"\n'
            + "    return client.chat.completions.create(\n"
            + '        messages=[{"role": "system", "content": system}, *history])\n',
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each random value that forfeits enough."""
        if site.follows_history:
            return
        for hole in site.template.holes:
            if hole.verdict.kind is not Kind.RANDOM:
                continue
            texts = stable_in_request(site, hole, limits)
            is_always = precedes_conversation(site)
            if not is_always and limits.counter.is_surely_below(texts, limits.min_gain_tokens):
                continue
            count = limits.counter.count(*texts)
            if is_always or count.tokens >= limits.min_gain_tokens:
                yield self.finding(
                    site,
                    hole,
                    f"`{hole.name}` is random and new in every call" + forfeits(count, site),
                    count,
                )
