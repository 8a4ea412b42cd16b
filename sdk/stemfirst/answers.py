"""What `ask` and `stream` return: the answer's text, whole or as it comes, with its savings.

Knows the openai package's completions and streams of chunks. Sends nothing itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from openai import AsyncStream, Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from stemfirst.errors import ClientError
from stemfirst.savings import Savings, savings_of


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
        """The model's message as it goes into the history, for `session([...])`.

        Raises:
            ClientError: the response holds none.
        """
        if not self.raw.choices:
            raise ClientError("the response has no choices, so no message to keep; see answer.raw")
        message = self.raw.choices[0].message
        return message.model_dump(exclude_none=True, mode="json", exclude={"parsed"})

    def __str__(self) -> str:
        return self.text


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
    """As `AnswerStream`, for an event loop: to await, to enter, or to iterate at once.

    async with client.stream(prompt, model="m") as answer:
        async for piece in answer:
            print(piece, end="")
    print(answer.savings)

    The request is sent when the stream is first awaited, entered or read.
    """

    def __init__(self, send: Callable[[], Awaitable[AsyncStream[ChatCompletionChunk]]]) -> None:
        self._send = send
        self._raw: AsyncStream[ChatCompletionChunk] | None = None
        self.text = ""
        """The text so far."""

    @property
    def raw(self) -> AsyncStream[ChatCompletionChunk]:
        """The stream as the openai package gives it.

        Raises:
            ClientError: nothing was sent yet.
        """
        if self._raw is None:
            raise ClientError("the stream has not begun: await it, or enter it with `async with`")
        return self._raw

    @property
    def savings(self) -> Savings:
        """What the cache did; `is_complete` is False before the end and after a cut."""
        return savings_of(self._raw) if self._raw is not None else Savings(is_complete=False)

    async def _begun(self) -> Self:
        if self._raw is None:
            self._raw = await self._send()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._begun().__await__()

    async def __aiter__(self) -> AsyncIterator[str]:
        await self._begun()
        async for chunk in self.raw:
            piece = piece_of(chunk)
            if piece:
                self.text += piece
                yield piece

    async def __aenter__(self) -> Self:
        return await self._begun()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the request; what was not read yet is dropped."""
        if self._raw is not None:
            await self._raw.close()


def piece_of(chunk: ChatCompletionChunk) -> str:
    """Return the text that a chunk adds to the first choice."""
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.index == 0)
