"""The prompt as segments with tiers: immutable values, checked when they are built.

Knows how segments form messages, which order is right, and what text and bytes are sent.
Does not know how a provider marks a prefix, how text is hashed, or who sends it.

    POLICY = Prompt(static("You are ..."), tools=[tool(search)])
    rendered = POLICY.then(tenant(profile), request(hole("question"))).render(question=text)
    rendered.openai()  # {"messages": [...], "tools": [...]}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, overload

from stemfirst.errors import InversionError, MissingValueError, PromptError
from stemfirst.tiers import Tier

Path: TypeAlias = tuple[str | int, ...]
"""Where a string stands in the request body: `("messages", 0, "content")`."""

BLANK_LINE = "\n\n"
"""What separates loose segments of one message."""

ROLE_OF_TIER = {
    Tier.STATIC: "system",
    Tier.TENANT: "system",
    Tier.SESSION: "system",
    Tier.REQUEST: "user",
    Tier.VOLATILE: "user",
}
"""The role of a segment that was given none."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The place in source code that made a segment; it never leaves the process."""

    path: str
    line: int
    column: int | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" + (f":{self.column}" if self.column is not None else "")


@dataclass(frozen=True, slots=True)
class Hole:
    """A place where a value is put in when the prompt is rendered."""

    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """One content part that is not text (an image, a file), as JSON text."""

    json: str


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Segment:
    """A run of text, or a hole, with one tier."""

    tier: Tier
    content: str | Hole | Part
    name: str | None = None
    origin: Origin | None = None

    def __str__(self) -> str:
        if self.name:
            return f"{self.tier.label}({self.name})"
        if isinstance(self.content, Hole):
            return f"{self.tier.label}({{{self.content.name}}})"
        text = self.content.json if isinstance(self.content, Part) else self.content
        short = " ".join(text.split())
        return f"{self.tier.label}({short[:40] + '…' if len(short) > 40 else short!r})"


