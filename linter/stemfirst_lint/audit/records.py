"""The values that audit's stages pass on: a recorded request as blocks of text in render order.

Knows what a request consists of. Does not know the JSON that it came from, or what a cache
does with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from stemfirst.prompt import Origin
from stemfirst.tiers import Tier
from stemfirst.usage import NOTHING, Usage

Path: TypeAlias = tuple[str | int, ...]
"""Where a string stands in the request body: `("messages", 0, "content")`."""


class Api(Enum):
    """Whose request format a body has."""

    CHAT = "OpenAI chat"
    RESPONSES = "OpenAI responses"
    ANTHROPIC = "Anthropic messages"
    GEMINI = "Gemini content"
    CONVERSE = "Bedrock Converse"


@dataclass(frozen=True, slots=True)
class Place:
    """The line of a recording that a request or a problem stands on; lines count from 1."""

    path: str
    line: int

    def __str__(self) -> str:
        """Return `path:line`."""
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Block:
    """One run of text that a model reads as a unit: a tool, a system text, a content part.

    Attributes:
        role: `tool definition`, `system`, `user`, `assistant` or `tool`; developer messages
            and instructions are `system`.
        at: where its text stands in the body.
        text: what is compared; for what is not text, a short name with a digest.
        message: index of the message that it belongs to; None for tools, and for system text
            that stands outside the messages.
        name: a tool definition's name.
        marker_ttl_s: lifetime in seconds of the cache marker on this block; None without one.
    """

    role: str
    at: Path
    text: str
    message: int | None = None
    name: str | None = None
    marker_ttl_s: int | None = None

    @property
    def is_head(self) -> bool:
        """Whether it belongs to what an app sends before any conversation."""
        return self.role in ("system", "tool definition")


@dataclass(frozen=True, slots=True)
class SegmentPlace:
    """One segment of the SDK's prompt, as the recording names it.

    `size_bytes` counts the UTF-8 of the string at `at`; segments of one string follow one
    another without gaps.
    """

    at: Path
    size_bytes: int
    id: str
    tier: Tier | None = None
    name: str | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One recorded request and what its response reported.

    Attributes:
        place: where it was read.
        api: whose format it has.
        model: as the request names it, else the response; "?" where neither does.
        provider: an id or a base URL, where the recording gives it.
        at_s: when it was sent, in seconds since 1970; None where the recording does not say.
        session: names the conversation, where the recording does.
        blocks: in the order of the body (tools, system, messages).
        settings: request settings besides text that a provider's cache may depend on, as
            sorted pairs of name and JSON text.
        cache_key: what keeps this request's cache apart from others'.
        is_marked_automatically: top-level `cache_control` is set (Anthropic).
        automatic_ttl_s: lifetime asked for the whole request; None where nothing is asked.
        is_explicit_only: implicit breakpoints are switched off (OpenAI).
        usage: counts that the response reported.
        reported_reason: why the provider says it missed.
        segments: the SDK's segments, where recorded.
        has_failed: it was not answered, so that nothing was read or lost.
    """

    place: Place
    api: Api
    model: str
    blocks: tuple[Block, ...]
    provider: str | None = None
    at_s: float | None = None
    session: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    cache_key: str | None = None
    is_marked_automatically: bool = False
    automatic_ttl_s: int | None = None
    is_explicit_only: bool = False
    usage: Usage = NOTHING
    reported_reason: str | None = None
    segments: tuple[SegmentPlace, ...] = ()
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A line, or a whole file, that could not be audited, and why; the rest was read."""

    place: Place | str
    reason: str

    def __str__(self) -> str:
        """Return one line: where, and what was wrong."""
        return f"{self.place}: {self.reason}"
