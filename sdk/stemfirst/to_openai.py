"""A rendered prompt in the shape of OpenAI's chat completions, with what its cache takes.

Knows which models take breakpoints, a routing key or a retention. Does not send.
From GPT-5.6 on, breakpoints stand on content parts, never on tools; the newest message's end
is one of itself. Before, the cache finds prefixes alone, and a key keeps them on one machine.

Source: openai 3.54.0's types; OpenAI's guide to prompt caching as of September 2026.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from stemfirst.breakpoints import (
    Block,
    Mark,
    Placed,
    choose,
    openai_limits,
    shared_key,
)
from stemfirst.errors import PromptError
from stemfirst.providers import is_routed_by_key, retentions
from stemfirst.rendered import Rendered


def to_chat(
    rendered: Rendered,
    *,
    model: str | None,
    breakpoints: bool | None,
    ttl: str | Mapping[str, str] | None,
    cache_key: str | None,
) -> dict[str, Any]:
    """Return `messages`, `tools` and cache fields for `chat.completions.create`.

    Raises:
        PromptError: the model lacks what was asked for.
    """
    tools = rendered.tools
    if model is None and not breakpoints and ttl is None and cache_key is None:
        messages = rendered.messages  # nothing is placed: the text is not looked at
        return {"messages": messages, **({"tools": tools} if tools else {})}
    messages, placed = chat_parts(rendered)
    fields, marks = cache_fields(
        rendered, placed, model=model, breakpoints=breakpoints, ttl=ttl, cache_key=cache_key
    )
    for mark in marks:
        mark.placed.block["prompt_cache_breakpoint"] = {
            "mode": "explicit",
            **({"ttl": mark.ttl} if mark.ttl else {}),
        }
    settle(messages)
    return {"messages": messages, **({"tools": tools} if tools else {}), **fields}


def chat_parts(rendered: Rendered) -> tuple[list[Block], list[Placed]]:
    """Return the chat API's messages with texts as lists of parts, one a tier's run.

    `settle` makes texts of them again where no part carries a mark.
    """
    messages = rendered.messages
    placed: list[Placed] = []
    by_message = {
        index: list(run)
        for index, run in groupby(
            (item for item in rendered.segments if not item.is_tool), key=lambda item: item.at[1]
        )
    }
    for item in rendered.segments:
        if item.is_tool:
            block = json.loads(item.text)
            placed.append(Placed(item.tier, block, [], _size(item.text), can_carry=False))
    for index, message in enumerate(messages):
        segments = by_message.get(index, [])
        message["_was_text"] = isinstance(message["content"], str)
        if isinstance(message["content"], str):
            parts: list[Block] = []
            for tier, run in groupby(segments, key=lambda item: item.tier):
                text = "".join(item.text for item in run)
                parts.append({"type": "text", "text": text})
                # A mark may not stand on an empty part.
                can_carry = bool(text.strip())
                placed.append(Placed(tier, parts[-1], parts, _size(text), can_carry))
            message["content"] = parts
        elif isinstance(message["content"], list):
            for item, part in zip(segments, message["content"], strict=True):
                can_carry = part["type"] != "refusal"
                placed.append(
                    Placed(item.tier, part, message["content"], _size(item.text), can_carry)
                )
    return messages, placed


def settle(messages: list[Block]) -> None:
    """Join the parts of each message that was text and carries no mark."""
    for message in messages:
        was_text, parts = message.pop("_was_text"), message["content"]
        if was_text and all(part.keys() == {"type", "text"} for part in parts):
            message["content"] = "".join(part["text"] for part in parts)


def cache_fields(
    rendered: Rendered,
    placed: list[Placed],
    *,
    model: str | None,
    breakpoints: bool | None,
    ttl: str | Mapping[str, str] | None,
    cache_key: str | None,
) -> tuple[dict[str, Any], list[Mark]]:
    """Return the request's cache fields, and the marks to set, by this model's rules.

    Raises:
        PromptError: the model lacks what was asked for.
    """
    if cache_key is not None and not cache_key.strip():
        raise PromptError(f"a cache key names what requests share, got cache_key={cache_key!r}")
    limits = openai_limits(model)
    fields: dict[str, Any] = {}
    if cache_key is None and is_routed_by_key(model):
        cache_key = shared_key(rendered)
    if cache_key is not None:
        fields["prompt_cache_key"] = cache_key
    if limits.most_marks:
        return fields, choose(placed, limits, breakpoints=breakpoints, ttl=ttl)
    if breakpoints:
        choose(placed, limits, breakpoints=breakpoints, ttl=None)  # raises
    if ttl is not None:
        known = retentions(model)
        if not isinstance(ttl, str) or ttl not in known:
            offered = f"ttl={' or '.join(map(repr, known))}" if known else "no lifetime"
            raise PromptError(f"{limits.name} takes {offered} for its cache, got ttl={ttl!r}")
        fields["prompt_cache_retention"] = ttl
    return fields, []


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
