"""A rendered prompt in the shape of OpenAI's Responses API.

Knows that API's items, parts and tools. Which cache fields a model takes is `to_openai`'s.
The system text goes into `input`, not into `instructions`, because only parts carry marks.

Source: openai 3.54.0's types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stemfirst.breakpoints import Block, Placed
from stemfirst.errors import PromptError
from stemfirst.rendered import Rendered
from stemfirst.to_openai import cache_fields, chat_parts


def to_responses(
    rendered: Rendered,
    *,
    model: str | None,
    breakpoints: bool | None,
    ttl: str | Mapping[str, str] | None,
    cache_key: str | None,
) -> dict[str, Any]:
    """Return `input`, `tools` and cache fields for `responses.create`.

    Raises:
        PromptError: the model lacks what was asked for, or a part has no counterpart there.
    """
    messages, placed = chat_parts(rendered)
    carriers = [_carrier(item, messages) for item in placed]
    fields, marks = cache_fields(
        rendered, carriers, model=model, breakpoints=breakpoints, ttl=ttl, cache_key=cache_key
    )
    for mark in marks:
        mark.placed.block["prompt_cache_breakpoint"] = {
            "mode": "explicit",
            **({"ttl": mark.ttl} if mark.ttl else {}),
        }
    items = [item for index, message in enumerate(messages) for item in _items(message, index)]
    tools = [_tool(tool) for tool in rendered.tools]
    return {"input": items, **({"tools": tools} if tools else {}), **fields}


def _carrier(placed: Placed, messages: list[Block]) -> Placed:
    """Return the same place, able to carry a mark only where input text, images and files do."""
    roles = [message["role"] for message in messages if message["content"] is placed.home]
    can_carry = placed.can_carry and bool(roles) and roles[0] not in ("assistant", "tool")
    return Placed(placed.tier, placed.block, placed.home, placed.size_bytes, can_carry)


def _items(message: Block, index: int) -> list[Block]:
    role = message["role"]
    parts = message["content"] or []
    if role == "tool":
        output = "".join(part.get("text", "") for part in parts)
        if any(part["type"] != "text" for part in parts):
            raise PromptError(f"message {index} is a tool's answer with more than text in it")
        return [
            {
                "type": "function_call_output",
                "call_id": message.get("tool_call_id"),
                "output": output,
            }
        ]
    if role not in ("system", "developer", "user", "assistant"):
        raise PromptError(f"message {index} has the role {role!r}, which the Responses API lacks")
    items: list[Block] = []
    if parts:
        content: Any = [_part(part, index, role) for part in parts]
        if message["_was_text"] and all(part.keys() == {"type", "text"} for part in content):
            content = "".join(part["text"] for part in content)
        items.append({"type": "message", "role": role, "content": content})
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        items.append(
            {
                "type": "function_call",
                "call_id": call.get("id"),
                "name": function.get("name"),
                "arguments": function.get("arguments") or "{}",
            }
        )
    return items


def _part(part: Block, index: int, role: str) -> Block:
    kind = part["type"]
    mark = {key: part[key] for key in ("prompt_cache_breakpoint",) if key in part}
    if kind == "text":
        kind = "output_text" if role == "assistant" else "input_text"
        return {"type": kind, "text": part["text"], **mark}
    if kind == "refusal" and role == "assistant":
        return {"type": "refusal", "refusal": part["refusal"]}
    if kind == "image_url":
        image = part["image_url"]
        image = image if isinstance(image, dict) else {"url": image}
        detail = image.get("detail", "auto")
        return {"type": "input_image", "image_url": image["url"], "detail": detail, **mark}
    if kind == "file":
        given = part["file"]
        named = {k: given[k] for k in ("file_id", "file_data", "filename") if k in given}
        return {"type": "input_file", **named, **mark}
    raise PromptError(f"message {index} holds a part of type {kind!r}, which is not sent there")


def _tool(definition: Block) -> Block:
    if definition.get("type") != "function":
        return definition
    function = definition["function"]
    described = {"description": function["description"]} if "description" in function else {}
    return {
        "type": "function",
        "name": function["name"],
        **described,
        "parameters": function.get("parameters") or {"type": "object", "properties": {}},
        # Chat's default is not strict, and this API's is.
        "strict": function.get("strict", False),
    }
