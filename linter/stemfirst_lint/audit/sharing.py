"""Which prefixes were sent before, and what a provider's cache is expected to have kept.

Remembers links of prefixes with the time of their last use, in bounded maps. Does not know
texts, templates, or why two prompts differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stemfirst.providers import Mode

from stemfirst_lint.audit.bounded import RecentMap
from stemfirst_lint.audit.stream import Stream

REMEMBERED_LINKS = 262_144
"""Links kept at least, of 256 bytes each: 64 MiB of text that differs; at most twice that."""

REMEMBERED_WRITES = 65_536
MAX_MARKERS = 4
NEGLIGIBLE = 128
"""Tokens below which a shortfall is not worth a reason."""

_ENDINGS_LOOKED_UP = 20


class Shortfall(Enum):
    """Why a prefix that was sent before is not expected to be read from the cache."""

    EXPIRED = "expired"
    BELOW_MINIMUM = "below minimum"
    NO_MARKER = "no marker"
    MARKER_BEHIND_CHANGE = "marker behind a change"
    LOOKBACK = "lookback exceeded"
    SWITCHED_OFF = "switched off"


@dataclass(frozen=True, slots=True)
class Visit:
    """The use of a prefix by one request."""

    number: int
    at_s: float | None

    def is_live(self, at_s: float | None, ttl_s: int | None) -> bool:
        """Whether the prefix is kept for a request at this time; True where times are unknown."""
        if ttl_s is None or at_s is None or self.at_s is None:
            return True
        return at_s - self.at_s <= ttl_s


@dataclass(frozen=True, slots=True)
class Shared:
    """What a request shares with earlier ones.

    Attributes:
        tokens: the longest prefix sent before, whenever that was; to a chunk's resolution.
        link: index of the last link shared; None where nothing is.
        predecessor: number of the request that sent that prefix last.
        live_tokens: as `tokens`, among what the provider is expected to have kept.
        idle_s: seconds since the longest prefix was used; None where times are unknown.
    """

    tokens: float = 0.0
    link: int | None = None
    predecessor: int | None = None
    live_tokens: float = 0.0
    idle_s: float | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the provider's rules make of a request: tokens read, written, and what is missed.

    Attributes:
        written_tokens, written_1h_tokens: as in `stemfirst.usage`.
        missed_tokens: of the live or expired shared prefix, what is not read.
        shortfall: why; None where nothing is missed but a rounding.
    """

    cached_tokens: int = 0
    written_tokens: int = 0
    written_1h_tokens: int = 0
    missed_tokens: int = 0
    shortfall: Shortfall | None = None


class _Write:
    """A prefix that a provider stored because of a marker."""

    __slots__ = ("at_s", "is_read", "tokens", "ttl_s")

    def __init__(self, at_s: float | None, ttl_s: int, tokens: float) -> None:
        self.at_s = at_s
        self.ttl_s = ttl_s
        self.tokens = tokens
        self.is_read = False

    def is_live(self, at_s: float | None) -> bool:
        return at_s is None or self.at_s is None or at_s - self.at_s <= self.ttl_s


