"""Messages and tools to the text that the model reads, through the model's chat template.

Knows the shapes that clients send and the shapes that templates expect. Does not know tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from stemfirst_server.errors import InvalidRequestError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

# A template is a program: it raises on purpose, or stumbles over a field that it expected.
_TEMPLATE_FAULTS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)

_RESERVED = frozenset(
    {"conversation", "messages", "tools", "tokenize", "add_generation_prompt", "return_dict",
     "continue_final_message", "chat_template", "padding", "truncation", "max_length",
     "return_tensors", "return_assistant_tokens_mask", "tokenizer_kwargs"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is rendered: messages and tools as JSON values, checked, and the template's options."""

    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    options: tuple[tuple[str, Any], ...] = ()


def conversation(
    messages: Sequence[object],
    tools: Sequence[object] | None = None,
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Conversation:
    """Return the conversation that a client sent, once it is known to be one.

    Raises:
        InvalidRequestError: no messages, an unknown role, content that is not text, a tool that
            is no function; the message names the place.
    """
    if not messages:
        raise InvalidRequestError("messages must hold at least one message", parameter="messages")
    checked = tuple(_message(item, index) for index, item in enumerate(messages))
    known_tools = tuple(_tool(item, index) for index, item in enumerate(tools or ()))
    if continue_final_message and add_generation_prompt:
        raise InvalidRequestError(
            "continue_final_message and add_generation_prompt exclude each other: "
            "set add_generation_prompt to false",
            parameter="continue_final_message",
        )
    return Conversation(
        checked,
        known_tools,
        add_generation_prompt,
        continue_final_message,
        tuple((name, value) for name, value in (options or {}).items() if name not in _RESERVED),
    )


def effort_option(effort: object) -> dict[str, str]:
    """Return the option of a template that OpenAI's effort of reasoning is; others ignore it."""
    return {"reasoning_effort": effort} if isinstance(effort, str) else {}


class ChatTemplate:
    """The model's chat template; renders conversations. Safe to call from several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        source = tokenizer.chat_template
        self.source = source if isinstance(source, str) else json.dumps(source or "")
        self.exists = bool(source)
        # Newer templates print a string as it is; older ones would quote it a second time.
        self._takes_argument_text = "arguments is string" in self.source

    def render(self, asked: Conversation) -> str:
        """Return the text that the model reads.

        Raises:
            InvalidRequestError: the model has no template, or the template refuses the messages.
        """
        if not self.exists:
            raise InvalidRequestError(
                "this model has no chat template: use /v1/completions, or serve a chat model",
                parameter="messages",
            )
        refusal: Exception | None = None
        # Most templates know no developer role; its older name means the same to them.
        has_developer = any(message["role"] == "developer" for message in asked.messages)
        for keeps_role in (True, False) if has_developer else (True,):
            try:
                return self._render(asked, has_developer=keeps_role)
            except _TEMPLATE_FAULTS as error:
                refusal = error
        assert refusal is not None
        raise InvalidRequestError(
            f"the model's chat template refused these messages: {_first_line(refusal)}",
            parameter="messages",
        ) from refusal

    def written_call(self, name: str, arguments: Mapping[str, Any]) -> str | None:
        """Return what the template writes for an answer that is one call; None if it refuses."""
        function = {"name": name, "arguments": json.dumps(arguments)}
        # Nine letters and digits: some templates take no other id.
        call = {"id": "call00001", "type": "function", "function": function}
        schema = {"type": "object", "properties": {key: {"type": "string"} for key in arguments}}
        tool = {"type": "function", "function": {"name": name, "parameters": schema}}
        asked = {"role": "user", "content": "?"}
        answer = {"role": "assistant", "content": "", "tool_calls": [call]}
        try:
            before, after = (
                self.render(conversation(messages, [tool], add_generation_prompt=False))
                for messages in ([asked], [asked, answer])
            )
        except InvalidRequestError:
            return None
        shared = zip(before, after, strict=False)
        return after[sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], shared)) :]

    def _render(self, asked: Conversation, *, has_developer: bool) -> str:
        messages = [self._as_expected(message, has_developer) for message in asked.messages]
        text = self._tokenizer.apply_chat_template(
            messages,
            tools=[dict(tool) for tool in asked.tools] or None,
            tokenize=False,
            add_generation_prompt=asked.add_generation_prompt,
            continue_final_message=asked.continue_final_message,
            **dict(asked.options),
        )
        assert isinstance(text, str)
        return text

    def _as_expected(self, message: Mapping[str, Any], has_developer: bool) -> dict[str, Any]:
        shaped = dict(message)
        if shaped["role"] == "developer" and not has_developer:
            shaped["role"] = "system"
        shaped["content"] = "".join(text for _, text in content_texts(message))
        if shaped.get("tool_calls"):
            shaped["tool_calls"] = [self._call(call) for call in shaped["tool_calls"]]
        return shaped

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = dict(call["function"])
        arguments = function.get("arguments", "{}")
        if isinstance(arguments, str) and not self._takes_argument_text:
            # Text that is no JSON was written by a model; the template shows it as it is.
            with suppress(ValueError):
                function["arguments"] = json.loads(arguments or "{}")
        return {**call, "function": function}


def content_texts(message: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """Return each text of a message's content with its path below the message, in order."""
    content = message.get("content")
    if isinstance(content, str):
        return [(("content",), content)]
    if isinstance(content, Sequence):
        return [
            (("content", index), part)
            if isinstance(part, str)
            else (("content", index, "text"), part["text"])
            for index, part in enumerate(content)
        ]
    return []


def _message(item: object, index: int) -> Mapping[str, Any]:
    place = f"messages[{index}]"
    if not isinstance(item, Mapping):
        raise InvalidRequestError(f"{place} must be an object", parameter=place)
    role = item.get("role")
    if role not in ROLES:
        shown = repr(role)[:40]
        raise InvalidRequestError(
            f"{place}.role must be one of {', '.join(ROLES)}, got {shown}",
            parameter=f"{place}.role",
        )
    _check_content(item.get("content"), f"{place}.content")
    calls = item.get("tool_calls")
    if calls is not None:
        _check_calls(calls, f"{place}.tool_calls")
    if item.get("content") is None and not calls and role != "assistant":
        raise InvalidRequestError(
            f"{place}.content is missing: a {role} message needs text",
            parameter=f"{place}.content",
        )
    return item


def _check_content(content: object, place: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise InvalidRequestError(
            f"{place} must be a string, a list of parts or null", parameter=place
        )
    for index, part in enumerate(content):
        if isinstance(part, str):
            continue
        if not isinstance(part, Mapping):
            raise InvalidRequestError(f"{place}[{index}] must be an object", parameter=place)
        if part.get("type") not in ("text", "input_text", "output_text", "refusal", None):
            shown = repr(part.get("type"))[:40]
            raise InvalidRequestError(
                f"{place}[{index}] has type {shown}: this model takes text only",
                parameter=f"{place}[{index}]",
            )
        if not isinstance(part.get("text"), str):
            raise InvalidRequestError(
                f"{place}[{index}].text must be a string", parameter=f"{place}[{index}].text"
            )


def _check_calls(calls: object, place: str) -> None:
    if not isinstance(calls, list):
        raise InvalidRequestError(f"{place} must be a list", parameter=place)
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise InvalidRequestError(
                f"{place}[{index}].function.name must be a string",
                parameter=f"{place}[{index}].function.name",
            )


def _tool(item: object, index: int) -> Mapping[str, Any]:
    place = f"tools[{index}]"
    function = item.get("function") if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(function, Mapping):
        raise InvalidRequestError(
            f"{place} must be an object with a field function", parameter=place
        )
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise InvalidRequestError(
            f"{place}.function.name must be a non-empty string", parameter=f"{place}.function.name"
        )
    return item


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
