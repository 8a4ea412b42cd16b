"""What the names of an owner and of its part say of an attribute or item: `row["question"]`.

Knows the words that people give to records and to what they hold. Knows no syntax trees.
"""

from __future__ import annotations

import re

from stemfirst.tiers import Tier

from stemfirst_lint import naming
from stemfirst_lint.patterns import pattern

_MEMBERS = frozenset(
    {"content", "text", "answer", "response", "question", "completion", "message", "query"}
)
_KEPT_OWNERS = pattern(
    r"(skill|tool|template|prompt|agent|config|section|part|block|example|role|persona|settings?|"
    r"schema|rule|spec|instruction|node|preset|style|guide)s?$",
    re.IGNORECASE,
)


def member_tier(owner: str | None, name: str) -> Tier | None:
    """Return the tier that an attribute's or item's name speaks for if its owner says nothing.

    Args:
        owner: the last name of what it belongs to.
        name: its own.
    """
    found = naming.data_tier(name)
    if found is None and name in _MEMBERS and owner and not _KEPT_OWNERS.search(owner):
        return Tier.REQUEST
    return found


_RECORDS = frozenset(
    {"row", "sample", "item", "record", "inputs", "request", "entry", "doc", "instance", "point",
     "batch", "turn", "msg", "message", "case", "test_case", "datum", "datapoint", "data_point",
     "problem", "task", "example", "qa", "paper", "article", "candidate"}
)  # fmt: skip


_RECORD_KEYS = frozenset(
    {"prompt", "instruction", "input", "output", "target", "title", "description", "choices",
     "options", "label", "story", "value", "name", "id"}
)  # fmt: skip


def record_tier(owner: str | None, key: str) -> Tier | None:
    """Return the tier that an item or attribute of a record speaks for: `item["prompt"]`."""
    if not is_record(owner):
        return None
    return Tier.REQUEST if key in _RECORD_KEYS else naming.parameter_tier(key, None)


def is_record(name: str | None) -> bool:
    """Return True for a name that says one record of many: what its items hold is data."""
    return name in _RECORDS