@dataclass(frozen=True, slots=True)
class Message:
    """A role and the segments of its content.

    `separator` stands between segments. `extra` holds the message's other fields
    (`tool_calls`, `tool_call_id`, `name`) as pairs of name and JSON text, in the order in
    which they are sent. `as_parts` sends the content as a list of parts, one a segment.
    A message without segments is sent with `content: null`.
    """

    role: str
    segments: tuple[Segment, ...]
    separator: str = ""
    extra: tuple[tuple[str, str], ...] = ()
    as_parts: bool = False


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Tool:
    """A tool definition in the shape of the chat API, as JSON text in authoring order.

    Keys keep the order that the author gave them, because the order of a schema's properties
    can steer what a model generates; only digests are taken over the canonical form.
    """

    name: str
    json: str
    tier: Tier = Tier.STATIC
    origin: Origin | None = None


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

    @property
    def is_tool(self) -> bool:
        """Whether this is a tool definition, whose text is JSON."""
        return self.at[0] == "tools"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt with every hole filled: what is sent, and which segment each byte is of."""

    segments: tuple[RenderedSegment, ...]
    _messages: tuple[str, ...] = field(repr=False)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Messages in the shape of the chat API; a fresh copy at each call."""
        return [json.loads(message) for message in self._messages]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Tool definitions in the shape of the chat API; a fresh copy at each call."""
        return [json.loads(segment.text) for segment in self.segments if segment.is_tool]

    def openai(self) -> dict[str, Any]:
        """Return `messages`, and `tools` where there are any, for the chat completions API."""
        tools = self.tools
        return {"messages": self.messages, **({"tools": tools} if tools else {})}

    def anthropic(self) -> dict[str, Any]:
        """Return `system`, `messages` and `tools` for Anthropic's Messages API.

        The last block of the static, tenant and session text is marked as a cache breakpoint.

        Raises:
            PromptError: a message has no counterpart there.
        """
        from stemfirst.to_anthropic import to_anthropic

        return to_anthropic(self)


class Prompt:
    """Messages and tools, laid out from stable to varying; an immutable value.

    Loose segments are gathered into messages: `static`, `tenant` and `session` text goes to
    the system message, `request` and `volatile` text to a user message, with blank lines
    between. Use `system(...)`, `user(...)` and `assistant(...)` where that is not the shape
    that you want, and `session([...])` for a history.

    Raises:
        InversionError: a segment stands behind a less stable one.
        PromptError: a part is no segment, message or list of messages, or two tools share a
            name.
    """

    __slots__ = ("_key", "messages", "tools")

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    _key: tuple[tuple[Message, ...], tuple[Tool, ...]]

    def __init__(
        self,
        *parts: Segment | Message | Sequence[Message],
        tools: Iterable[Tool | Mapping[str, Any] | Callable[..., Any]] = (),
    ) -> None:
        made = tuple(item if isinstance(item, Tool) else tool(item) for item in tools)
        self._fill(_gather(parts), made)

    def _fill(self, messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> None:
        _refuse_same_names(tools)
        _refuse_inversions(messages)
        object.__setattr__(self, "messages", messages)
        object.__setattr__(self, "tools", tools)
        object.__setattr__(self, "_key", (messages, tools))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Prompt is immutable; use then() to make a longer one ({name})")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prompt) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        inner = ", ".join(
            f"{message.role}({', '.join(map(str, message.segments))})" for message in self.messages
        )
        return f"Prompt({inner}{f', tools={len(self.tools)}' if self.tools else ''})"

    def then(self, *parts: Segment | Message | Sequence[Message]) -> Prompt:
        """Return a prompt that goes on with `parts`; this one stays as it is.

        Raises:
            InversionError: a part is more stable than something that this prompt holds.
        """
        longer = object.__new__(Prompt)
        longer._fill(_gather(parts, self.messages), self.tools)
        return longer

    def render(self, values: Mapping[str, object] | None = None, **more: object) -> Rendered:
        """Return what is sent when each hole is filled with `str(value)`.

        Raises:
            MissingValueError: a hole got no value.
            PromptError: a value was given that no hole asks for.
        """
        given = {**(values or {}), **more}
        _refuse_unknown_values(self.messages, given)
        segments: list[RenderedSegment] = []
        for index, item in enumerate(self.tools):
            at: Path = ("tools", index)
            segments.append(
                RenderedSegment(
                    f"s{len(segments)}", item.tier, at, item.json, item.name, item.origin, item
                )
            )
        messages = tuple(
            _render_message(message, index, given, segments)
            for index, message in enumerate(self.messages)
        )
        return Rendered(tuple(segments), messages)


def _render_message(
    message: Message, index: int, given: Mapping[str, object], segments: list[RenderedSegment]
) -> str:
    """Append the message's segments to `segments` and return the message as JSON text."""
    content: list[Any] = []
    for position, segment in enumerate(message.segments):
        at: Path = ("messages", index, "content")
        if message.as_parts:
            at = (*at, position)
        source: Segment | None = segment
        if isinstance(segment.content, Part):
            text = segment.content.json
            content.append(json.loads(text))
        else:
            if isinstance(segment.content, Hole):
                text, source = _value(segment, given), None
            else:
                text = segment.content
            if message.as_parts:
                at = (*at, "text")
                content.append({"type": "text", "text": text})
            else:
                text = message.separator + text if position else text
                content.append(text)
        segments.append(
            RenderedSegment(
                f"s{len(segments)}", segment.tier, at, text, segment.name, segment.origin, source
            )
        )
    body: dict[str, Any] = {"role": message.role}
    if message.as_parts:
        body["content"] = content
    else:
        body["content"] = "".join(content) if message.segments else None
    for name, value in message.extra:
        body[name] = json.loads(value)
    return json.dumps(body, ensure_ascii=False)


def _value(segment: Segment, given: Mapping[str, object]) -> str:
    assert isinstance(segment.content, Hole)
    try:
        return str(given[segment.content.name])
    except KeyError:
        place = f" (built at {segment.origin})" if segment.origin else ""
        name = segment.content.name
        raise MissingValueError(
            f"no value for the {segment.tier.label} hole {name!r}{place}: pass render({name}=...)"
        ) from None


def _refuse_unknown_values(messages: tuple[Message, ...], given: Mapping[str, object]) -> None:
    if not given:
        return
    names = {
        segment.content.name
        for message in messages
        for segment in message.segments
        if isinstance(segment.content, Hole)
    }
    unknown = [name for name in given if name not in names]
    if unknown:
        known = ", ".join(sorted(names)) or "none"
        raise PromptError(f"no hole is called {unknown[0]!r}; this prompt's holes: {known}")


