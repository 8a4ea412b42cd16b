"""A rendered prompt in the shape of Anthropic's Messages API, with its cache breakpoints.

Knows that API's places for system text, tools and tool results, and where a breakpoint pays:
at the end of each tier that a later request may share. Does not know which model is asked, so
not the least size that it caches: below that, a breakpoint does nothing and costs nothing.

Source: anthropic 2.12.0's types; Anthropic's own guide to prompt caching as of September 2026:
at most four breakpoints, in the order tools, system, messages; no empty text blocks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from stemfirst.errors import PromptError
from stemfirst.prompt import Rendered, RenderedSegment
from stemfirst.tiers import Tier

MARKED_TIERS = (Tier.STATIC, Tier.TENANT, Tier.SESSION)
"""Tiers whose end gets a breakpoint: three of the four that a request may have."""

Block = dict[str, Any]


def to_anthropic(rendered: Rendered) -> dict[str, Any]:
    """Return `system`, `messages` and `tools` for `client.messages.create`.

    Raises:
        PromptError: a message has no counterpart there; the text names it.
    """
    last: dict[Tier, Block] = {}  # the block that ends each tier, in the order of the prompt
    tools = []
    for segment in rendered.segments:
        if segment.is_tool:
            tools.append(_tool(json.loads(segment.text)))
            last[segment.tier] = tools[-1]
    system: list[Block] = []
    messages: list[Block] = []
    for index, message in enumerate(rendered.messages):
        segments = [item for item in rendered.segments if not item.is_tool and item.at[1] == index]
        placed = _content(segments)
        role = message["role"]
        if role in ("system", "developer"):
            if messages:
                raise PromptError(
                    f"message {index} is a {role} message behind others: Anthropic takes system "
                    "text at the front only; give it the role user, or move it"
                )
            system += [block for _, block in placed]
        elif role == "tool":
            tier = segments[0].tier if segments else Tier.SESSION
            result = {
                "type": "tool_result",
                "tool_use_id": message.get("tool_call_id"),
                "content": [block for _, block in placed],
            }
            placed = [(tier, result)]
            if not (messages and _holds_results(messages[-1])):
                messages.append({"role": "user", "content": []})
            messages[-1]["content"].append(result)
        elif role in ("user", "assistant"):
            tier = segments[-1].tier if segments else Tier.SESSION
            placed += [(tier, _tool_use(call)) for call in message.get("tool_calls") or ()]
            messages.append({"role": role, "content": [block for _, block in placed]})
        else:
            raise PromptError(f"message {index} has the role {role!r}, which Anthropic lacks")
        last.update(placed)
    for tier in MARKED_TIERS:
        if tier in last:
            last[tier]["cache_control"] = {"type": "ephemeral"}
    shape: dict[str, Any] = {"messages": messages}
    if system:
        shape["system"] = system
    if tools:
        shape["tools"] = tools
    return shape


def _content(segments: Sequence[RenderedSegment]) -> list[tuple[Tier, Block]]:
    """Return a message's blocks with their tiers: one a tier's run of text, one a part.

    No block may be blank there, and no byte may be lost: blank text joins the block behind it,
    or the one before where it comes last.
    """
    placed: list[tuple[Tier, Block]] = []
    blank = ""
    for (tier, place), run in groupby(segments, key=lambda item: (item.tier, item.at)):
        text = "".join(item.text for item in run)
        if place[-1] not in ("content", "text"):
            placed.append((tier, _part(json.loads(text))))
        elif not text.strip():
            blank += text
        else:
            placed.append((tier, {"type": "text", "text": blank + text}))
            blank = ""
    if blank and placed and placed[-1][1]["type"] == "text":
        placed[-1][1]["text"] += blank
    return placed


def _tool(definition: dict[str, Any]) -> Block:
    function = definition.get("function", definition)
    tool: Block = {"name": function["name"]}
    if "description" in function:
        tool["description"] = function["description"]
    tool["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    return tool


def _tool_use(call: dict[str, Any]) -> Block:
    function = call.get("function") or {}
    try:
        given = json.loads(function.get("arguments") or "{}")
    except ValueError:
        raise PromptError(
            f"the arguments of the tool call {call.get('id')!r} are no JSON: "
            f"{function.get('arguments')!r:.80}"
        ) from None
    return {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": given}


def _part(part: dict[str, Any]) -> Block:
    """Return an image part as an image block; other parts have their own shapes there."""
    if part.get("type") != "image_url":
        raise PromptError(f"a content part of type {part.get('type')!r} cannot be sent there yet")
    image = part["image_url"]
    url = image["url"] if isinstance(image, dict) else image
    if url.startswith("data:"):
        head, _, data = url.partition(";base64,")
        source = {"type": "base64", "media_type": head.removeprefix("data:"), "data": data}
    else:
        source = {"type": "url", "url": url}
    return {"type": "image", "source": source}


def _holds_results(message: Block) -> bool:
    """Whether a message holds tool results, so that the next result joins them."""
    content = message["content"]
    return message["role"] == "user" and bool(content) and content[-1]["type"] == "tool_result"
