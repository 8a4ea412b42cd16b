"""Request bodies of five APIs as blocks of text.

Knows the fields of OpenAI's chat and responses APIs and of Anthropic's messages API; Google's and
Amazon's own stand in `native`. Does not know the envelopes that recordings wrap around bodies, or
what a cache makes of a block.

Source: the vendors' own client packages, read 2026-11-23 (openai 3.54.0, anthropic 2.12.0).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from stemfirst_lint.audit.native import (
    NativeError,
    converse_blocks,
    gemini_blocks,
    is_converse,
    is_gemini,
)
from stemfirst_lint.audit.records import Api, Block, Path
from stemfirst_lint.errors import LintError


class ShapeError(LintError):
    """A line that is JSON, but no request that we understand; the message says what is wrong."""


TTL_S = {"5m": 300, "30m": 1800, "1h": 3600, "12h": 43200, "24h": 86400}
"""Lifetimes as the APIs spell them."""

_ROLES = {"developer": "system", "model": "assistant", "function": "tool"}
_FIELDS_OF_REPLY = ("refusal", "tool_calls", "function_call")
_MEDIA = ("image", "image_url", "input_image", "input_audio", "input_file", "audio", "file",
          "document", "video_url", "video")  # fmt: skip


def api_of(body: Mapping[str, Any]) -> Api:
    """Return whose format a body has, by its own fields.

    Raises:
        ShapeError: it has neither `messages`, `input` nor `contents`.
    """
    if is_gemini(body):
        return Api.GEMINI
    if is_converse(body):
        return Api.CONVERSE
    if "messages" not in body:
        if "input" in body or "instructions" in body:
            return Api.RESPONSES
        known = ", ".join(list(map(str, body))[:4]) or "no fields"
        raise ShapeError(
            f"neither `messages`, `input` nor `contents` in the request (it has {known})"
        )
    tools = body.get("tools")
    if isinstance(tools, list) and any(isinstance(t, dict) and "input_schema" in t for t in tools):
        return Api.ANTHROPIC
    if "system" in body or "anthropic_version" in body:
        return Api.ANTHROPIC
    if str(body.get("model", "")).startswith("claude") and "max_tokens" in body:
        return Api.ANTHROPIC
    return Api.CHAT


def blocks_of(body: Mapping[str, Any], api: Api) -> tuple[Block, ...]:
    """Return a body's blocks: tools, then system text that stands apart, then messages.

    Raises:
        ShapeError: a field has a type that the API would refuse.
    """
    if api in (Api.GEMINI, Api.CONVERSE):
        read = gemini_blocks if api is Api.GEMINI else converse_blocks
        try:
            return tuple(read(body))
        except NativeError as error:
            raise ShapeError(str(error)) from None
    blocks = list(_tools(body))
    if api is Api.RESPONSES:
        blocks += _responses(body)
    else:
        if api is Api.ANTHROPIC and body.get("system") is not None:
            blocks += _content(body["system"], ("system",), "system", None)
        blocks += _messages(body.get("messages"))
    return tuple(blocks)


def _tools(body: Mapping[str, Any]) -> Iterator[Block]:
    tools = body.get("tools") or body.get("functions") or ()
    if not isinstance(tools, list | tuple):
        raise ShapeError(f"`tools` is {_kind(tools)}, expected an array")
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise ShapeError(f"tools[{index}] is {_kind(tool)}, expected an object")
        function = tool.get("function")
        name = tool.get("name") or (function.get("name") if isinstance(function, Mapping) else None)
        sent = {key: value for key, value in tool.items() if key != "cache_control"}
        yield Block(
            "tool definition",
            ("tools", index),
            _json(sent),
            name=str(name or tool.get("type") or index),
            marker_ttl_s=_marker(tool),
        )


def _messages(messages: object) -> Iterator[Block]:
    if not isinstance(messages, list):
        raise ShapeError(f"`messages` is {_kind(messages)}, expected an array")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise ShapeError(f"messages[{index}] is {_kind(message)}, expected an object")
        role = message.get("role")
        if not isinstance(role, str):
            raise ShapeError(f"messages[{index}] has no role")
        role = _ROLES.get(role, role)
        at: Path = ("messages", index)
        blocks = list(_content(message.get("content"), (*at, "content"), role, index))
        blocks += [
            Block(role, (*at, name), _json(message[name]), index)
            for name in _FIELDS_OF_REPLY
            if message.get(name)
        ]
        marker = _marker(message)
        if marker is not None and blocks:
            blocks[-1] = replace(blocks[-1], marker_ttl_s=marker)
        yield from blocks


def _responses(body: Mapping[str, Any]) -> Iterator[Block]:
    instructions = body.get("instructions")
    if instructions is not None:
        yield from _content(instructions, ("instructions",), "system", None)
    items = body.get("input")
    if items is None:
        return
    if isinstance(items, str):
        yield Block("user", ("input",), items, 0)
        return
    if not isinstance(items, list):
        raise ShapeError(f"`input` is {_kind(items)}, expected a string or an array")
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise ShapeError(f"input[{index}] is {_kind(item)}, expected an object")
        kind = str(item.get("type", "message"))
        at: Path = ("input", index)
        if kind == "message" or "role" in item:
            role = str(item.get("role", "user"))
            yield from _content(
                item.get("content"), (*at, "content"), _ROLES.get(role, role), index
            )
        else:
            sent = {key: value for key, value in item.items() if key not in ("id", "status")}
            role = "tool" if kind.endswith("_output") else "assistant"
            yield Block(role, at, _json(sent), index)


def _content(content: object, at: Path, role: str, message: int | None) -> Iterator[Block]:
    """Yield the blocks of a content that is a string or a list of parts."""
    if content is None:
        return
    if isinstance(content, str):
        yield Block(role, at, content, message)
        return
    if not isinstance(content, list):
        place = ".".join(map(str, at))
        raise ShapeError(f"`{place}` is {_kind(content)}, expected a string or an array")
    for index, part in enumerate(content):
        here: Path = (*at, index)
        if isinstance(part, str):
            yield Block(role, here, part, message)
            continue
        if not isinstance(part, Mapping):
            place = ".".join(map(str, here))
            raise ShapeError(f"`{place}` is {_kind(part)}, expected an object")
        text = part.get("text")
        if isinstance(text, str):
            yield Block(role, (*here, "text"), text, message, marker_ttl_s=_marker(part))
            continue
        kind = str(part.get("type", "part"))
        shown = role
        if kind == "tool_result":
            shown = "tool"
        sent = {
            key: value
            for key, value in part.items()
            if key not in ("cache_control", "prompt_cache_breakpoint")
        }
        said = _json(sent)
        if kind in _MEDIA or len(said) > 2**17:
            digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8)
            said = f"<{kind} {digest.hexdigest()}>"
        yield Block(shown, here, said, message, marker_ttl_s=_marker(part))


def _marker(part: Mapping[str, Any]) -> int | None:
    """Return the lifetime of the cache marker on a part, in seconds, or None without one."""
    for name, usual in (("cache_control", "5m"), ("prompt_cache_breakpoint", "30m")):
        marker = part.get(name)
        if isinstance(marker, Mapping):
            return TTL_S.get(str(marker.get("ttl")), TTL_S[usual])
    return None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _kind(value: object) -> str:
    names = {str: "a string", list: "an array", dict: "an object", type(None): "missing"}
    return names.get(type(value), type(value).__name__)
