"""Anthropic's `/v1/messages`: what its clients send and read.

Knows JSON shapes only. Text, tools and their results are taken; images and documents are not.
Source: anthropic 2.12.0, `types/message*.py`, `types/raw_*_event.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import StrictInt, StrictStr

from stemfirst_server.api.failures import anthropic_body
from stemfirst_server.api.narrated import Converted, Path, named, text_of
from stemfirst_server.api.output import OutputAsked, json_asked
from stemfirst_server.api.schema import Sampled
from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.tokens.template import Conversation, conversation
from stemfirst_server.tools.calls import tool_use

if TYPE_CHECKING:
    from stemfirst_server.api.comparing import Comparison
    from stemfirst_server.api.failures import ApiError
    from stemfirst_server.api.openai import Answer, Head, Json
    from stemfirst_server.engine.request import RequestReport, SamplingParams, TokenEvent
    from stemfirst_server.tools.calls import ToolCall

# What a model wrote to itself is no part of the prompt that follows.
_UNSEEN = ("thinking", "redacted_thinking")

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class MessagesRequest(Sampled):
    """The body of `POST /v1/messages` and of `POST /v1/messages/count_tokens`."""

    messages: list[dict[str, Any]]
    system: StrictStr | list[Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    diagnostics: dict[str, Any] | None = None
    stop_sequences: list[StrictStr] | None = None
    n: StrictInt | None = None

    @property
    def choices(self) -> int:
        """One: this API has no more."""
        return 1

    @property
    def compared_to(self) -> str | None:
        """The id of an earlier message that this prompt shall be compared with."""
        name = (self.diagnostics or {}).get("previous_message_id")
        return name if isinstance(name, str) else None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings.

        Raises:
            InvalidRequestError: too many, or an empty one.
        """
        return Sampled(stop=self.stop_sequences).stops

    def sampling(self) -> SamplingParams:
        """Return the sampling parameters.

        Raises:
            InvalidRequestError: a value is missing, out of range, or asks for what is not built.
        """
        if self.max_tokens is None:
            raise InvalidRequestError(
                "max_tokens is missing: say how long the answer may be", parameter="max_tokens"
            )
        if self.max_tokens < 1:
            raise InvalidRequestError(
                f"max_tokens must be at least 1, got {self.max_tokens}", parameter="max_tokens"
            )
        return self._sampling(self.max_tokens, None)

    def output(self) -> OutputAsked:
        """Return what the answer must be.

        Raises:
            InvalidRequestError: the choice or the format is of no kind that is known.
        """
        choice = self.tool_choice or {"type": "auto"}
        return OutputAsked(
            tool_use(
                [_tool(tool, index) for index, tool in enumerate(self.tools or ())],
                choice,
                is_parallel=choice.get("disable_parallel_tool_use") is not True,
                schema_name="input_schema",
            ),
            json_asked((self.output_config or {}).get("format"), "output_config.format", "schema"),
        )

    def conversation(self) -> tuple[Conversation, Mapping[Path, Path]]:
        """Return what is asked in the shape of chat completions, and where each string came from.

        An assistant's message at the end is continued, as Anthropic does it.

        Raises:
            InvalidRequestError: a block is of no kind that this server takes.
        """
        made = Converted()
        if self.system:
            made.add("system", self.system, ("system",))
        for index, message in enumerate(self.messages):
            at = ("messages", index)
            role = message.get("role")
            if role not in ("user", "assistant", "system"):
                raise InvalidRequestError(
                    f"{named(at)}.role must be user, assistant or system, got {str(role)[:40]!r}",
                    parameter=f"{named(at)}.role",
                )
            content = message.get("content")
            if isinstance(content, list):
                _add_blocks(made, role, content, (*at, "content"))
            else:
                made.add(role, content, (*at, "content"))
        is_continued = bool(self.messages) and self.messages[-1].get("role") == "assistant"
        asked = conversation(
            made.messages,
            [_tool(tool, index) for index, tool in enumerate(self.tools or ())],
            add_generation_prompt=not is_continued,
            continue_final_message=is_continued,
        )
        return asked, made.paths


def _add_blocks(made: Converted, role: str, blocks: list[Any], at: Path) -> None:
    """Add a message's blocks; results of tools become messages of their own, in order."""
    is_open = False
    for number, block in enumerate(blocks):
        kind = block.get("type") if isinstance(block, Mapping) else None
        place = (*at, number)
        if kind in _UNSEEN:
            continue
        if kind == "tool_result":
            made.add(
                "tool",
                block.get("content") or "",
                (*place, "content"),
                tool_call_id=text_of(block.get("tool_use_id"), (*place, "tool_use_id")),
            )
            is_open = False
            continue
        if not is_open:
            made.add(role, [], place)
            is_open = True
        if kind == "tool_use":
            function = {
                "name": text_of(block.get("name"), (*place, "name")),
                "arguments": json.dumps(block.get("input") or {}, ensure_ascii=False),
            }
            call = {"id": block.get("id"), "type": "function", "function": function}
            made.messages[-1].setdefault("tool_calls", []).append(call)
        else:
            made.add_text(block, place)