class Prefixes:
    """The prefixes sent so far."""

    def __init__(self) -> None:
        self._visits: RecentMap[int, Visit] = RecentMap(REMEMBERED_LINKS)
        self._writes: RecentMap[int, _Write] = RecentMap(
            REMEMBERED_WRITES, on_forget=self._forget_write
        )
        self._forgotten_unread = 0.0

    @property
    def has_forgotten(self) -> bool:
        """Whether the bound was reached, so that sharing may be underestimated."""
        return self._visits.has_forgotten

    @property
    def unread_tokens(self) -> float:
        """Tokens written by markers that no later request read."""
        rest = sum(write.tokens for write in self._writes.values() if not write.is_read)
        return self._forgotten_unread + rest

    def visit(self, stream: Stream, number: int) -> Shared:
        """Return what a request shares with earlier ones, and remember it."""
        at_s, ttl_s = stream.request.at_s, stream.ttl_s
        visit = Visit(number, at_s)
        shared: list[Visit] = []
        for link in stream.links:
            earlier = self._visits.get(link)
            if earlier is None:
                break
            shared.append(earlier)
        for link in stream.links:
            self._visits.put(link, visit)
        deepest = len(shared) - 1
        if deepest < 0 or not stream.tokens_of_link(deepest):
            return Shared()
        live = deepest
        while live >= 0 and not shared[live].is_live(at_s, ttl_s):
            live -= 1
        last = shared[deepest]
        return Shared(
            tokens=stream.tokens_of_link(deepest),
            link=deepest,
            predecessor=last.number,
            live_tokens=stream.tokens_of_link(live) if live >= 0 else 0.0,
            idle_s=at_s - last.at_s if at_s is not None and last.at_s is not None else None,
        )

    def expect(self, stream: Stream, shared: Shared, exact_tokens: float) -> Expected:
        """Return what the provider's rules make of a request, and remember what it writes.

        Args:
            stream: the request.
            shared: from `visit`.
            exact_tokens: the shared prefix to the character where that is known, else
                `shared.tokens`.
        """
        rules = stream.rules
        if rules.mode is Mode.PREFIX:
            live = shared.live_tokens
            if live >= shared.tokens:
                live = exact_tokens
            cached = rules.readable(live, stream.prompt_tokens)
            missed = rules.readable(exact_tokens, stream.prompt_tokens) - cached
            if missed >= NEGLIGIBLE:
                return Expected(cached, 0, 0, missed, Shortfall.EXPIRED)
            if not cached and exact_tokens >= NEGLIGIBLE:
                return Expected(0, 0, 0, int(exact_tokens), Shortfall.BELOW_MINIMUM)
            return Expected(cached)
        return self._expect_marked(stream, exact_tokens)

    def _expect_marked(self, stream: Stream, shared_tokens: float) -> Expected:
        rules, at_s = stream.rules, stream.request.at_s
        markers = _markers(stream)
        read_at = self._read_position(stream, markers)
        cached = stream.ends[read_at] if read_at is not None else 0.0
        missed = int(shared_tokens - cached)
        # Asked before this request writes: its own writes explain nothing.
        shortfall = self._why(stream, cached, shared_tokens) if missed >= NEGLIGIBLE else None
        long = short = 0.0
        position = cached
        for index, ttl_s in markers[-MAX_MARKERS:]:
            tokens = stream.ends[index]
            if tokens < rules.min_tokens:
                continue
            link = stream.links[stream.last_links[index]]
            stored = self._writes.get(link)
            if stored is not None and stored.is_live(at_s):
                stored.at_s = at_s if at_s is not None else stored.at_s
                continue
            if stored is not None:
                self._forget_write(stored)
            fresh = max(0.0, tokens - position)
            self._writes.put(link, _Write(at_s, ttl_s, fresh))
            if ttl_s >= 3600 and rules.mode is Mode.MARKERS:
                long += fresh
            else:
                short += fresh
            position = max(position, tokens)
        return Expected(
            int(cached),
            int(long) + int(short),
            int(long),
            missed if shortfall else 0,
            shortfall,
        )

    def _read_position(self, stream: Stream, markers: list[tuple[int, int]]) -> int | None:
        """Return the block at whose end the longest readable prefix ends."""
        found = None
        for index in self._looked_up(stream, markers):
            write = self._writes.get(stream.links[stream.last_links[index]])
            if write is not None and write.is_live(stream.request.at_s):
                write.is_read = True
                write.at_s = stream.request.at_s
                if found is None or index > found:
                    found = index
        return found

    @staticmethod
    def _looked_up(stream: Stream, markers: list[tuple[int, int]]) -> list[int]:
        """Return the blocks at whose ends the provider looks for a stored prefix."""
        if stream.rules.mode is Mode.BREAKPOINTS:
            explicit = [index for index, _ in markers]
            if stream.request.is_explicit_only:
                return explicit
            return sorted({*explicit, *_endings(stream)[-_ENDINGS_LOOKED_UP - 1 :]})
        places: set[int] = set()
        for index, _ in markers:
            content = [i for i in range(index + 1) if stream.tokens(i) > 0]
            places.update(content[-stream.rules.lookback_blocks :])
        return sorted(places)

    def _why(self, stream: Stream, cached: float, shared_tokens: float) -> Shortfall:
        """Return why the shared prefix is not read from the cache of a provider with markers."""
        if stream.rules.readable(shared_tokens, stream.prompt_tokens) == 0:
            return Shortfall.BELOW_MINIMUM
        request = stream.request
        has_own = any(block.marker_ttl_s is not None for block in stream.blocks)
        if request.is_explicit_only and not has_own:
            return Shortfall.SWITCHED_OFF
        has_expired = False
        for index, link in enumerate(stream.last_links):
            if stream.ends[index] > shared_tokens:
                break
            write = self._writes.get(stream.links[link])
            if write is None or stream.ends[index] <= max(cached, stream.rules.min_tokens):
                continue
            if write.is_live(request.at_s):
                return Shortfall.LOOKBACK
            has_expired = True
        if has_expired:
            return Shortfall.EXPIRED
        is_marked = has_own or request.is_marked_automatically
        return Shortfall.MARKER_BEHIND_CHANGE if is_marked else Shortfall.NO_MARKER

    def _forget_write(self, write: _Write) -> None:
        if not write.is_read:
            self._forgotten_unread += write.tokens


def _markers(stream: Stream) -> list[tuple[int, int]]:
    """Return the marked blocks with their lifetimes in seconds, in order."""
    request = stream.request
    usual = request.automatic_ttl_s or stream.rules.ttl_s or 300
    found = {
        index: block.marker_ttl_s
        for index, block in enumerate(stream.blocks)
        if block.marker_ttl_s is not None
    }
    if stream.rules.mode is Mode.MARKERS and request.is_marked_automatically:
        found.setdefault(len(stream.blocks) - 1, usual)
    if stream.rules.mode is Mode.BREAKPOINTS and not request.is_explicit_only:
        endings = _endings(stream)
        if endings:
            found.setdefault(endings[-1], usual)
    return sorted(found.items())


def _endings(stream: Stream) -> list[int]:
    """Return the blocks that end an eligible message, in order (OpenAI from GPT-5.6).

    Eligible are user messages, the last tool response of a group, and the last system or
    developer message of the initial group.
    """
    blocks = stream.blocks
    endings = []
    for index, block in enumerate(blocks):
        following = blocks[index + 1] if index + 1 < len(blocks) else None
        is_last_part = following is None or following.message != block.message
        if not is_last_part:
            continue
        follows_same = following is not None and following.role == block.role
        if block.role == "user" or (block.role in ("tool", "system") and not follows_same):
            endings.append(index)
    return endings
