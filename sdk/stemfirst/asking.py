"""What `ask` and `stream` do before and after the request, for the sync and async clients alike.

Knows how a prompt, its values and a server's capabilities become arguments of openai's
`chat.completions.create`, and what is made of its answer. Sends nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

from openai import AsyncStream, Stream
from openai.resources.chat.completions import Completions
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from stemfirst.chain import ChainKey, chain
from stemfirst.discovery import Capabilities
from stemfirst.errors import ClientError
from stemfirst.prompt import Hole, Prompt, Rendered
from stemfirst.savings import Savings, savings_of
from stemfirst.tiers import Tier
from stemfirst.wire import (
    BODY_FIELD,
    MAX_SEGMENTS,
    PREFIX_HEADER,
    SESSION_HEADER,
    hint_to_json,
    prefix_to_header,
    prompt_hint,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What `ask` returns."""

    text: str
    """The model's text; empty where it answered with tool calls only."""
    savings: Savings
    """What the cache did for this call."""
    raw: ChatCompletion
    """The response as the openai package gives it."""

    @property
    def parsed(self) -> Any:
        """The answer as one of the type that `response_format` named; None without one."""
        return getattr(self.raw.choices[0].message, "parsed", None) if self.raw.choices else None

    @property
    def message(self) -> dict[str, Any]:
        """The model's message as it goes into the history, for `session([...])`."""
        message = self.raw.choices[0].message
        return message.model_dump(exclude_none=True, mode="json", exclude={"parsed"})

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt made ready to be sent."""

    rendered: Rendered
    options: Mapping[str, Any]
    """Arguments of `create` that the caller gave."""
    model: str | None
    session_id: str | None

    def arguments(
        self,
        capabilities: Capabilities | None,
        *,
        api_key: str,
        default_headers: Mapping[str, Any],
        is_streamed: bool = False,
        is_openais: bool = False,
    ) -> dict[str, Any]:
        """Return the arguments of `create`.

        With hints only for a server of ours, and with cache fields only for OpenAI's own API.

        Raises:
            ClientError: no model was named and the server names none.
        """
        model = self.model or (capabilities.model if capabilities else None)
        if not model:
            raise ClientError(
                "which model? pass model=...: only stemfirst's own server says which one it serves"
            )
        sent = self.rendered.openai(model=model if is_openais else None)
        arguments: dict[str, Any] = {"model": model, **sent, **self.options}
        if is_streamed:
            arguments["stream"] = True
            arguments.setdefault("stream_options", {"include_usage": True})
        if capabilities:
            headers = {**default_headers, **(arguments.get("extra_headers") or {})}
            taken = {str(name).lower() for name in headers}
            ours = self._headers(api_key)
            arguments["extra_headers"] = {
                **(arguments.get("extra_headers") or {}),
                **{name: value for name, value in ours.items() if name not in taken},
            }
            arguments["extra_body"] = {
                **self._body(api_key),
                **(arguments.get("extra_body") or {}),
            }
        return arguments

    def _headers(self, api_key: str) -> dict[str, str]:
        if not self._is_hinted(api_key):
            return {SESSION_HEADER: self.session_id} if self.session_id else {}
        key = ChainKey.derive(api_key)
        affinity = self.session_id or affinity_of(self.rendered, key)
        headers = {PREFIX_HEADER: prefix_to_header(self.rendered, key)}
        return {**headers, SESSION_HEADER: affinity} if affinity else headers

    def _body(self, api_key: str) -> dict[str, Any]:
        if not self._is_hinted(api_key):
            return {}
        return {BODY_FIELD: hint_to_json(prompt_hint(self.rendered, ChainKey.derive(api_key)))}

    def _is_hinted(self, api_key: str) -> bool:
        # Digests are keyed; a key that a callback fetches later is not known yet.
        return bool(api_key) and 0 < len(self.rendered.segments) <= MAX_SEGMENTS


def affinity_of(rendered: Rendered, key: ChainKey) -> str | None:
    """Return what keeps requests that share text on one replica, 16 hex characters.

    The name of the prefix up to the tenant's last segment; where there is no tenant, up to the
    conversation's first own segment, so that a conversation stays where it is, and one common
    system prompt does not send all traffic to one replica.
    """
    segments = rendered.segments
    tenants = [index for index, item in enumerate(segments) if item.tier is Tier.TENANT]
    own = [index for index, item in enumerate(segments) if item.tier > Tier.TENANT]
    end = tenants[-1] if tenants else own[0] if own else len(segments) - 1
    links = chain(segments[: end + 1], key)
    return links[-1] if links else None


def question(
    prompt: Prompt | Rendered,
    *,
    model: str | None,
    values: Mapping[str, object] | None,
    session_id: str | None,
    arguments: Mapping[str, Any],
) -> Question:
    """Return the question that `ask(prompt, **arguments)` stands for.

    Arguments named like a hole of the prompt are its values; all others go to `create`.

    Raises:
        ClientError: an argument could be either, or belongs into the prompt.
        MissingValueError: a hole got no value.
    """
    given = dict(values or {})
    options: dict[str, Any] = {}
    holes = holes_of(prompt) if isinstance(prompt, Prompt) else frozenset()
    for name, value in arguments.items():
        if name in ("messages", "tools", "stream"):
            raise ClientError(_MISPLACED[name])
        if name not in holes:
            options[name] = value
        elif name in _create_names():
            raise ClientError(
                f"{name!r} is a hole of this prompt and an option of the request: "
                f"pass the hole's value in values={{{name!r}: ...}}"
            )
        else:
            given[name] = value
    if isinstance(prompt, Prompt):
        rendered = prompt.render(given)
    elif given:
        raise ClientError("the prompt is rendered already: pass the values to render()")
    else:
        rendered = prompt
    return Question(rendered, options, model, session_id)


_MISPLACED = {
    "messages": "the prompt holds the messages: build it with session([...]) or Prompt.then(...), "
    "or call client.chat.completions.create(messages=...)",
    "tools": "tools belong into the prompt, where their order is part of the prefix: "
    "Prompt(..., tools=[...])",
    "stream": "call client.stream(...) for a stream",
}


def holes_of(prompt: Prompt) -> frozenset[str]:
    """Return the names of a prompt's holes."""
    return frozenset(
        segment.content.name
        for message in prompt.messages
        for segment in message.segments
        if isinstance(segment.content, Hole)
    )


