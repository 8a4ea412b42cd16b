"""The rule SF302."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stemfirst.tiers import Tier

from stemfirst_lint.model import Finding, Hole, Severity, Site
from stemfirst_lint.patterns import pattern
from stemfirst_lint.rules.rule import Case, Limits, Rule, stable_in_request

_EXAMPLES = pattern(
    r"(?<![a-z])(few_?shots?|shots|examples?|demos|demonstrations|exemplars)(?![a-z])",
    re.IGNORECASE,
)
_SEND = (
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "user", "content": text}])\n'
)
_SHOWN = (
    'EXAMPLES = [("tea", "drink"), ("bread", "food")]\n\n'
    "def show(pairs):\n"
    '    return "\\n".join(f"{word}: {kind}" for word, kind in pairs)\n\n'
)


class ExamplesAfterHole(Rule):
    """Examples that stay the same stand behind data of one request.

    Why: few-shot examples are often the longest part of a prompt and never change. Behind the data
    they are read again in every call. How long they are is not in the source here, so SF301, which
    counts what it reports, says nothing.

    Fix: put the examples first and the data behind them.
    """

    code = "SF302"
    name = "examples-after-hole"
    severity = Severity.INFO
    cases = (
        Case(
            "the question before the examples",
            _SHOWN
            + "def ask(client, question):\n"
            + '    text = f"Question: {question}\\n\\nLike these:\\n{show(EXAMPLES)}"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "the examples first",
            _SHOWN
            + "def ask(client, question):\n"
            + '    text = f"Like these:\\n{show(EXAMPLES)}\\n\\nQuestion: {question}"\n'
            + _SEND,
        ),
        Case(
            "examples that are chosen for the question",
            "def ask(client, store, question):\n"
            + "    examples = store.similarity_search(question)\n"
            + '    text = f"Question: {question}\\n\\nLike these:\\n{examples}"\n'
            + _SEND,
        ),
        Case(
            "nothing is known about the examples",
            "def ask(client, question, examples):\n"
            + '    text = f"Question: {question}\\n\\nLike these:\\n{examples}"\n'
            + _SEND,
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding where such examples are all that is forfeited of note."""
        if site.follows_history:
            return
        first: Hole | None = None
        for hole in site.template.holes:
            tier = hole.verdict.tier
            if first is None:
                first = hole if tier is not None and tier >= Tier.TENANT else None
            elif (
                tier is Tier.STATIC and hole.constant_text is None and _EXAMPLES.search(hole.source)
            ):
                count = limits.counter.count(*stable_in_request(site, first, limits))
                if count.tokens < limits.min_gain_tokens:  # else SF301 speaks of it
                    yield self.finding_at(
                        hole.location,
                        f"`{hole.name}` stays and stands behind `{first.name}`, which varies",
                        f"put the examples before `{first.name}`",
                        site=site,
                        count=count,
                    )
                return
