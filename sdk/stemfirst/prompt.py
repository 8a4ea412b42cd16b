"""The prompt as segments with tiers: immutable values, checked when they are built.

Knows how segments form messages, which order is right, and how holes are filled.
Does not know how a provider marks a prefix, how text is hashed, or who sends it.

    POLICY = Prompt(static("You are ..."), tools=[tool(search)])
    rendered = POLICY.then(tenant(profile), request(hole("question"))).render(question=text)
    rendered.openai()  # {"messages": [...], "tools": [...]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from stemfirst import drift
from stemfirst.errors import MissingValueError, PromptError
from stemfirst.inversions import refuse_inversions
from stemfirst.messages import by_position, history_of
from stemfirst.rendered import Rendered as Rendered
from stemfirst.rendered import RenderedMessage
from stemfirst.rendered import RenderedSegment as RenderedSegment
from stemfirst.segments import Hole as Hole
from stemfirst.segments import Message as Message
from stemfirst.segments import Origin as Origin
from stemfirst.segments import Part as Part
from stemfirst.segments import Path as Path
from stemfirst.segments import Segment as Segment
from stemfirst.segments import Tool as Tool
from stemfirst.segments import caller
from stemfirst.tiers import Tier
from stemfirst.tools import tool as tool
from stemfirst.tools import tools_of
from stemfirst.values import text_of

if TYPE_CHECKING:
    from stemfirst.templates import TemplateString

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
        self._fill(_gather(parts), tools_of(tools))

    def _fill(self, messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> None:
        _refuse_same_names(tools)
        refuse_inversions(messages, tools)
        object.__setattr__(self, "messages", messages)
        object.__setattr__(self, "tools", tools)
        object.__setattr__(self, "_key", (messages, tools))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Prompt is immutable; use then() to make a longer one ({name})")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Prompt is immutable ({name})")

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it go to a worker process: `copy` and `pickle` make it anew."""
        return _made_of, (self.messages, self.tools)

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

    def render(self, values: Mapping[str, object] | None = None, /, **more: object) -> Rendered:
        """Return what is sent when each hole is filled with `str(value)`.

        Raises:
            MissingValueError: a hole got no value, or None.
            PromptError: a value was given that no hole asks for, or one whose text does not stay:
                bytes, a set, an object that shows its address.
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
        if drift.is_watching():
            drift.notice(segments)
        return Rendered(tuple(segments), messages)

    @classmethod
    def from_messages(
        cls,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Iterable[Tool | Mapping[str, Any] | Callable[..., Any]] = (),
    ) -> Prompt:
        """Return a prompt of messages in the shape of the chat API, byte for byte.

        System messages at the front are taken for static, the last user message for the
        request, and all between for the session. Build the prompt by hand where that is wrong.

        Raises:
            PromptError: a message has no role, or content that is neither text, parts nor null.
        """
        return cls(by_position(messages), tools=tools)

    @classmethod
    def t(
        cls,
        template: TemplateString,
        *,
        tools: Iterable[Tool | Mapping[str, Any] | Callable[..., Any]] = (),
    ) -> Prompt:
        r"""Return the prompt of a t-string (Python 3.14) whose format specs name tiers.

        Prompt.t(t"You are …\n\nPlan: {plan:tenant}\n\n{question:request}")

        Raises:
            PromptError: a value's format spec is no tier.
            InversionError: a paragraph of fixed text stands behind a value.
        """
        from stemfirst.templates import from_template_string

        return from_template_string(template, tools_of(tools))

    def _repr_html_(self) -> str:
        """Show the prompt by tiers in a notebook."""
        from stemfirst.html import prompt_html

        return prompt_html(self)


def _render_message(
    message: Message, index: int, given: Mapping[str, object], segments: list[RenderedSegment]
) -> RenderedMessage:
    """Append the message's segments to `segments` and return the message."""
    place: Path = ("messages", index, "content")
    content: list[str | Part] = []
    for position, segment in enumerate(message.segments):
        at = (*place, position) if message.as_parts else place
        source: Segment | None = segment
        hole: str | None = None
        if isinstance(segment.content, Part):
            text = segment.content.json
            content.append(segment.content)
        else:
            if isinstance(segment.content, Hole):
                text, source, hole = _value(segment, given), None, segment.content.name
            else:
                text = segment.content
            if message.as_parts:
                at = (*at, "text")
            elif position:
                text = message.separator + text
            content.append(text)
        segments.append(
            RenderedSegment(
                f"s{len(segments)}",
                segment.tier,
                at,
                text,
                segment.name,
                segment.origin,
                source,
                hole,
            )
        )
    if message.as_parts:
        return RenderedMessage(message.role, tuple(content), message.extra)
    if not message.segments:
        return RenderedMessage(message.role, None, message.extra)
    texts = [item for item in content if isinstance(item, str)]
    assert len(texts) == len(content), "content that is not text needs as_parts"
    return RenderedMessage(message.role, "".join(texts), message.extra)