@lru_cache(maxsize=1)
def _create_names() -> frozenset[str]:
    return frozenset(inspect.signature(Completions.create).parameters)


def answer_of(completion: ChatCompletion) -> Answer:
    """Return the answer in a response."""
    text = completion.choices[0].message.content if completion.choices else None
    return Answer(text or "", savings_of(completion), completion)


class AnswerStream:
    """What `stream` returns: the text as it comes, and at its end what the cache did.

    with client.stream(prompt, model="m") as answer:
        for piece in answer:
            print(piece, end="")
    print(answer.savings)
    """

    def __init__(self, raw: Stream[ChatCompletionChunk]) -> None:
        self.raw = raw
        self.text = ""
        """The text so far."""

    @property
    def savings(self) -> Savings:
        """What the cache did; `is_complete` is False before the end and after a cut."""
        return savings_of(self.raw)

    def __iter__(self) -> Iterator[str]:
        for chunk in self.raw:
            piece = piece_of(chunk)
            if piece:
                self.text += piece
                yield piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the request; what was not read yet is dropped."""
        self.raw.close()


class AsyncAnswerStream:
    """As `AnswerStream`, for an event loop."""

    def __init__(self, raw: AsyncStream[ChatCompletionChunk]) -> None:
        self.raw = raw
        self.text = ""
        """The text so far."""

    @property
    def savings(self) -> Savings:
        """What the cache did; `is_complete` is False before the end and after a cut."""
        return savings_of(self.raw)

    async def __aiter__(self) -> AsyncIterator[str]:
        async for chunk in self.raw:
            piece = piece_of(chunk)
            if piece:
                self.text += piece
                yield piece

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the request; what was not read yet is dropped."""
        await self.raw.close()


def piece_of(chunk: ChatCompletionChunk) -> str:
    """Return the text that a chunk adds to the first choice."""
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.index == 0)
