"""OpenAI's `/v1/responses`: what its clients send and read.

Knows JSON shapes only. Nothing is stored: a conversation is sent whole each time, which the prefix
cache makes cheap, and `previous_response_id` is refused. Source: openai 3.54.0, `types/responses`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, StrictBool, StrictInt, StrictStr

from stemfirst_server.api.narrated import Converted, Path, named, text_of
from stemfirst_server.api.openai import token_logprobs
from stemfirst_server.api.output import OutputAsked, json_asked
from stemfirst_server.api.schema import MOST_LOGPROBS, Sampled
from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.tokens.template import Conversation, conversation, effort_option
from stemfirst_server.tools.calls import tool_use

if TYPE_CHECKING:
    from stemfirst_server.api.failures import ApiError
    from stemfirst_server.api.openai import Answer, Head, Json
    from stemfirst_server.engine.request import RequestReport, SamplingParams, TokenEvent
    from stemfirst_server.tokens.detokenize import Vocabulary
    from stemfirst_server.tools.calls import ToolCall

_LOGPROBS = "message.output_text.logprobs"
_NOT_KEPT = "this server keeps no responses: send the whole conversation as input"


class ResponsesRequest(Sampled):
    """The body of `POST /v1/responses`."""

    input: StrictStr | list[Any]
    instructions: StrictStr | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    max_output_tokens: StrictInt | None = None
    text: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    previous_response_id: StrictStr | None = None
    background: StrictBool | None = None
    include: list[StrictStr] | None = None
    top_logprobs: StrictInt | None = None
    reasoning: dict[str, Any] | None = None
    kept_conversation: Any = Field(default=None, alias="conversation")
    kept_prompt: Any = Field(default=None, alias="prompt")

    @property
    def choices(self) -> int:
        """One: this API has no more."""
        return 1

    def sampling(self) -> SamplingParams:
        """Return the sampling parameters.

        Raises:
            InvalidRequestError: a value is out of range, or asks for what is not built.
        """
        for name, value in (
            ("previous_response_id", self.previous_response_id),
            ("conversation", self.kept_conversation),
            ("prompt", self.kept_prompt),
            ("background", self.background or None),
        ):
            if value is not None:
                raise InvalidRequestError(f"{name}: {_NOT_KEPT}", parameter=name)
        most = self.max_output_tokens
        if most is not None and most < 1:
            raise InvalidRequestError(
                f"max_output_tokens must be at least 1, got {most}", parameter="max_output_tokens"
            )
        has_logprobs = _LOGPROBS in (self.include or ())
        top = self.top_logprobs or 0
        if not 0 <= top <= MOST_LOGPROBS or (top and not has_logprobs):
            raise InvalidRequestError(
                f"top_logprobs must be between 0 and {MOST_LOGPROBS} and needs {_LOGPROBS} in "
                f"include, got {top}",
                parameter="top_logprobs",
            )
        return self._sampling(most, top if has_logprobs else None)

    def output(self) -> OutputAsked:
        """Return what the answer must be.

        Raises:
            InvalidRequestError: the choice or the format is of no kind that is known.
        """
        tools = [_tool(tool, index) for index, tool in enumerate(self.tools or ())]
        return OutputAsked(
            tool_use(
                tools,
                self.tool_choice,
                is_parallel=self.parallel_tool_calls is not False,
            ),
            json_asked((self.text or {}).get("format"), "text.format", "schema"),
        )

    def conversation(self) -> tuple[Conversation, Mapping[Path, Path]]:
        """Return what is asked in the shape of chat completions, and where each string came from.

        Raises:
            InvalidRequestError: an item is of no kind that this server takes.
        """
        if not self.input:
            raise InvalidRequestError("input must not be empty", parameter="input")
        made = Converted()
        if self.instructions:
            made.add("system", self.instructions, ("instructions",))
        if isinstance(self.input, str):
            made.add("user", self.input, ("input",))
        else:
            for index, item in enumerate(self.input):
                _add_item(made, item, ("input", index))
        tools = [_tool(tool, index) for index, tool in enumerate(self.tools or ())]
        effort = (self.reasoning or {}).get("effort")
        return conversation(made.messages, tools, options=effort_option(effort)), made.paths


def _add_item(made: Converted, item: object, at: Path) -> None:
    if not isinstance(item, Mapping):
        raise InvalidRequestError(f"{named(at)} must be an object", parameter=named(at))
    match item.get("type", "message"):
        case "message":
            role = item.get("role")
            if role not in ("user", "assistant", "system", "developer"):
                raise InvalidRequestError(
                    f"{named(at)}.role must be user, assistant, system or developer, "
                    f"got {str(role)[:40]!r}",
                    parameter=f"{named(at)}.role",
                )
            made.add(role, item.get("content"), (*at, "content"))
        case "function_call":
            function = {
                "name": text_of(item.get("name"), (*at, "name")),
                "arguments": item.get("arguments") or "{}",
            }
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            # Calls belong to the turn of the assistant that they follow.
            if not made.messages or made.messages[-1]["role"] != "assistant":
                made.add("assistant", "", at)
            made.messages[-1].setdefault("tool_calls", []).append(call)
        case "function_call_output":
            made.add(
                "tool",
                item.get("output"),
                (*at, "output"),
                tool_call_id=text_of(item.get("call_id"), (*at, "call_id")),
            )
        case "reasoning":
            pass  # what a model wrote to itself is no part of the prompt that follows
        case kind:
            raise InvalidRequestError(
                f"{named(at)} is of type {str(kind)[:40]!r}, which this server does not take",
                parameter=named(at),
            )


def _tool(tool: Mapping[str, Any], index: int) -> dict[str, Any]:
    at: Path = ("tools", index)
    if tool.get("type") != "function":
        raise InvalidRequestError(
            f"{named(at)} is of type {str(tool.get('type'))[:40]!r}: only functions are known here",
            parameter=named(at),
        )
    function: dict[str, Any] = {"name": text_of(tool.get("name"), (*at, "name"))}
    if tool.get("description"):
        function["description"] = tool["description"]
    function["parameters"] = tool.get("parameters") or {"type": "object"}
    return {"type": "function", "function": function}


class ResponsesShape:
    """A response, whole and as numbered events.

    Its output is the text, if there is any or nothing else, and the calls behind it.
    """

    def __init__(self, head: Head, asked: ResponsesRequest, vocabulary: Vocabulary) -> None:
        self._head = head
        self._asked = asked
        self._vocabulary = vocabulary
        self._logprobs: list[Json] = []
        self._item_id = f"msg_{uuid.uuid4().hex}"
        self._number = 0
        self._text = ""
        self._has_opened = False
        self._done: list[Json] = []

    def whole(self, answer: Answer, counted: RequestReport, field: Json) -> Json:
        """Return the response, `field` being our report on it."""
        status = "incomplete" if self._is_cut(answer) else "completed"
        output = []
        if answer.text or not answer.calls:
            self._logprobs = self._told(answer.tokens)
            output.append(self._item(answer.text, status))
        output += [_call(call) for call in answer.calls]
        return self._closed(answer, counted, output) | field

    def begin(self) -> list[Json]:
        """Return the events before the first text."""
        opened = self._response("in_progress", [], None)
        return [
            self._event("response.created", response=opened),
            self._event("response.in_progress", response=opened),
        ]

    def piece(self, text: str, tokens: Sequence[TokenEvent]) -> list[Json]:
        """Return the events of a piece of text."""
        self._text += text
        told = self._told(tokens)
        self._logprobs += told
        return [
            *self._opened(),
            self._event("response.output_text.delta", **self._place(), delta=text, logprobs=told),
        ]

    def call(self, call: ToolCall) -> list[Json]:
        """Return the events of a call."""
        events = self._text_done("completed")
        index = len(self._done)
        item = _call(call)
        place = {"item_id": item["id"], "output_index": index}
        self._done.append(item)
        return [
            *events,
            self._event(
                "response.output_item.added",
                output_index=index,
                item=item | {"arguments": "", "status": "in_progress"},
            ),
            self._event("response.function_call_arguments.delta", **place, delta=call.arguments),
            self._event(
                "response.function_call_arguments.done",
                **place,
                name=call.name,
                arguments=call.arguments,
            ),
            self._event("response.output_item.done", output_index=index, item=item),
        ]

    def end(self, answer: Answer, counted: RequestReport, field: Json) -> list[Json]:
        """Return the events after the last text."""
        status = "incomplete" if self._is_cut(answer) else "completed"
        events = [] if self._has_opened or self._done else self._opened()
        events += self._text_done(status)
        whole = self._closed(answer, counted, self._done) | field
        return [*events, self._event(f"response.{status}", response=whole)]

    def failure(self, error: ApiError) -> Json:
        """Return the event of an answer that broke off."""
        return self._event("error", code=error.code, message=error.message, param=error.parameter)

    def _opened(self) -> list[Json]:
        """Return the events that open the text, once it is opened none."""
        if self._has_opened:
            return []
        self._has_opened = True
        return [
            self._event(
                "response.output_item.added",
                output_index=len(self._done),
                item=self._item(None, "in_progress"),
            ),
            self._event("response.content_part.added", **self._place(), part=self._part("")),
        ]

    def _text_done(self, status: str) -> list[Json]:
        """Return the events that close the text, if it is open."""
        if not self._has_opened:
            return []
        text, place = self._text, self._place()
        item = self._item(text, status)
        index = len(self._done)
        self._done.append(item)
        self._has_opened = False
        self._text = ""
        events = [
            self._event("response.output_text.done", **place, text=text, logprobs=self._logprobs),
            self._event("response.content_part.done", **place, part=self._part(text)),
            self._event("response.output_item.done", output_index=index, item=item),
        ]
        self._logprobs = []
        # Text behind a call, which is rare, is an item of its own.
        self._item_id = f"msg_{uuid.uuid4().hex}"
        return events

    def _event(self, kind: str, **fields: Any) -> Json:
        number, self._number = self._number, self._number + 1
        return {"type": kind, "sequence_number": number, **fields}

    def _place(self) -> Json:
        return {"item_id": self._item_id, "output_index": len(self._done), "content_index": 0}

    def _item(self, text: str | None, status: str) -> Json:
        return {
            "id": self._item_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [] if text is None else [self._part(text)],
        }

    def _part(self, text: str) -> Json:
        return {
            "type": "output_text", "text": text, "annotations": [], "logprobs": self._logprobs,
        }  # fmt: skip

    def _told(self, tokens: Sequence[TokenEvent]) -> list[Json]:
        """Return the logprobs of tokens whose text is shown."""
        return token_logprobs([token for token in tokens if not token.is_stop], self._vocabulary)

    def _closed(self, answer: Answer, counted: RequestReport, output: list[Json]) -> Json:
        is_cut = self._is_cut(answer)
        usage = {
            "input_tokens": counted.prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": counted.cached_tokens,
                "cache_write_tokens": counted.cache_write_tokens,
            },
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": counted.prompt_tokens + answer.output_tokens,
        }
        reason = {"reason": "max_output_tokens"} if is_cut else None
        status = "incomplete" if is_cut else "completed"
        return self._response(status, output, usage) | {"incomplete_details": reason}

    def _is_cut(self, answer: Answer) -> bool:
        return answer.finish == "length" and not self._asked.is_prewarm

    def _response(self, status: str, output: list[Json], usage: Json | None) -> Json:
        asked = self._asked
        return {
            "id": self._head.response_id,
            "object": "response",
            "created_at": self._head.created_s,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "model": self._head.model,
            "output": list(output),
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "prompt_cache_key": asked.prompt_cache_key,
            "prompt_cache_options": {
                "mode": "implicit",
                "ttl": "30m",
                "comparison_response_id": asked.compared_to,
            }
            if asked.prompt_cache_options
            else None,
            "store": False,
            "top_logprobs": asked.top_logprobs or 0,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "text": {"format": (asked.text or {}).get("format") or {"type": "text"}},
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "truncation": "disabled",
            "usage": usage,
            "metadata": asked.metadata or {},
        }


def _call(call: ToolCall) -> Json:
    return {
        "id": f"fc_{call.id}",
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "status": "completed",
    }
