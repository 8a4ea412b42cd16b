"""What a tool is, what a call is, and what a request asks of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from stemfirst_server.errors import InvalidRequestError

MOST_CALLS = 16
"""Calls of one answer that is made to call: an end that a weak model does not find by itself."""


class Mode(Enum):
    """Whether the model may, must not or must call."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that may be called.

    Attributes:
        name: of the function.
        parameters: JSON schema of its arguments.
        path: where it stands in the request, as errors name it.
    """

    name: str
    parameters: Mapping[str, Any]
    path: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What a request asks about tools.

    Attributes:
        tools: those that may be called.
        mode: whether it must.
        is_parallel: whether one answer may hold several calls.
    """

    tools: tuple[Tool, ...] = ()
    mode: Mode = Mode.AUTO
    is_parallel: bool = True

    @property
    def is_read(self) -> bool:
        """Whether calls are looked for in what the model writes."""
        return bool(self.tools) and self.mode is not Mode.NONE


NO_TOOLS = ToolUse()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model wrote.

    Attributes:
        id: by which its result will name it.
        name: of the function.
        arguments: JSON as text; an object, as far as the model kept to it.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What became certain of an output: text to show, and calls behind it."""

    text: str = ""
    calls: tuple[ToolCall, ...] = field(default=())


def tool_use(
    tools: Sequence[Mapping[str, Any]],
    choice: object,
    *,
    is_parallel: bool = True,
    field_name: str = "tools",
    schema_name: str = "parameters",
) -> ToolUse:
    """Return what a request asks, from tools in the shape of chat completions.

    Args:
        tools: `{"type": "function", "function": {...}}` each.
        choice: `auto`, `none`, `required`, a function's name in OpenAI's two shapes or
            Anthropic's, or `allowed_tools`; None is auto.
        is_parallel: whether one answer may hold several calls.
        field_name: of the tools, for errors.
        schema_name: of a tool's schema, for errors.

    Raises:
        InvalidRequestError: the choice is none of these, or names a tool that is not there.
    """
    known = tuple(
        _tool(tool["function"], f"{field_name}[{index}].{schema_name}")
        for index, tool in enumerate(tools)
    )
    mode, names = _choice(choice)
    if names is not None:
        by_name = {tool.name: tool for tool in known}
        for name in names:
            if name not in by_name:
                raise InvalidRequestError(
                    f"tool_choice names {name[:60]!r}, which is not among the tools",
                    parameter="tool_choice",
                )
        known = tuple(by_name[name] for name in names)
    if mode is Mode.REQUIRED and not known:
        raise InvalidRequestError(
            "tool_choice asks for a call, and there are no tools: send tools",
            parameter="tool_choice",
        )
    return ToolUse(known, mode, is_parallel)


def _tool(function: Mapping[str, Any], path: str) -> Tool:
    parameters = function.get("parameters")
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    if not isinstance(parameters, Mapping):
        raise InvalidRequestError(f"{path} must be a JSON schema, an object", parameter=path)
    return Tool(str(function["name"]), parameters, path)


def _choice(choice: object) -> tuple[Mode, tuple[str, ...] | None]:
    """Return the mode, and the names that it is limited to, if any."""
    match choice:
        case None | "auto" | {"type": "auto"}:
            return Mode.AUTO, None
        case "none" | {"type": "none"}:
            return Mode.NONE, None
        case "required" | "any" | {"type": "any"}:
            return Mode.REQUIRED, None
        case {"type": "function", "function": {"name": str(name)}}:
            return Mode.REQUIRED, (name,)
        case {"type": "function" | "tool", "name": str(name)}:
            return Mode.REQUIRED, (name,)
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(named)}}:
            return _allowed(mode, named)
        case {"type": "allowed_tools", "mode": mode, "tools": list(named)}:
            return _allowed(mode, named)
    raise InvalidRequestError(
        "tool_choice must be auto, none, required, or name a function of tools",
        parameter="tool_choice",
    )


def _allowed(mode: object, named: list[Any]) -> tuple[Mode, tuple[str, ...]]:
    names = []
    for item in named:
        match item:
            case {"function": {"name": str(name)}} | {"name": str(name)}:
                names.append(name)
            case _:
                raise InvalidRequestError(
                    "tool_choice.tools must name functions", parameter="tool_choice"
                )
    if mode not in ("auto", "required"):
        raise InvalidRequestError(
            "tool_choice.mode must be auto or required", parameter="tool_choice"
        )
    return Mode(mode), tuple(dict.fromkeys(names))


def dumped(value: object) -> str:
    """Return JSON as chat templates write it, so that a call that comes back reads the same."""
    return json.dumps(value, ensure_ascii=False)
