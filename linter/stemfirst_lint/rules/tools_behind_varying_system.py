"""The rule SF703."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst.tiers import Tier

from stemfirst_lint.model import Finding, Kind, Resolution, Severity, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, has_tools_behind, stable_in_request

_ALWAYS = (
    Kind.CLOCK,
    Kind.RANDOM,
    Kind.SET,
    Kind.LISTING,
    Kind.SHUFFLED,
    Kind.COMPLETION,
    Kind.COUNTER,
    Kind.IDENTITY,
    Kind.ENVIRONMENT,
    Kind.RETRIEVAL,
)
"""Kinds whose own rules speak before tools whatever the count."""
_BEHIND = (
    "{{ messages[0].content }}{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
    "{% for m in messages[1:] %}{{ m.content }}{% endfor %}"
)
_BEFORE = (
    "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
    "{% for m in messages %}{{ m.content }}{% endfor %}"
)
_ASK = (
    "def ask(client, tools, document, question):\n"
    "    return client.chat.completions.create(tools=tools, messages=[\n"
    '        {"role": "system", "content": f"You are terse. You know this: {document}"},\n'
    '        {"role": "user", "content": question}])\n'
)


class ToolsBehindVaryingSystem(Rule):
    """The target renders tools behind a system message that varies.

    Why: most chat templates of open-weights models put the tools behind the system message. Data at
    its end, where it is harmless with other providers, costs all tool definitions in every call.
    How long they are is not in the source here; where it is, SF301 counts them.

    Fix: put the data into the newest user message.

    Judged where `--model` names the folder of a model, by its chat template.
    """

    code = "SF703"
    name = "tools-behind-varying-system"
    severity = Severity.INFO
    cases = (
        Case("tools behind the system message", _ASK, finds=1, chat_template=_BEHIND),
        Case("tools before it", _ASK, chat_template=_BEFORE),
        Case("a target of which nothing is known", _ASK),
        Case(
            "a system message that stays",
            _ASK.replace(" You know this: {document}", ""),
            chat_template=_BEHIND,
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding where tools of unknown length are forfeited and no other rule says so."""
        counter = limits.counter
        if (
            not has_tools_behind(site)
            or site.following.tools is not None
            or site.follows_history
            or counter.model is None
            or counter.hosted is not None
        ):
            return
        for hole in site.template.holes:
            verdict = hole.verdict
            if verdict.tier is None or verdict.tier < Tier.TENANT:
                continue
            if verdict.kind in _ALWAYS or verdict.resolution is Resolution.DAY:
                return
            count = counter.count(*stable_in_request(site, hole, limits))
            if count.tokens < limits.min_gain_tokens:
                yield self.finding_at(
                    hole.location,
                    f"`{hole.name}` varies, and this model's chat template puts the tools behind"
                    " it; they are read again",
                    "put it into the newest user message",
                    site=site,
                    count=count,
                )
            return
