"""Answers that are told as named events: what Anthropic's messages and OpenAI's responses share.

Both convert their own items to a conversation, have one answer, and stream a story of blocks.
Knows no field names of either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from stemfirst_server.errors import InvalidRequestError

if TYPE_CHECKING:
    from stemfirst_server.api.failures import ApiError
    from stemfirst_server.api.openai import Answer, Json
    from stemfirst_server.engine.request import RequestReport, TokenEvent
    from stemfirst_server.tools.calls import ToolCall

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the strings of a converted conversation stand in the body that was sent.

    Attributes:
        body: as it was sent.
        paths: from a path in the conversation to the path in the body; others are the same.
    """

    body: Mapping[str, Any]
    paths: Mapping[Path, Path]


class Converted:
    """A conversation under way: messages in the shape of chat completions, with their origins."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.paths: dict[Path, Path] = {}

    def add(self, role: str, content: object, at: Path, **fields: Any) -> None:
        """Add a message whose content, a string or a list of text parts, stands at `at`.

        Raises:
            InvalidRequestError: the content is neither.
        """
        index = len(self.messages)
        if isinstance(content, str):
            self.messages.append({"role": role, "content": content, **fields})
            self.paths["messages", index, "content"] = at
            return
        if not isinstance(content, list):
            raise InvalidRequestError(
                f"{named(at)} must be a string or a list", parameter=named(at)
            )
        self.messages.append({"role": role, "content": [], **fields})
        for number, part in enumerate(content):
            self.add_text(part, (*at, number))

    def add_text(self, part: object, at: Path) -> None:
        """Add a text part to the last message.

        Raises:
            InvalidRequestError: it is none.
        """
        if isinstance(part, str):
            part, leaf = {"text": part}, at
        else:
            leaf = (*at, "text")
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else None
            shown = f" of type {str(kind)[:40]!r}" if kind else ""
            raise InvalidRequestError(
                f"{named(at)}{shown} holds no text: this model takes text only",
                parameter=named(at),
            )
        content = self.messages[-1]["content"]
        where = ("messages", len(self.messages) - 1, "content", len(content), "text")
        self.paths[where] = leaf
        content.append({"type": "text", "text": part["text"]})


class Narrated(Protocol):
    """How one API tells an answer."""

    def whole(self, answer: Answer, counted: RequestReport, field: Json) -> Json:
        """Return the response, `field` being our report on it."""
        ...

    def begin(self) -> list[Json]:
        """Return the events before the first text."""
        ...

    def piece(self, text: str, tokens: Sequence[TokenEvent]) -> list[Json]:
        """Return the events of a piece of text; its tokens are there if logprobs are asked for."""
        ...

    def call(self, call: ToolCall) -> list[Json]:
        """Return the events of a call, which is told whole."""
        ...

    def end(self, answer: Answer, counted: RequestReport, field: Json) -> list[Json]:
        """Return the events after the last text."""
        ...

    def failure(self, error: ApiError) -> Json:
        """Return the event of an answer that broke off."""
        ...


def named(path: Path) -> str:
    """Return a path as errors show it: `messages[0].content[1]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def text_of(value: object, at: Path) -> str:
    """Return a field that must be a non-empty string.

    Raises:
        InvalidRequestError: it is something else.
    """
    if not isinstance(value, str) or not value:
        raise InvalidRequestError(f"{named(at)} must be a non-empty string", parameter=named(at))
    return value
