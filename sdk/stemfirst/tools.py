"""Tools of a prompt, from definitions of the chat API or from typed functions.

Knows how a function's signature becomes a JSON schema. Does not know where tools are sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stemfirst.errors import PromptError
from stemfirst.segments import Tool, caller
from stemfirst.tiers import Tier


def tool(definition: Mapping[str, Any] | Callable[..., Any], *, tier: Tier = Tier.STATIC) -> Tool:
    """Return a tool from its chat-API definition, a typed function, or a pydantic model.

    A function or a model gives its name, its docstring's first paragraph, and a JSON schema of
    its parameters or fields, which pydantic derives from the annotations. A definition of another
    type than `function`, a tool that a provider runs itself, is sent as it is.

    Raises:
        PromptError: the definition lacks a name or is no JSON, the function takes `*args` or
            `**kwargs`, or pydantic is needed and not installed.
    """
    shape = dict(definition) if isinstance(definition, Mapping) else _definition_of(definition)
    kind = shape.get("type", "function")
    if kind == "function":
        if "function" not in shape and "name" in shape:
            flat = {key: value for key, value in shape.items() if key != "type"}
            shape = {"type": "function", "function": flat}
        inner = shape.get("function")
    else:
        # One that the provider runs itself: it stays as it is, and its type may be its only name.
        inner = shape[kind] if isinstance(shape.get(kind), Mapping) else {"name": kind, **shape}
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(name, str) or not name:
        raise PromptError(f"a tool needs a name, got {json.dumps(shape, default=str)[:80]}")
    try:
        text = json.dumps(shape, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PromptError(f"the definition of the tool {name!r} is no JSON: {error}") from None
    return Tool(name, text, tier, caller())


def tools_of(
    tools: Iterable[Tool | Mapping[str, Any] | Callable[..., Any]],
) -> tuple[Tool, ...]:
    """Return tools in the order in which they are given.

    Raises:
        PromptError: this is no list, or a set, which has no order; or as `tool`.
    """
    if isinstance(tools, set | frozenset):
        raise PromptError("tools=... got a set, whose order differs by process: pass a list")
    if isinstance(tools, Mapping | str) or not isinstance(tools, Iterable):
        raise PromptError(f"tools=... takes a list of tools, got {type(tools).__name__}: [tool]")
    return tuple(item if isinstance(item, Tool) else tool(item) for item in tools)


def _definition_of(function: Callable[..., Any]) -> dict[str, Any]:
    import inspect

    name = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(name, str) or not name.isidentifier():
        raise PromptError(
            f"a tool is a named function, a pydantic model or a definition, got {function!r}"[:200]
            + ": write a def, whose name the model is told"
        )
    try:
        from pydantic import BaseModel, ConfigDict, create_model
    except ModuleNotFoundError:
        raise PromptError(
            f"a schema for {function.__name__}() needs pydantic: "
            'pip install "stemfirst[client]", or pass the definition as a dict'
        ) from None
    if isinstance(function, type) and issubclass(function, BaseModel):
        doc = inspect.getdoc(function) if function.__doc__ else None
        return _definition(function.__name__, doc, function.model_json_schema())
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except (NameError, TypeError, ValueError) as error:
        raise PromptError(
            f"the annotations of {function.__name__}() cannot be read: {error}"
        ) from None
    if next(iter(parameters), None) in ("self", "cls"):
        raise PromptError(
            f"{function.__qualname__} takes {next(iter(parameters))}: give a bound method"
        )
    for parameter in parameters.values():
        if parameter.name.startswith("_"):
            raise PromptError(f"{name}() takes {parameter.name}: a model is shown no such name")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PromptError(
                f"{function.__name__}() takes {parameter}, which a model cannot name: "
                "give the tool named parameters"
            )
    # Under names of our own: pydantic warns of `json`, `copy` and the like, which are its methods'.
    names = {f"parameter_{index}": name for index, name in enumerate(parameters)}
    fields: dict[str, Any] = {
        field: (
            Any if parameter.annotation is parameter.empty else parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for field, parameter in zip(names, parameters.values(), strict=True)
    }
    try:
        settings = ConfigDict(alias_generator=names.__getitem__)
        model = create_model(function.__name__, __config__=settings, **fields)
    except (TypeError, ValueError, NameError) as error:
        raise PromptError(f"{function.__name__}() makes no schema: {error}") from None
    return _definition(function.__name__, inspect.getdoc(function), model.model_json_schema())


def _definition(name: str, doc: str | None, schema: dict[str, Any]) -> dict[str, Any]:
    schema.pop("title", None)
    schema.pop("description", None)  # the docstring again, which stands beside the name
    for item in schema.get("properties", {}).values():
        item.pop("title", None)
    text = (doc or "").partition("\n\n")[0]
    described = {"description": " ".join(text.split())} if text else {}
    return {"type": "function", "function": {"name": name, **described, "parameters": schema}}
