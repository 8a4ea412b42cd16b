"""A rendered prompt: what is sent, and which segment each byte of it belongs to.

Knows the chat API's shape. The shapes of other APIs, and where each provider's cache wants its
breakpoints, are in the modules `to_…`, which are loaded when they are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stemfirst.errors import PromptError
from stemfirst.segments import Origin, Part, Path, Segment, Tool
from stemfirst.tiers import Tier


@dataclass(frozen=True, slots=True)
class RenderedSegment:
    """One segment as it is sent: `text` is exactly the bytes' text at its place.

    Segments with the same `at` stand behind one another in that string, without gaps: a
    separator belongs to the segment behind it, so that appending never changes what stood
    before.
    """

    id: str
    tier: Tier
    at: Path
    text: str
    name: str | None = None
    origin: Origin | None = None
    source: Segment | Tool | None = None
    """What it was rendered from, when that has a fixed text."""
    hole: str | None = None
    """The hole that it fills, when it has none."""

    @property
    def is_tool(self) -> bool:
        """Whether this is a tool definition, whose text is JSON."""
        return self.at[0] == "tools"

    @property
    def is_text(self) -> bool:
        """Whether this is text that a model reads as such: no tool, image or file."""
        return self.at[0] != "tools" and self.at[-1] in ("content", "text")

    @property
    def label(self) -> str:
        """What to call it: its name, else its tier."""
        return self.name or f"{self.tier.label} text"


@dataclass(frozen=True, slots=True)
class RenderedMessage:
    """One message: a text, a list of parts, or None; `extra` as in `Message`."""

    role: str
    content: str | tuple[str | Part, ...] | None
    extra: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it in the shape of the chat API, as a fresh object."""
        content: Any = self.content
        if isinstance(content, tuple):
            content = [
                json.loads(part.json) if isinstance(part, Part) else {"type": "text", "text": part}
                for part in content
            ]
        body: dict[str, Any] = {"role": self.role, "content": content}
        for name, value in self.extra:
            body[name] = json.loads(value)
        return body


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt with every hole filled: what is sent, and which segment each byte is of.

    The methods named for an API return keyword arguments for that API's client, less the
    model. Given `model`, they also place what that model's prefix cache wants: breakpoints
    where a later request can share, a cache key, a lifetime. What is asked for by name and does
    not exist there is an error; what would be placed of itself is then left out.
    """

    segments: tuple[RenderedSegment, ...]
    _messages: tuple[RenderedMessage, ...] = field(repr=False)

    @property
    def title(self) -> str | None:
        """What to call the prompt: its first named text, else where its first text was built."""
        texts = [item for item in self.segments if not item.is_tool]
        for item in texts:
            if item.name:
                return item.name
        return texts[0].origin.short if texts and texts[0].origin else None

    @property
    def raw_messages(self) -> tuple[RenderedMessage, ...]:
        """The messages as values."""
        return self._messages

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Messages in the shape of the chat API; a fresh copy at each call."""
        return [message.as_json() for message in self._messages]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Tool definitions in the shape of the chat API; a fresh copy at each call."""
        return [json.loads(segment.text) for segment in self.segments if segment.is_tool]

    def openai(
        self,
        *,
        model: str | None = None,
        breakpoints: bool | None = None,
        ttl: str | Mapping[str, str] | None = None,
        cache_key: str | None = None,
    ) -> dict[str, Any]:
        """Return arguments of OpenAI's `chat.completions.create`.

        Args:
            model: who is asked; without it nothing but messages and tools is placed.
            breakpoints: whether to mark the ends of the static and tenant text; by default
                where the model takes marks.
            ttl: how long the cache should keep the prefix, for all of it or by tier
                (`{"static": "12h"}`).
            cache_key: sent as `prompt_cache_key`; by default derived from the shared prefix,
                for models that route by it.

        Raises:
            PromptError: the model lacks what was asked for.
        """
        from stemfirst.to_openai import to_chat

        return to_chat(self, model=model, breakpoints=breakpoints, ttl=ttl, cache_key=cache_key)

    def responses(
        self,
        *,
        model: str | None = None,
        breakpoints: bool | None = None,
        ttl: str | Mapping[str, str] | None = None,
        cache_key: str | None = None,
    ) -> dict[str, Any]:
        """Return arguments of OpenAI's `responses.create`; as `openai` does for chat.

        Raises:
            PromptError: the model lacks what was asked for, or a part has no counterpart there.
        """
        from stemfirst.to_responses import to_responses

        return to_responses(
            self, model=model, breakpoints=breakpoints, ttl=ttl, cache_key=cache_key
        )

    def anthropic(
        self,
        *,
        model: str | None = None,
        breakpoints: bool | None = None,
        ttl: str | Mapping[str, str] | None = None,
        cache_key: str | None = None,
    ) -> dict[str, Any]:
        """Return arguments of Anthropic's `messages.create`: `system`, `messages`, `tools`.

        The last blocks of the static, tenant and session text are marked as cache breakpoints,
        and one more in a long session, because a lookup goes back 20 blocks only.

        Args:
            model: who is asked: a prefix below what that model caches gets no mark.
            breakpoints: False for none, True for all whatever the model's minimum.
            ttl: `5m` or `1h`, for all breakpoints or by tier (`{"static": "1h"}`).
            cache_key: always refused: nothing is routed by a key there.

        Raises:
            PromptError: a message has no counterpart there, or the lifetime does not exist.
        """
        _refuse_key(cache_key, "Anthropic")
        from stemfirst.to_anthropic import to_anthropic

        return to_anthropic(self, model=model, breakpoints=breakpoints, ttl=ttl)

    def bedrock(
        self,
        *,
        model: str | None = None,
        breakpoints: bool | None = None,
        ttl: str | Mapping[str, str] | None = None,
        cache_key: str | None = None,
    ) -> dict[str, Any]:
        """Return arguments of Bedrock's `converse`: `system`, `messages`, `toolConfig`.

        Cache points are placed for models that take them, which must be named. No model there
        takes a `cache_key`.

        Raises:
            PromptError: a part has no counterpart there, or the model lacks what was asked for.
        """
        _refuse_key(cache_key, "Bedrock")
        from stemfirst.to_bedrock import to_bedrock

        return to_bedrock(self, model=model, breakpoints=breakpoints, ttl=ttl)

    def gemini(
        self,
        *,
        cached_content: str | None = None,
        ttl: str | None = None,
        breakpoints: bool | None = None,
        cache_key: str | None = None,
    ) -> dict[str, Any]:
        """Return arguments of Gemini's `models.generate_content`: `contents` and `config`.

        Its implicit cache takes no marks; the order of tiers is all that it needs.

        Args:
            cached_content: name of a cache made from `gemini_cache()`; what that holds is
                left out.
            ttl: always refused: a lifetime belongs to `gemini_cache`.
            breakpoints: True is refused: it takes none.
            cache_key: always refused: nothing is routed by a key there.

        Raises:
            PromptError: a part has no counterpart there.
        """
        _refuse_key(cache_key, "Gemini")
        if breakpoints:
            raise PromptError(
                "Gemini takes no cache breakpoints, got breakpoints=True: it finds prefixes of "
                "itself, or keeps what gemini_cache() gives"
            )
        from stemfirst.to_gemini import to_gemini

        return to_gemini(self, cached_content=cached_content, ttl=ttl)

    def gemini_cache(self, *, ttl: str = "3600s") -> dict[str, Any]:
        """Return arguments of Gemini's `caches.create`: the static and tenant text and tools.

        Args:
            ttl: seconds to keep it, such as `3600s`; its storage is charged by the hour.

        Raises:
            PromptError: there is nothing to keep, or `ttl` is not seconds.
        """
        from stemfirst.to_gemini import to_gemini_cache

        return to_gemini_cache(self, ttl=ttl)

    def litellm(
        self,
        *,
        model: str,
        breakpoints: bool | None = None,
        ttl: str | Mapping[str, str] | None = None,
        cache_key: str | None = None,
    ) -> dict[str, Any]:
        """Return arguments of `litellm.completion`, in the dialect of the model's route.

        Args:
            model: as litellm is given it: `anthropic/claude-…`, `bedrock/…`, `gpt-…`.
            breakpoints: as for `openai` and `anthropic`.
            ttl: as for `openai` and `anthropic`.
            cache_key: for OpenAI's models.

        Raises:
            PromptError: that route lacks what was asked for.
        """
        from stemfirst.to_litellm import to_litellm

        return to_litellm(self, model=model, breakpoints=breakpoints, ttl=ttl, cache_key=cache_key)

    def _repr_html_(self) -> str:
        """Show the prompt by tiers in a notebook."""
        from stemfirst.html import rendered_html

        return rendered_html(self)


def _refuse_key(cache_key: str | None, provider: str) -> None:
    if cache_key is not None:
        raise PromptError(
            f"{provider} takes no cache key, got cache_key={cache_key!r}: leave it away"
        )
