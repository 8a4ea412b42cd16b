"""Where a cache breakpoint pays, and what each provider's cache takes.

Knows providers' rules for marks: how many, which lifetimes, how far a lookup goes back; from
which size on they pay is `stemfirst.providers`'s. Does not know the shape of any request.

A breakpoint pays at the end of each tier that a later request may share.

Sources, read 2026-11-23: openai 3.54.0's and anthropic 2.12.0's types, botocore 1.44.5's model of
Converse, OpenAI's, Anthropic's and AWS's guides to prompt caching.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from stemfirst.errors import PromptError
from stemfirst.providers import bare as bare
from stemfirst.providers import claude_minimum, has_breakpoints
from stemfirst.rendered import Rendered
from stemfirst.tiers import Tier

MARKED_TIERS = (Tier.STATIC, Tier.TENANT, Tier.SESSION)
"""Tiers whose text a later request may share."""

FEWEST_BYTES_PER_TOKEN = 2
"""A text of fewer bytes a token is not met in practice; used to tell what is surely too short."""

STRIDE_BLOCKS = 15
"""Blocks between the last two marks of a long session.

Source: Anthropic's guide, which advises a mark every 15 blocks, as a lookup goes back 20.
"""

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one provider's cache takes for one model.

    Attributes:
        name: whose cache it is, for messages.
        most_marks: breakpoints that a request may have; 0 where it takes none.
        ttls: lifetimes that may be asked for, the shortest first.
        min_tokens: shorter prefixes are not cached.
        lookback_blocks: content blocks that are searched back from a mark; None for all.
        tiers: tiers that get a mark of themselves.
        longest_first: a mark with a longer lifetime must not stand behind a shorter one.
    """

    name: str
    most_marks: int = 0
    ttls: tuple[str, ...] = ()
    min_tokens: int = 0
    lookback_blocks: int | None = None
    tiers: tuple[Tier, ...] = MARKED_TIERS
    longest_first: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """A block of a request in the order in which it is read, which may carry a mark."""

    tier: Tier
    block: Block
    home: list[Block]
    """The list that holds it."""
    size_bytes: int
    can_carry: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """A breakpoint behind a block; `ttl` is None where none was asked for."""

    placed: Placed
    ttl: str | None


NOWHERE = Limits("this API")

ANTHROPIC = Limits("Anthropic", 4, ("5m", "1h"), lookback_blocks=20, longest_first=True)
# Of the four that it writes, one is the implicit mark at the newest message's end, and with
# that the session is served.
OPENAI = Limits("OpenAI", 3, ("30m", "12h"), 1024, tiers=(Tier.STATIC, Tier.TENANT))
NOVA = Limits("Amazon Nova", 4, ("5m",), 1024)

CLAUDE_WITH_LATE_SYSTEM_TEXT = re.compile(r"opus-(4-8|5)|(sonnet|haiku)-5-5|(fable|mythos)-5-1")
"""Models that take `role: system` inside of the messages."""


@lru_cache(maxsize=256)
def claude_limits(model: str | None) -> Limits:
    """Return what Anthropic's cache takes for this model; without a model, no minimum."""
    return ANTHROPIC if model is None else replace(ANTHROPIC, min_tokens=claude_minimum(model))


@lru_cache(maxsize=256)
def openai_limits(model: str | None) -> Limits:
    """Return what OpenAI's cache takes for this model: breakpoints from GPT-5.6 on."""
    if has_breakpoints(model):
        return OPENAI
    return Limits(model or "an unnamed model")


def bedrock_limits(model: str | None) -> Limits:
    """Return what Converse takes for this model id or inference profile."""
    name = (model or "").lower()
    if "claude" in name:
        return replace(claude_limits(name), name=f"{model} on Bedrock")
    if "amazon.nova" in name:
        return NOVA
    return Limits(model or "an unnamed model")


