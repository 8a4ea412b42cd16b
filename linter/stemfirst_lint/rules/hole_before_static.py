"""The rule SF301."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst.tiers import Tier

from stemfirst_lint.model import Finding, Hole, Kind, Site
from stemfirst_lint.rules.rule import (
    Case,
    Limits,
    Rule,
    stable_in_request,
)

_LONG = "Answer politely and never promise what the policy does not grant. " * 16
_SEND = (
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "user", "content": text}])\n'
)
_OWN_RULES = (
    Kind.CLOCK,
    Kind.RANDOM,
    Kind.SET,
    Kind.LISTING,
    Kind.SHUFFLED,
    Kind.COMPLETION,
    Kind.COUNTER,
    Kind.IDENTITY,
    Kind.ENVIRONMENT,
)
"""Kinds that another rule reports, with another remedy."""


class HoleBeforeStatic(Rule):
    """Data of one request or one user stands before text that stays.

    Why: a cached prefix ends at the first token that differs. Instructions behind the data are
    read again in every call, though they never change.

    Fix: put what stays first and the data behind it; `stemfirst fix` does, where whole blocks
    can move and no word such as "above" ties them to their place.
    """

    code = "SF301"
    name = "hole-before-static"
    cases = (
        Case(
            "a document before the instructions",
            "def ask(client, document):\n"
            + '    text = f"Document: {document}\\n\\n'
            + _LONG
            + '"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "a `.format` template with the question first",
            f'PROMPT = "Question: {{question}}\\n\\n{_LONG}"\n\n'
            + "def ask(client, question):\n"
            + "    text = PROMPT.format(question=question)\n"
            + _SEND,
            finds=1,
        ),
        Case(
            "a sum",
            "def ask(client, query):\n"
            + '    text = "Query: " + query + "\\n\\n'
            + _LONG
            + '"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "data at the end of a message that long constant messages follow",
            "def ask(client, document, question):\n"
            + "    return client.chat.completions.create(messages=[\n"
            + '        {"role": "system", "content": f"You know this: {document}"},\n'
            + f'        {{"role": "user", "content": "{_LONG}"}}])\n',
            finds=1,
        ),
        Case(
            "the data at the end",
            "def ask(client, document):\n"
            + '    text = f"'
            + _LONG
            + '\\n\\nDocument: {document}"\n'
            + _SEND,
        ),
        Case(
            "a constant in the hole",
            'LANGUAGE = "German"\n\n'
            + "def ask(client):\n"
            + '    text = f"Write {LANGUAGE}. '
            + _LONG
            + '"\n'
            + _SEND,
        ),
        Case(
            "files of a folder that were put into order",
            "from pathlib import Path\n\n"
            + "def ask(client):\n"
            + "    files = list(Path('skills').glob('*.md'))\n"
            + "    files.sort()\n"
            + "    document = ' '.join(file.read_text() for file in files)\n"
            + '    text = f"Skills: {document}\\n'
            + _LONG
            + '"\n'
            + _SEND,
        ),
        Case(
            "one file of a sorted folder after the other",
            "from pathlib import Path\n\n"
            + "def ask(client, folder):\n"
            + "    for file in sorted(Path(folder).glob('*.md')):\n"
            + '        text = f"Judge {file.read_text()}\\n'
            + _LONG
            + '"\n'
            + "        client.chat.completions.create(\n"
            + '            messages=[{"role": "user", "content": text}])\n',
            finds=1,
        ),
        Case(
            "a setting in the hole",
            "import os\n\n"
            + "def ask(client):\n"
            + "    text = f\"You serve {os.environ['SHOP']}. "
            + _LONG
            + '"\n'
            + _SEND,
        ),
        Case(
            "a parameter that every caller gives a constant",
            "def ask(client, topic):\n"
            + '    text = f"You know all about {topic}. '
            + _LONG
            + '"\n'
            + _SEND
            + '\ndef both(client):\n    ask(client, "tea")\n    ask(client, "coffee")\n',
        ),
        Case(
            "nothing is known about the hole",
            "def ask(client, x):\n" + '    text = f"{x}. ' + _LONG + '"\n' + _SEND,
        ),
        Case(
            "behind a growing history order cannot matter",
            "def ask(client, history, question):\n"
            + '    text = f"Question: {question}. '
            + _LONG
            + '"\n'
            + "    return client.chat.completions.create(\n"
            + '        messages=[*history, {"role": "user", "content": text}])\n',
        ),
        Case(
            "too little to gain",
            "def ask(client, question):\n"
            + '    text = f"Question: {question}\\nAnswer in one word."\n'
            + _SEND,
        ),
        Case(
            "HTML is no prompt",
            "def page(title):\n" + '    return f"<html><h1>{title}</h1>' + _LONG + '</html>"\n',
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield at most one finding: at the liveliest hole before enough stable text."""
        if site.follows_history:
            return
        hole = _liveliest(site, limits)
        if hole is None:
            return
        count = limits.counter.count(*stable_in_request(site, hole, limits))
        assert hole.verdict.tier is not None
        how = {
            Tier.TENANT: "differs between users",
            Tier.SESSION: "differs between conversations",
        }.get(hole.verdict.tier, "differs in every request")
        yield self.finding(
            site, hole, f"`{hole.name}` {how} and stands before {count} stable tokens", count
        )


def _liveliest(site: Site, limits: Limits) -> Hole | None:
    """The first of the holes that vary most often, of those that stand before enough text."""
    best: Hole | None = None
    for hole in site.template.holes:
        if not _varies(hole, site) or (best is not None and _tier(hole) <= _tier(best)):
            continue
        texts = stable_in_request(site, hole, limits)
        if limits.counter.is_surely_below(texts, limits.min_gain_tokens):
            break
        if limits.counter.count(*texts).tokens < limits.min_gain_tokens:
            break
        best = hole
    return best


def _tier(hole: Hole) -> Tier:
    return hole.verdict.tier or Tier.STATIC


def _varies(hole: Hole, site: Site) -> bool:
    if hole.verdict.kind is Kind.RETRIEVAL and site.role == "system":
        return False
    tier = hole.verdict.tier
    return tier is not None and tier > Tier.STATIC and hole.verdict.kind not in _OWN_RULES