def _value(segment: Segment, given: Mapping[str, object]) -> str:
    assert isinstance(segment.content, Hole)
    name = segment.content.name
    value = given.get(name)
    if isinstance(value, str):
        return str(value)
    place = f" (built at {segment.origin})" if segment.origin else ""
    what = f"the {segment.tier.label} hole {name!r}{place}"
    if name not in given:
        raise MissingValueError(f"no value for {what}: pass render({name}=...)")
    return text_of(value, what)


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
    loose: list[bool] = [message.is_loose for message in before]
    for part in parts:
        if isinstance(part, Segment):
            role = ROLE_OF_TIER[part.tier]
            if messages and loose[-1] and messages[-1].role == role:
                messages[-1] = _loose(role, (*messages[-1].segments, part))
            else:
                messages.append(_loose(role, (part,)))
                loose.append(True)
        elif isinstance(part, Message):
            messages.append(_as_parts_where_needed(part))
            loose.append(False)
        elif isinstance(part, Sequence) and _are_messages(part):
            messages.extend(part)
            loose.extend(False for _ in part)
        else:
            raise PromptError(
                f"a prompt is made of segments and messages, got {type(part).__name__}: "
                "wrap text in static(...), tenant(...), session(...) or request(...)"
            )
    return tuple(messages)


def _are_messages(parts: Sequence[object]) -> bool:
    is_text = isinstance(parts, str | bytes)  # an empty one is a sequence of nothing but messages
    return not is_text and all(isinstance(item, Message) for item in parts)


def _refuse_same_names(tools: tuple[Tool, ...]) -> None:
    seen: set[str] = set()
    for item in tools:
        if item.name in seen:
            raise PromptError(f"two tools are called {item.name!r}; give each its own name")
        seen.add(item.name)


def hole(name: str) -> Hole:
    """Return a place for a value that `Prompt.render` puts in.

    Raises:
        PromptError: the name is no text, or empty.
    """
    if not isinstance(name, str) or not name:
        raise PromptError(f"a hole needs a name, got {name!r}")
    return Hole(name)


def _made_of(messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> Prompt:
    made = object.__new__(Prompt)
    made._fill(messages, tools)
    return made


def static(text: str | Hole | Part, *, name: str | None = None) -> Segment:
    """Return text that changes with a deployment only."""
    return _segment(Tier.STATIC, text, name)


def tenant(text: str | Hole | Part, *, name: str | None = None) -> Segment:
    """Return text that differs between customers and stays for each."""
    return _segment(Tier.TENANT, text, name)


def request(text: str | Hole | Part, *, name: str | None = None) -> Segment:
    """Return text of this request: the question, retrieved snippets, a document."""
    return _segment(Tier.REQUEST, text, name)


def volatile(text: str | Hole | Part, *, name: str | None = None) -> Segment:
    """Return text that differs between two identical calls: a clock, a random number."""
    return _segment(Tier.VOLATILE, text, name)


@overload
def session(content: str | Hole | Part, *, name: str | None = None) -> Segment: ...
@overload
def session(
    content: Sequence[Mapping[str, Any]], *, name: str | None = None
) -> tuple[Message, ...]: ...
def session(
    content: str | Hole | Part | Sequence[Mapping[str, Any]], *, name: str | None = None
) -> Segment | tuple[Message, ...]:
    """Return text that stays for a conversation, or its history as messages.

    Args:
        content: text, a hole, or past messages in the shape of the chat API, which are sent
            byte for byte as they are given.
        name: what reports call it.

    Raises:
        PromptError: a message has no role, or content that is neither text, parts nor null.
    """
    if isinstance(content, str | Hole | Part):
        return _segment(Tier.SESSION, content, name)
    return history_of(content, Tier.SESSION, name)


def system(*segments: Segment, separator: str = BLANK_LINE) -> Message:
    """Return a system message of these segments."""
    return _message("system", segments, separator)


def user(*segments: Segment, separator: str = BLANK_LINE) -> Message:
    """Return a user message of these segments."""
    return _message("user", segments, separator)


def assistant(*segments: Segment, separator: str = BLANK_LINE) -> Message:
    """Return an assistant message of these segments."""
    return _message("assistant", segments, separator)


def _segment(tier: Tier, text: str | Hole | Part, name: str | None) -> Segment:
    if not isinstance(text, str | Hole | Part):
        raise PromptError(
            f"{tier.label}(...) takes text, hole(name), image(...) or file(...), "
            f"got {type(text).__name__}: "
            "format the value yourself, so that its text is under your control"
        )
    return Segment(tier, text, name, caller())


def _message(role: str, segments: tuple[Segment, ...], separator: str) -> Message:
    """Return a message; where it holds an image or a file, as a list of parts."""
    return _as_parts_where_needed(Message(role, segments, separator))


def _loose(role: str, segments: tuple[Segment, ...]) -> Message:
    return _as_parts_where_needed(Message(role, segments, BLANK_LINE, is_loose=True))


def _as_parts_where_needed(message: Message) -> Message:
    if message.as_parts or not any(isinstance(item.content, Part) for item in message.segments):
        return message
    return replace(message, as_parts=True)
