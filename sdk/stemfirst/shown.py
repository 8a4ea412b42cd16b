"""What an earlier prompt shows of a miss: where the two part, and what that tells of the cause.

Knows two prompts as runs of text and the server's word on where one left its cache. Does not
know which earlier prompt to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stemfirst.causes import cause_of
from stemfirst.divergence import Divergence, Run, diverge, run_at
from stemfirst.earlier import MOST_TOKEN_BYTES
from stemfirst.losses import is_lossy
from stemfirst.missed import Missed, News
from stemfirst.tiers import Tier
from stemfirst.wire import MissPlace

CHANGED = "prompt_changed"
"""A server's reason that says no more than that it holds another beginning."""

NEWS_OF: dict[Tier | None, News] = {Tier.TENANT: News.TENANT, Tier.SESSION: News.CONVERSATION}
"""What is new where text of a tier was not seen before; of all others, the turn."""


def told_by(missed: Missed, before: Sequence[Run], after: Sequence[Run]) -> Missed | None:
    """Return a miss with what an earlier prompt shows of it; None where they part elsewhere."""
    found = diverge(before, after)
    if found is None:
        # Nothing changed: the model's own words may be cached in other tokens than their text has.
        return replace(missed, news=News.TURN) if missed.reason == CHANGED else None
    if not _is_at(found, missed.at):
        return None
    tier = found.run.tier if found.run else None
    if missed.reason == CHANGED and not is_lossy(found, before, after):
        news = NEWS_OF.get(tier, News.TURN) if tier is not None else News.TURN
        return replace(missed, difference=found, news=news)
    if missed.reason == CHANGED and _is_another_text(found, before):
        return replace(missed, difference=found, news=News.TURN)
    return replace(missed, difference=found, why=cause_of(found, after))


def _is_another_text(found: Divergence, before: Sequence[Run]) -> bool:
    """Whether two lines of source wrote the two texts under one name, so that none varies."""
    run = found.run
    if run is None or run.hole or run.origin is None or run.at[0] == "tools":
        return False
    old = run_at(found.at, found.char, before)
    is_source = run.tier is not None and run.tier <= Tier.TENANT
    return is_source and old is not None and old.origin not in (None, run.origin)


def _is_at(found: Divergence, place: MissPlace | None) -> bool:
    """Whether two prompts part where the server says that this one left its cache."""
    if place is None or place.path is None:
        return True
    is_near = place.byte is None or abs(found.byte - place.byte) <= MOST_TOKEN_BYTES
    return found.at == place.path and is_near
