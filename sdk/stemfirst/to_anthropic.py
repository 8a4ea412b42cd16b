"""A rendered prompt in the shape of Anthropic's Messages API, with its cache breakpoints.

Knows that API's places for system text, tools and tool results. Where a breakpoint pays, and
which model takes what, is in `breakpoints`.

Source: anthropic 2.12.0's types; Anthropic's own guide to prompt caching as of September 2026:
at most four breakpoints, in the order tools, system, messages; no empty text blocks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from stemfirst.breakpoints import (
    CLAUDE_WITH_LATE_SYSTEM_TEXT,
    Block,
    Placed,
    bare,
    choose,
    claude_limits,
)
from stemfirst.errors import PromptError
from stemfirst.rendered import Rendered, RenderedSegment
from stemfirst.tiers import Tier


@dataclass(slots=True)
class Shape:
    """The request under construction; `placed` holds every block in the order of the prompt."""

    tools: list[Block] = field(default_factory=list)
    system: list[Block] = field(default_factory=list)
    messages: list[Block] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)

    def add(self, home: list[Block], blocks: Sequence[tuple[Tier, Block]]) -> None:
        """Append blocks with their tiers to one of the request's lists."""
        for tier, block in blocks:
            home.append(block)
            self.placed.append(Placed(tier, block, home, _size(block)))


def to_anthropic(
    rendered: Rendered,
    *,
    model: str | None = None,
    breakpoints: bool | None = None,
    ttl: str | Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return `system`, `messages` and `tools` for `client.messages.create`.

    Raises:
        PromptError: a message has no counterpart there, or a lifetime does not exist; the text
            names it.
    """
    late = bool(model and CLAUDE_WITH_LATE_SYSTEM_TEXT.search(bare(model)))
    shape = shape_of(rendered, takes_late_system_text=late)
    for mark in choose(shape.placed, claude_limits(model), breakpoints=breakpoints, ttl=ttl):
        lifetime = {"ttl": mark.ttl} if mark.ttl else {}
        mark.placed.block["cache_control"] = {"type": "ephemeral", **lifetime}
    request: dict[str, Any] = {"messages": shape.messages}
    if shape.system:
        request["system"] = shape.system
    if shape.tools:
        request["tools"] = shape.tools
    return request


def shape_of(rendered: Rendered, *, takes_late_system_text: bool = False) -> Shape:
    """Return the request without marks.

    Raises:
        PromptError: a message has no counterpart there.
    """
    shape = Shape()
    for segment in rendered.segments:
        if segment.is_tool:
            shape.add(shape.tools, [(segment.tier, _tool(json.loads(segment.text)))])
    for index, message in enumerate(rendered.messages):
        segments = [item for item in rendered.segments if not item.is_tool and item.at[1] == index]
        placed = _content(segments)
        role = message["role"]
        if role in ("system", "developer"):
            if not shape.messages:
                shape.add(shape.system, placed)
                continue
            if not takes_late_system_text:
                raise PromptError(
                    f"message {index} is a {role} message behind others: this model takes system "
                    "text at the front only; give it the role user, or move it"
                )
            shape.messages.append({"role": "system", "content": []})
            shape.add(shape.messages[-1]["content"], placed)
        elif role == "tool":
            tier = segments[0].tier if segments else Tier.SESSION
            result = {
                "type": "tool_result",
                "tool_use_id": message.get("tool_call_id"),
                "content": [block for _, block in placed],
            }
            if not (shape.messages and _holds_results(shape.messages[-1])):
                shape.messages.append({"role": "user", "content": []})
            shape.add(shape.messages[-1]["content"], [(tier, result)])
        elif role in ("user", "assistant"):
            tier = segments[-1].tier if segments else Tier.SESSION
            placed += [(tier, _tool_use(call)) for call in message.get("tool_calls") or ()]
            if not placed:
                raise PromptError(
                    f"message {index} ({role}) is blank, and no message may be there: leave it "
                    "away, or give the hole a value"
                )
            shape.messages.append({"role": role, "content": []})
            shape.add(shape.messages[-1]["content"], placed)
        else:
            raise PromptError(f"message {index} has the role {role!r}, which Anthropic lacks")
    return shape


def _size(block: Block) -> int:
    text = block["text"] if block.get("type") == "text" else json.dumps(block, ensure_ascii=False)
    return len(text.encode("utf-8", "surrogatepass"))


def _content(segments: Sequence[RenderedSegment]) -> list[tuple[Tier, Block]]:
    """Return a message's blocks with their tiers: one a tier's run of text, one a part.

    No block may be blank there: blank text joins the block behind it, or the text before where
    it comes last. Behind an image or a file it says nothing, and goes.
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
    if "function" not in definition:
        return definition  # one that the provider runs, or in Anthropic's own shape
    function = definition["function"]
    tool: Block = {"name": function["name"]}
    if "description" in function:
        tool["description"] = function["description"]
    tool["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    return {**tool, **{k: v for k, v in function.items() if k not in (*tool, "parameters")}}


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
    """Return an image or a file as its block; other parts have no counterpart there."""
    kind = part.get("type")
    if kind == "image_url":
        image = part["image_url"]
        return {
            "type": "image",
            "source": _source(image["url"] if isinstance(image, dict) else image),
        }
    if kind == "file" and "file_data" in part["file"]:
        given = part["file"]
        source = _source(given["file_data"])
        if source["media_type"] == "text/plain":
            text = base64.b64decode(source["data"]).decode("utf-8", "replace")
            source = {"type": "text", "media_type": "text/plain", "data": text}
        title = {"title": given["filename"]} if "filename" in given else {}
        return {"type": "document", "source": source, **title}
    raise PromptError(f"a content part of type {kind!r} cannot be sent there")


def _source(url: str) -> dict[str, Any]:
    if url.startswith("data:"):
        head, _, data = url.partition(";base64,")
        return {"type": "base64", "media_type": head.removeprefix("data:"), "data": data}
    return {"type": "url", "url": url}


def _holds_results(message: Block) -> bool:
    """Whether a message holds tool results, so that the next result joins them."""
    content = message["content"]
    return message["role"] == "user" and bool(content) and content[-1]["type"] == "tool_result"
