"""A rendered prompt in the shape of Bedrock's Converse API, with its cache points.

Knows Converse's blocks. A cache point is a block of its own behind what it ends. The request is
made from Anthropic's shape, whose places are the same.

Source: botocore 1.44.5's model of bedrock-runtime; AWS's guide to prompt caching.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from stemfirst.breakpoints import Block, Placed, bedrock_limits, choose
from stemfirst.errors import PromptError
from stemfirst.rendered import Rendered
from stemfirst.to_anthropic import shape_of


def to_bedrock(
    rendered: Rendered,
    *,
    model: str | None,
    breakpoints: bool | None,
    ttl: str | Mapping[str, str] | None,
) -> dict[str, Any]:
    """Return `system`, `messages` and `toolConfig` for `client.converse`.

    Raises:
        PromptError: a part has no counterpart there, or the model lacks what was asked for.
    """
    shape = shape_of(rendered)
    limits = bedrock_limits(model)
    takes_tool_marks = "claude" in (model or "").lower()
    placed = [
        item
        if takes_tool_marks or item.home is not shape.tools
        else Placed(item.tier, item.block, item.home, item.size_bytes, can_carry=False)
        for item in shape.placed
    ]
    marks = choose(placed, limits, breakpoints=breakpoints, ttl=ttl)
    points = {
        id(mark.placed.block): {
            "cachePoint": {"type": "default", **({"ttl": mark.ttl} if mark.ttl else {})}
        }
        for mark in marks
    }

    def converted(blocks: list[Block]) -> list[Block]:
        made: list[Block] = []
        for block in blocks:
            made.append(_block(block))
            if id(block) in points:
                made.append(points[id(block)])
        return made

    request: dict[str, Any] = {
        "messages": [
            {"role": message["role"], "content": converted(message["content"])}
            for message in shape.messages
        ]
    }
    if shape.system:
        request["system"] = converted(shape.system)
    if shape.tools:
        request["toolConfig"] = {"tools": converted(shape.tools)}
    return request


def _block(block: Block) -> Block:
    """Return one of Anthropic's blocks as Converse's."""
    kind = block.get("type")
    if kind == "text":
        return {"text": block["text"]}
    if kind == "tool_use":
        used = {"toolUseId": block["id"], "name": block["name"], "input": block["input"]}
        return {"toolUse": used}
    if kind == "tool_result":
        content = [_block(item) for item in block["content"]] or [{"text": " "}]
        return {"toolResult": {"toolUseId": block["tool_use_id"], "content": content}}
    if kind == "image":
        return {"image": _media(block["source"], "image")}
    if kind == "document":
        document = _media(block["source"], "document")
        return {"document": {"name": _name(block.get("title", "document")), **document}}
    if "input_schema" not in block:
        raise PromptError(
            f"the tool {block.get('name') or kind!r} is of type {kind!r}, which Converse lacks: "
            "it takes functions only"
        )
    described = {"description": block["description"]} if "description" in block else {}
    schema = {"json": block["input_schema"]}
    return {"toolSpec": {"name": block["name"], **described, "inputSchema": schema}}


def _media(source: Block, what: str) -> Block:
    if source["type"] == "url":
        raise PromptError(
            f"Bedrock fetches no URL ({source['url'][:60]!r}): give the {what}'s bytes"
        )
    if source["type"] == "text":
        return {"format": "txt", "source": {"bytes": source["data"].encode()}}
    kind = source["media_type"].partition("/")[2].partition(";")[0]
    data = base64.b64decode(source["data"])
    return {"format": {"plain": "txt", "markdown": "md"}.get(kind, kind), "source": {"bytes": data}}


def _name(title: str) -> str:
    """Return a title as Converse allows it: letters, digits, single spaces, - ( ) [ ]."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-()[]") else " " for c in title)
    return " ".join(kept.split())[:200] or "document"
