"""Request bodies of Google's and Amazon's own APIs as blocks of text.

Knows the fields of Gemini's `generateContent`, as JSON and as the client package spells them, and
of Bedrock's Converse. What both share with the others stands in `bodies`.

Source: the vendors' own client packages, read 2026-11-23 (google-genai 3.4.0, botocore 1.44.5).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from stemfirst_lint.audit.records import Block, Path
from stemfirst_lint.errors import LintError

_POINT_TTL_S = {"5m": 300, "1h": 3600}
_LARGE_BYTES = 2**17


class NativeError(LintError):
    """A field has a type that the API would refuse; the message says which."""


def is_gemini(body: Mapping[str, Any]) -> bool:
    """Return True for a body of `generateContent`."""
    return "contents" in body


def is_converse(body: Mapping[str, Any]) -> bool:
    """Return True for a body of Bedrock's Converse."""
    if "messages" not in body:
        return False
    if "modelId" in body or "toolConfig" in body or "inferenceConfig" in body:
        return True
    return any(
        isinstance(part, Mapping) and "cachePoint" in part
        for part in [*_listed(body.get("system")), *_parts_of(body.get("messages"))]
    )


def gemini_blocks(body: Mapping[str, Any]) -> Iterator[Block]:
    """Yield a body's blocks: tools, system instruction, contents.

    Raises:
        NativeError: a field has a type that the API would refuse.
    """
    config = body.get("config") if isinstance(body.get("config"), Mapping) else {}
    assert isinstance(config, Mapping)

    def field(*names: str) -> tuple[Path, Any]:
        for name in names:
            if body.get(name) is not None:
                return (name,), body[name]
            if config.get(name) is not None:
                return ("config", name), config[name]
        return (), None

    at, cached = field("cachedContent", "cached_content")
    if cached is not None:  # stored before, and read in front of all that is sent
        yield Block("system", at, f"<cached {cached}>")
    at, tools = field("tools")
    for number, tool in enumerate(_array(tools, at)):
        yield from _gemini_tool(tool, (*at, number))
    at, system = field("systemInstruction", "system_instruction")
    if isinstance(system, str):
        yield Block("system", at, system)
    elif system is not None:
        yield from _parts(system, at, "system", None)
    at, contents = field("contents")
    if isinstance(contents, str):
        yield Block("user", at, contents, 0)
        return
    listed = [contents] if isinstance(contents, Mapping) else _array(contents, at)
    for index, content in enumerate(listed):
        here = at if isinstance(contents, Mapping) else (*at, index)
        if isinstance(content, str):
            yield Block("user", here, content, index)
            continue
        if not isinstance(content, Mapping):
            raise NativeError(f"`{_shown(here)}` is no content")
        role = {"model": "assistant", "function": "tool"}.get(str(content.get("role")), "user")
        yield from _parts(content, here, role, index)


def _gemini_tool(tool: object, at: Path) -> Iterator[Block]:
    if not isinstance(tool, Mapping):
        raise NativeError(f"`{_shown(at)}` is no tool")
    for name in ("functionDeclarations", "function_declarations"):
        if name in tool:
            for number, declared in enumerate(_array(tool[name], (*at, name))):
                called = declared.get("name") if isinstance(declared, Mapping) else None
                place: Path = (*at, name, number)
                text = _json(declared)
                yield Block("tool definition", place, text, name=str(called or number))
            return
    yield Block("tool definition", at, _json(tool), name=next(map(str, tool), "tool"))


def _parts(content: object, at: Path, role: str, message: int | None) -> Iterator[Block]:
    parts = content.get("parts") if isinstance(content, Mapping) else content
    if isinstance(parts, Mapping):
        parts = [parts]
    for number, part in enumerate(_array(parts, (*at, "parts"))):
        here: Path = (*at, "parts", number)
        if isinstance(part, str):
            yield Block(role, here, part, message)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            yield Block(role, (*here, "text"), part["text"], message)
        else:
            answers = isinstance(part, Mapping) and (
                "functionResponse" in part or "function_response" in part
            )
            yield Block("tool" if answers else role, here, _short(part), message)


def converse_blocks(body: Mapping[str, Any]) -> Iterator[Block]:
    """Yield a body's blocks: tools, system, messages; a cache point marks the block before it.

    Raises:
        NativeError: a field has a type that the API would refuse.
    """
    config = body.get("toolConfig")
    tools = config.get("tools") if isinstance(config, Mapping) else None
    at: Path = ("toolConfig", "tools")
    yield from _marked(
        (_converse_tool(tool, (*at, number)), tool) for number, tool in enumerate(_array(tools, at))
    )
    yield from _marked(
        (_converse_part(part, ("system", number), "system", None), part)
        for number, part in enumerate(_array(body.get("system"), ("system",)))
    )
    for index, message in enumerate(_array(body.get("messages"), ("messages",))):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise NativeError(f"messages[{index}] has no role")
        at = ("messages", index, "content")
        yield from _marked(
            (_converse_part(part, (*at, number), message["role"], index), part)
            for number, part in enumerate(_array(message.get("content"), at))
        )


def _marked(found: Iterator[tuple[Block | None, object]]) -> Iterator[Block]:
    """Yield blocks, each with the lifetime of the cache point behind it."""
    last: Block | None = None
    for block, part in found:
        if block is not None:
            if last is not None:
                yield last
            last = block
            continue
        point = part.get("cachePoint") if isinstance(part, Mapping) else None
        ttl = point.get("ttl") if isinstance(point, Mapping) else None
        if last is not None:
            last = replace(last, marker_ttl_s=_POINT_TTL_S.get(str(ttl), 300))
    if last is not None:
        yield last


def _converse_tool(tool: object, at: Path) -> Block | None:
    if not isinstance(tool, Mapping):
        raise NativeError(f"`{_shown(at)}` is no tool")
    if "cachePoint" in tool:
        return None
    spec = tool.get("toolSpec")
    name = spec.get("name") if isinstance(spec, Mapping) else None
    return Block("tool definition", at, _json(tool), name=str(name or at[-1]))


def _converse_part(part: object, at: Path, role: str, message: int | None) -> Block | None:
    if not isinstance(part, Mapping):
        raise NativeError(f"`{_shown(at)}` is no content block")
    if "cachePoint" in part:
        return None
    if isinstance(part.get("text"), str):
        return Block(role, (*at, "text"), part["text"], message)
    return Block("tool" if "toolResult" in part else role, at, _short(part), message)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _parts_of(messages: object) -> Iterator[Any]:
    for message in _listed(messages):
        if isinstance(message, Mapping):
            yield from _listed(message.get("content"))


def _array(value: object, at: Path) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise NativeError(f"`{_shown(at)}` is no array")
    return value


def _short(part: object) -> str:
    """Return a part as JSON, or its digest where it is large or no text."""
    said = _json(part)
    media = isinstance(part, Mapping) and any(
        name in part for name in ("inlineData", "inline_data", "image", "document", "video")
    )
    if not media and len(said) <= _LARGE_BYTES:
        return said
    digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8)
    kind = next(map(str, part), "part") if isinstance(part, Mapping) else "part"
    return f"<{kind} {digest.hexdigest()}>"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _shown(at: Path) -> str:
    return ".".join(map(str, at))