def _gather(
    parts: Sequence[Segment | Message | Sequence[Message]], before: tuple[Message, ...] = ()
) -> tuple[Message, ...]:
    """Return `before` and `parts` as messages, loose segments joined to the last of their role."""
    messages = list(before)
    loose: list[bool] = [message.separator == BLANK_LINE for message in before]
    for part in parts:
        if isinstance(part, Segment):
            role = ROLE_OF_TIER[part.tier]
            if messages and loose[-1] and messages[-1].role == role and not messages[-1].as_parts:
                messages[-1] = replace(messages[-1], segments=(*messages[-1].segments, part))
            else:
                messages.append(Message(role, (part,), BLANK_LINE))
                loose.append(True)
        elif isinstance(part, Message):
            messages.append(part)
            loose.append(False)
        elif isinstance(part, Sequence) and all(isinstance(item, Message) for item in part):
            messages.extend(part)
            loose.extend(False for _ in part)
        else:
            raise PromptError(
                f"a prompt is made of segments and messages, got {type(part).__name__}: "
                "wrap text in static(...), tenant(...), session(...) or request(...)"
            )
    return tuple(messages)


def _refuse_inversions(messages: tuple[Message, ...]) -> None:
    """Raise where a segment stands behind a less stable one, and show the order to write."""
    least_stable: Segment | None = None
    for message in messages:
        for segment in message.segments:
            if least_stable is not None and segment.tier < least_stable.tier:
                raise InversionError(_inversion(messages, least_stable, segment))
            least_stable = segment


def _inversion(messages: tuple[Message, ...], first: Segment, second: Segment) -> str:
    flat = [segment for message in messages for segment in message.segments]
    ordered = sorted(flat, key=lambda segment: segment.tier)
    place = f" (built at {second.origin})" if second.origin else ""
    return (
        f"{second}{place} stands behind {first}, which changes more often: each change of the "
        f"first makes the cache forget the second.\n"
        f"  now:   {' · '.join(map(str, flat))}\n"
        f"  write: {' · '.join(map(str, ordered))}\n"
        f"If it must close the turn, give it the tier of what it closes: "
        f"{first.tier.label}(...)."
    )


def _refuse_same_names(tools: tuple[Tool, ...]) -> None:
    seen: set[str] = set()
    for item in tools:
        if item.name in seen:
            raise PromptError(f"two tools are called {item.name!r}; give each its own name")
        seen.add(item.name)


def hole(name: str) -> Hole:
    """Return a place for a value that `Prompt.render` puts in."""
    return Hole(name)


def static(text: str | Hole, *, name: str | None = None) -> Segment:
    """Return text that changes with a deployment only."""
    return _segment(Tier.STATIC, text, name)


def tenant(text: str | Hole, *, name: str | None = None) -> Segment:
    """Return text that differs between customers and stays for each."""
    return _segment(Tier.TENANT, text, name)


def request(text: str | Hole, *, name: str | None = None) -> Segment:
    """Return text of this request: the question, retrieved snippets, a document."""
    return _segment(Tier.REQUEST, text, name)


def volatile(text: str | Hole, *, name: str | None = None) -> Segment:
    """Return text that differs between two identical calls: a clock, a random number."""
    return _segment(Tier.VOLATILE, text, name)


@overload
def session(content: str | Hole, *, name: str | None = None) -> Segment: ...
@overload
def session(
    content: Sequence[Mapping[str, Any]], *, name: str | None = None
) -> tuple[Message, ...]: ...
def session(
    content: str | Hole | Sequence[Mapping[str, Any]], *, name: str | None = None
) -> Segment | tuple[Message, ...]:
    """Return text that stays for a conversation, or its history as messages.

    Args:
        content: text, a hole, or past messages in the shape of the chat API, which are sent
            byte for byte as they are given.
        name: what reports call it.

    Raises:
        PromptError: a message has no role, or content that is neither text, parts nor null.
    """
    if isinstance(content, str | Hole):
        return _segment(Tier.SESSION, content, name)
    origin = _caller()
    return tuple(
        _message_of(item, index, Tier.SESSION, name, origin) for index, item in enumerate(content)
    )