def _tool(tool: Mapping[str, Any], index: int) -> dict[str, Any]:
    at: Path = ("tools", index)
    if tool.get("type", "custom") != "custom":
        raise InvalidRequestError(
            f"{named(at)} is a tool that Anthropic runs: this server has none of these",
            parameter=named(at),
        )
    function: dict[str, Any] = {"name": text_of(tool.get("name"), (*at, "name"))}
    if tool.get("description"):
        function["description"] = tool["description"]
    function["parameters"] = tool.get("input_schema") or {"type": "object"}
    return {"type": "function", "function": function}


class MessagesShape:
    """A message, whole and as events: a block of text, and one for each call."""

    def __init__(
        self, head: Head, prompt_tokens: int, comparison: Comparison | None = None
    ) -> None:
        self._head = head
        self._prompt_tokens = prompt_tokens
        self._comparison = comparison
        self._blocks = 0
        self._is_open = False

    def whole(self, answer: Answer, counted: RequestReport, field: Json) -> Json:
        """Return the response, `field` being our report on it."""
        return (
            self._message(_content(answer))
            | _stopped(answer)
            | {"usage": _usage(counted, answer.output_tokens)}
            | field
        )

    def begin(self) -> list[Json]:
        """Return the events before the first text; what was cached is known at the end only."""
        usage = {
            "input_tokens": self._prompt_tokens,
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": None,
            "output_tokens": 0,
        }
        opening = {"stop_reason": None, "stop_sequence": None, "usage": usage}
        return [{"type": "message_start", "message": self._message([]) | opening}]

    def piece(self, text: str, tokens: Sequence[TokenEvent] = ()) -> list[Json]:
        """Return the events of a piece of text."""
        opening = [] if self._is_open else [self._start({"type": "text", "text": ""})]
        return [*opening, self._delta({"type": "text_delta", "text": text})]

    def call(self, call: ToolCall) -> list[Json]:
        """Return the events of a call."""
        return [
            *self._stop(),
            self._start(_block(call) | {"input": {}}),
            self._delta({"type": "input_json_delta", "partial_json": call.arguments}),
            *self._stop(),
        ]

    def end(self, answer: Answer, counted: RequestReport, field: Json) -> list[Json]:
        """Return the events after the last text."""
        usage = _usage(counted, answer.output_tokens)
        opening = [] if self._blocks else [self._start({"type": "text", "text": ""})]
        return [
            *opening,
            *self._stop(),
            {"type": "message_delta", "delta": _stopped(answer), "usage": usage, **field},
            {"type": "message_stop"},
        ]

    def failure(self, error: ApiError) -> Json:
        """Return the event of an answer that broke off."""
        return anthropic_body(error)

    def _start(self, block: Json) -> Json:
        self._blocks += 1
        self._is_open = True
        return {
            "type": "content_block_start",
            "index": self._blocks - 1,
            "content_block": block,
        }

    def _delta(self, delta: Json) -> Json:
        return {"type": "content_block_delta", "index": self._blocks - 1, "delta": delta}

    def _stop(self) -> list[Json]:
        if not self._is_open:
            return []
        self._is_open = False
        return [{"type": "content_block_stop", "index": self._blocks - 1}]

    def _message(self, content: list[Json]) -> Json:
        return {
            "id": self._head.response_id,
            "type": "message",
            "role": "assistant",
            "model": self._head.model,
            "content": content,
            "diagnostics": self._comparison.anthropic() if self._comparison else None,
        }


def _content(answer: Answer) -> list[Json]:
    blocks: list[Json] = []
    if answer.text or not answer.calls:
        blocks.append({"type": "text", "text": answer.text})
    return blocks + [_block(call) for call in answer.calls]


def _block(call: ToolCall) -> Json:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = None  # what a model wrote need not be JSON
    # The API's own word for arguments is an object, and nothing else.
    if not isinstance(arguments, dict):
        arguments = {"arguments": call.arguments}
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _stopped(answer: Answer) -> Json:
    if answer.stop is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": answer.stop}
    return {
        "stop_reason": _STOP_REASONS.get(answer.finish or "", "end_turn"),
        "stop_sequence": None,
    }


def _usage(counted: RequestReport, output_tokens: int) -> Json:
    """Return the usage; its three kinds of input tokens add up to the prompt."""
    return {
        "input_tokens": counted.prompt_tokens - counted.cached_tokens - counted.cache_write_tokens,
        "cache_creation_input_tokens": counted.cache_write_tokens,
        "cache_read_input_tokens": counted.cached_tokens,
        "output_tokens": output_tokens,
    }
