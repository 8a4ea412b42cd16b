"""A rendered prompt for litellm, which speaks chat's shape to every provider.

Knows the dialect of each route: OpenAI's own fields for OpenAI's models, Anthropic's
`cache_control` on parts for Claude and Nova wherever they are hosted, and nothing for others.

Source: litellm 1.109.1's documentation of prompt caching.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stemfirst.breakpoints import Limits, Placed, bedrock_limits, choose, claude_limits
from stemfirst.errors import PromptError
from stemfirst.providers import is_openais
from stemfirst.rendered import Rendered
from stemfirst.to_openai import chat_parts, settle, to_chat

_OPENAI_ROUTES = ("", "openai", "azure")


def to_litellm(
    rendered: Rendered,
    *,
    model: str,
    breakpoints: bool | None,
    ttl: str | Mapping[str, str] | None,
    cache_key: str | None,
) -> dict[str, Any]:
    """Return `messages`, `tools` and cache fields for `litellm.completion`.

    Raises:
        PromptError: that route lacks what was asked for.
    """
    if model.rpartition("/")[0] in _OPENAI_ROUTES and is_openais(model):
        return to_chat(rendered, model=model, breakpoints=breakpoints, ttl=ttl, cache_key=cache_key)
    if cache_key is not None:
        raise PromptError(f"{model} takes no cache key, got cache_key={cache_key!r}")
    limits = _limits(model)
    messages, placed = chat_parts(rendered)
    tools = [item.block for item in placed if not item.home and "function" in item.block]
    carriers = [
        Placed(item.tier, item.block, item.home, item.size_bytes, can_carry=True)
        if item.block in tools and "claude" in model
        else item
        for item in placed
    ]
    for mark in choose(carriers, limits, breakpoints=breakpoints, ttl=ttl):
        lifetime = {"ttl": mark.ttl} if mark.ttl else {}
        mark.placed.block["cache_control"] = {"type": "ephemeral", **lifetime}
    settle(messages)
    return {"messages": messages, **({"tools": tools} if tools else {})}


def _limits(model: str) -> Limits:
    if "bedrock" in model or "amazon.nova" in model:
        return bedrock_limits(model)
    if "claude" in model:
        return claude_limits(model)
    return Limits(model)