def system(*segments: Segment, separator: str = BLANK_LINE) -> Message:
    """Return a system message of these segments."""
    return Message("system", segments, separator)


def user(*segments: Segment, separator: str = BLANK_LINE) -> Message:
    """Return a user message of these segments."""
    return Message("user", segments, separator)


def assistant(*segments: Segment, separator: str = BLANK_LINE) -> Message:
    """Return an assistant message of these segments."""
    return Message("assistant", segments, separator)


def tool(definition: Mapping[str, Any] | Callable[..., Any], *, tier: Tier = Tier.STATIC) -> Tool:
    """Return a tool from its chat-API definition, or from a typed function.

    A function gives its name, its docstring's first paragraph, and a JSON schema of its
    parameters, which pydantic derives from the annotations.

    Raises:
        PromptError: the definition lacks a name or is no JSON, the function takes `*args` or
            `**kwargs`, or pydantic is needed and not installed.
    """
    shape = dict(definition) if isinstance(definition, Mapping) else _definition_of(definition)
    if "function" not in shape and "name" in shape:
        shape = {"type": "function", "function": shape}
    name = (
        shape.get("function", {}).get("name")
        if isinstance(shape.get("function"), Mapping)
        else None
    )
    if not isinstance(name, str) or not name:
        raise PromptError(f"a tool needs a name, got {json.dumps(shape, default=str)[:80]}")
    try:
        text = json.dumps(shape, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PromptError(f"the definition of the tool {name!r} is no JSON: {error}") from None
    return Tool(name, text, tier, _caller())


def _definition_of(function: Callable[..., Any]) -> dict[str, Any]:
    import inspect

    try:
        from pydantic import create_model
    except ModuleNotFoundError:
        raise PromptError(
            f"a schema for {function.__name__}() needs pydantic: "
            'pip install "stemfirst[client]", or pass the definition as a dict'
        ) from None
    parameters = inspect.signature(function, eval_str=True).parameters
    for parameter in parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PromptError(
                f"{function.__name__}() takes {parameter}, which a model cannot name: "
                "give the tool named parameters"
            )
    fields: dict[str, Any] = {
        name: (
            Any if parameter.annotation is parameter.empty else parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for name, parameter in parameters.items()
    }
    schema = create_model(function.__name__, **fields).model_json_schema()
    schema.pop("title", None)
    for item in schema.get("properties", {}).values():
        item.pop("title", None)
    text = (inspect.getdoc(function) or "").partition("\n\n")[0]
    described = {"description": " ".join(text.split())} if text else {}
    return {
        "type": "function",
        "function": {"name": function.__name__, **described, "parameters": schema},
    }


def _message_of(
    item: Mapping[str, Any], index: int, tier: Tier, name: str | None, origin: Origin | None
) -> Message:
    role = item.get("role")
    if not isinstance(role, str):
        raise PromptError(f"message {index} has no role: {str(dict(item))[:80]}")
    extra = tuple(
        (key, json.dumps(value, ensure_ascii=False))
        for key, value in item.items()
        if key not in ("role", "content")
    )
    content = item.get("content")
    if content is None:
        return Message(role, (), extra=extra)
    if isinstance(content, str):
        return Message(role, (Segment(tier, content, name, origin),), extra=extra)
    if isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content):
        parts = tuple(
            Segment(
                tier,
                part["text"]
                if part.keys() == {"type", "text"} and part["type"] == "text"
                else Part(json.dumps(part, ensure_ascii=False)),
                name,
                origin,
            )
            for part in content
        )
        return Message(role, parts, extra=extra, as_parts=True)
    raise PromptError(
        f"message {index} has content of type {type(content).__name__}: "
        "give a string, a list of parts, or None"
    )


def _segment(tier: Tier, text: str | Hole, name: str | None) -> Segment:
    if not isinstance(text, str | Hole):
        raise PromptError(
            f"{tier.label}(...) takes text or hole(name), got {type(text).__name__}: "
            "format the value yourself, so that its text is under your control"
        )
    return Segment(tier, text, name, _caller())


def _caller() -> Origin | None:
    """Return the place that called this module: where the user's code built the value."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__:
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno)
