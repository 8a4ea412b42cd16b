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
        return _for_history(self.raw.choices[0].message)

    def __str__(self) -> str:
        return self.text


def answer_of(completion: ChatCompletion) -> Answer:
    """Return the answer in a response."""
    text = completion.choices[0].message.content if completion.choices else None
    return Answer(text or "", savings_of(completion), completion)


class _Gathering:
    """What both kinds of streams keep of the chunks that they have shown."""

    def __init__(self, wanted: object = None) -> None:
        self.text = ""
        """The text so far."""
        self._chunks: list[ChatCompletionChunk] = []
        self._wanted = wanted if isinstance(wanted, type) else None

    def _take(self, chunk: ChatCompletionChunk) -> str:
        self._chunks.append(chunk)
        piece = piece_of(chunk)
        self.text += piece
        return piece

    @property
    def message(self) -> dict[str, Any]:
        """The model's message as it goes into the history, its tool calls too, once it is whole.

        Raises:
            ClientError: the stream was not read to its end.
        """
        return _for_history(self._whole(None).choices[0].message)

    @property
    def parsed(self) -> Any:
        """The answer as one of the type that `response_format` named; None without one.

        Raises:
            ClientError: the stream was not read to its end.
            openai.LengthFinishReasonError: the model was cut off by `max_tokens`.
            openai.ContentFilterFinishReasonError: a filter cut it off.
        """
        if self._wanted is None:
            return None
        return self._whole(self._wanted).choices[0].message.parsed

    def _whole(self, wanted: type | None) -> Any:
        """Return the completion that the chunks add up to."""
        ends = [choice.finish_reason for chunk in self._chunks for choice in chunk.choices]
        if not any(ends):
            raise ClientError(
                "the stream was not read to its end, so there is no message yet: read it by "
                "`for piece in stream`"
            )
        from openai.lib.streaming.chat import ChatCompletionStreamState

        options: dict[str, Any] = {} if wanted is None else {"response_format": wanted}
        state: Any = ChatCompletionStreamState(**options)
        for chunk in self._chunks:
            state.handle_chunk(chunk)
        return state.get_final_completion()


class AnswerStream(_Gathering):
    """What `stream` returns: the text as it comes, and at its end what the cache did.

    with client.stream(prompt, model="m") as answer:
        for piece in answer:
            print(piece, end="")
    print(answer.savings)
    """

    def __init__(self, raw: Stream[ChatCompletionChunk], wanted: object = None) -> None:
        super().__init__(wanted)
        self.raw = raw

    @property
    def savings(self) -> Savings:
        """What the cache did; `is_complete` is False before the end and after a cut."""
        return savings_of(self.raw)

    def __iter__(self) -> Iterator[str]:
        for chunk in self.raw:
            if piece := self._take(chunk):
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


class AsyncAnswerStream(_Gathering):
    """As `AnswerStream`, for an event loop: to await, to enter, or to iterate at once.

    async with client.stream(prompt, model="m") as answer:
        async for piece in answer:
            print(piece, end="")
    print(answer.savings)

    The request is sent when the stream is first awaited, entered or read.
    """

    def __init__(
        self,
        send: Callable[[], Awaitable[AsyncStream[ChatCompletionChunk]]],
        wanted: object = None,
    ) -> None:
        super().__init__(wanted)
        self._send = send
        self._raw: AsyncStream[ChatCompletionChunk] | None = None

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
            if piece := self._take(chunk):
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


def _for_history(message: Any) -> dict[str, Any]:
    """Return a message as the next request sends it: without what the package reads into it."""
    made: dict[str, Any] = {"role": "assistant"} | message.model_dump(
        exclude_none=True, mode="json", exclude={"parsed"}
    )
    for call in made.get("tool_calls", ()):
        call.pop("index", None)  # of a stream's chunks
        call.get("function", {}).pop("parsed_arguments", None)
    if made.get("tool_calls") and made.get("content") == "":
        del made["content"]
    return made


def piece_of(chunk: ChatCompletionChunk) -> str:
    """Return the text that a chunk adds to the first choice."""
    return "".join(choice.delta.content or "" for choice in chunk.choices if choice.index == 0)