def choose(
    placed: Sequence[Placed],
    limits: Limits,
    *,
    breakpoints: bool | None,
    ttl: str | Mapping[str, str] | None,
) -> list[Mark]:
    """Return the marks to set, in the order of the prompt.

    Raises:
        PromptError: marks or a lifetime were asked for that `limits` does not allow.
    """
    lifetimes = _lifetimes(limits, breakpoints, ttl)
    if breakpoints is False or not limits.most_marks:
        return []
    marks: dict[int, Tier] = {}
    for tier in limits.tiers:
        mine = [i for i, item in enumerate(placed) if item.tier is tier and item.can_carry]
        if mine:
            marks[mine[-1]] = tier
    if breakpoints is None:
        least = limits.min_tokens
        kept = {i: tier for i, tier in marks.items() if _size(placed[: i + 1]) >= least}
        if lifetimes and marks and not set(kept.values()) & set(lifetimes):
            asked = max(i for i, tier in marks.items() if tier in lifetimes or not kept)
            raise PromptError(
                f"{limits.name} caches from {least:,} tokens on, and this text has at most "
                f"{_size(placed[: asked + 1]):,.0f}: ttl={ttl!r} would keep nothing. Leave it "
                "away, or force the mark with breakpoints=True"
            )
        marks = kept
    if limits.lookback_blocks is not None:
        _bridge(placed, marks)
    chosen = sorted(marks)[-limits.most_marks :]
    return [Mark(placed[i], lifetimes.get(marks[i])) for i in chosen]


def _bridge(placed: Sequence[Placed], marks: dict[int, Tier]) -> None:
    """Add a mark in a long session, so that its last turn's mark is found however long it was."""
    last = max((i for i, tier in marks.items() if tier is Tier.SESSION), default=None)
    if last is None:
        return
    before = max((i for i in marks if i < last), default=-1)
    middle = last - STRIDE_BLOCKS
    while middle > before and not placed[middle].can_carry:
        middle -= 1
    if middle > before:
        marks[middle] = Tier.SESSION


def _size(placed: Sequence[Placed]) -> float:
    """Return the most tokens that these blocks can have."""
    return sum(item.size_bytes for item in placed) / FEWEST_BYTES_PER_TOKEN


def _lifetimes(
    limits: Limits, breakpoints: bool | None, ttl: str | Mapping[str, str] | None
) -> dict[Tier, str]:
    if breakpoints and not limits.most_marks:
        raise PromptError(
            f"{limits.name} takes no cache breakpoints: leave breakpoints away, or name a model "
            "that does"
        )
    if ttl is None:
        return {}
    if breakpoints is False:
        raise PromptError(f"ttl={ttl!r} belongs to a breakpoint; breakpoints=False forbids them")
    if not limits.ttls:
        raise PromptError(f"{limits.name} takes no lifetime for its cache, got ttl={ttl!r}")
    if not isinstance(ttl, str | Mapping):
        raise PromptError(
            f"ttl takes a lifetime ({' or '.join(limits.ttls)}) or one by tier, got {ttl!r}"
        )
    if isinstance(ttl, str):
        asked = dict.fromkeys(limits.tiers, ttl)
    else:
        asked = {_tier(label, limits): value for label, value in ttl.items()}
    for value in asked.values():
        if value not in limits.ttls:
            known = " or ".join(limits.ttls)
            raise PromptError(f"{limits.name} keeps a prefix for {known}, got ttl={value!r}")
    if limits.longest_first:
        ranks = [limits.ttls.index(asked.get(tier, limits.ttls[0])) for tier in limits.tiers]
        if ranks != sorted(ranks, reverse=True):
            raise PromptError(
                f"{limits.name} wants longer lifetimes before shorter ones, in the order "
                f"static, tenant, session; got ttl={dict(ttl) if not isinstance(ttl, str) else ttl}"
            )
    return asked


def _tier(label: str, limits: Limits) -> Tier:
    known = {tier.label: tier for tier in limits.tiers}
    if label not in known:
        raise PromptError(
            f"ttl names the tier {label!r}; breakpoints there stand behind {', '.join(known)}"
        )
    return known[label]


def shared_key(rendered: Rendered) -> str | None:
    """Return a name for what other requests may share, 32 hex characters; None for nothing.

    It is a hash of text that the same request carries, so it tells its reader nothing.
    """
    import xxhash

    shared = [item.text for item in rendered.segments if item.tier <= Tier.TENANT]
    if not shared:
        return None
    digest = xxhash.xxh3_128()
    for text in shared:
        digest.update(text.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()
