"""The rule SF204."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Severity, Site
from stemfirst_lint.rules.rule import (
    Case,
    Limits,
    Rule,
    forfeits,
    precedes_conversation,
    stable_in_request,
)

_LONG = "Answer politely and never promise what the policy does not grant. " * 16
_ASK = (
    "def ask(client, http, question):\n"
    "    %s\n"
    '    system = f"The catalogue: {shown}. ' + _LONG + '"\n'
    "    return client.chat.completions.create(messages=[\n"
    '        {"role": "system", "content": system},\n'
    '        {"role": "user", "content": question}])\n'
)


class JsonOrder(Rule):
    """An object that came from another service is written as JSON in the order in which it came.

    Why: many services promise no order of the keys. The same object comes in another order after
    their restart or from another replica, and all behind the first swap misses.

    Fix: `json.dumps(..., sort_keys=True)`. Not for JSON schemas: the order of their properties can
    steer what a model writes.

    Off unless `select` or `extend-select` names the code in full: most services keep their order.
    """

    code = "SF204"
    name = "json-order"
    severity = Severity.INFO
    is_opt_in = True
    cases = (
        Case(
            "an answer of another service",
            "import json\n\n"
            + _ASK % 'shown = json.dumps(http.get("/catalogue").json(), indent=2)',
            finds=1,
        ),
        Case(
            "its text, read",
            "import json\n\n"
            + _ASK % 'shown = json.dumps(json.loads(http.get("/catalogue").text))',
            finds=1,
        ),
        Case(
            "sorted keys",
            "import json\n\n"
            + _ASK % 'shown = json.dumps(http.get("/catalogue").json(), sort_keys=True)',
        ),
        Case(
            "a dict that is written out keeps its order",
            "import json\n\n" + _ASK % 'shown = json.dumps({"tea": 2, "coffee": 3})',
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each such object before enough stable text."""
        if site.follows_history:
            return
        for hole in site.template.holes:
            if hole.unsorted_json is None:
                continue
            count = limits.counter.count(*stable_in_request(site, hole, limits))
            if count.tokens >= limits.min_gain_tokens or precedes_conversation(site):
                yield self.finding_at(
                    hole.location,
                    f"`{hole.name}` keeps the order of another service" + forfeits(count, site),
                    "write it with `sort_keys=True`",
                    site=site,
                    count=count,
                )
