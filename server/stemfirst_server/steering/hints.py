"""What a request says of its own weight: when it may run, and how long its prompt will be wanted.

Hints are bounded and read leniently: what makes no sense is no hint, and never an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

MOST_PRIORITY = 10
"""Priorities beyond count as this: at most a second of waiting, so nobody can starve others."""

LONGEST_TTL_S = 3600.0


@dataclass(frozen=True, slots=True)
class Hints:
    """Wishes of one request.

    Attributes:
        priority: the lower, the sooner, as vLLM counts; 0 is usual.
        ttl_s: seconds for which its prompt shall stay on the device; 0: no wish.
    """

    priority: int = 0
    ttl_s: float = 0.0


def hints_of(priority: object, field: object) -> Hints:
    """Return the hints of a body.

    Args:
        priority: its field of this name.
        field: its field `stemfirst`, whose `ttl_s` counts.
    """
    ttl_s = field.get("ttl_s") if isinstance(field, Mapping) else None
    bounded = 0
    if type(priority) is int:
        bounded = max(-MOST_PRIORITY, min(MOST_PRIORITY, priority))
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float):
        return Hints(bounded)
    if not math.isfinite(ttl_s) or ttl_s <= 0:
        return Hints(bounded)
    return Hints(bounded, min(float(ttl_s), LONGEST_TTL_S))
