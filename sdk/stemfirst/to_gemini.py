"""A rendered prompt in the shape of Gemini's API, for its implicit or an explicit cache.

Knows google-genai's arguments. The implicit cache takes no field: it finds prefixes alone. An
explicit cache is an object of its own, made from the stable text and named by later requests.

Source: google-genai 3.4.0's types.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from stemfirst.errors import PromptError
from stemfirst.rendered import Rendered, RenderedSegment
from stemfirst.tiers import Tier

Block = dict[str, Any]


def to_gemini(rendered: Rendered, *, cached_content: str | None, ttl: str | None) -> dict[str, Any]:
    """Return `contents` and `config` for `client.models.generate_content`.

    Raises:
        PromptError: a part has no counterpart there, or a lifetime was asked for.
    """
    if ttl is not None:
        raise PromptError(
            f"a request to Gemini takes no lifetime, got ttl={ttl!r}: create a cache with "
            "client.caches.create(model=..., **rendered.gemini_cache(ttl=...)) and pass its name "
            "as cached_content"
        )
    least = Tier.STATIC if cached_content is None else Tier.SESSION
    system, contents, tools = _shape(rendered, least)
    config: Block = {"cached_content": cached_content} if cached_content is not None else {}
    if system and cached_content is not None:
        raise PromptError(
            "system text that varies cannot follow a cached content: put it into a user message"
        )
    if system:
        config["system_instruction"] = {"parts": system}
    if tools:
        config["tools"] = tools
    return {"contents": contents, **({"config": config} if config else {})}


def to_gemini_cache(rendered: Rendered, *, ttl: str) -> dict[str, Any]:
    """Return `config` for `client.caches.create`: static and tenant text and tools.

    Raises:
        PromptError: there is nothing to keep, or `ttl` is not seconds.
    """
    if not isinstance(ttl, str) or not re.fullmatch(r"(?=.*[1-9])\d+(\.\d+)?s", ttl):
        raise PromptError(
            f"Gemini wants a lifetime above 0, in seconds such as '3600s', got {ttl!r}"
        )
    system, contents, tools = _shape(rendered, Tier.STATIC, Tier.TENANT)
    if not (system or contents or tools):
        raise PromptError("the prompt has no static or tenant text to cache")
    config: Block = {"ttl": ttl}
    if system:
        config["system_instruction"] = {"parts": system}
    if contents:
        config["contents"] = contents
    if tools:
        config["tools"] = tools
    return {"config": config}


def _shape(
    rendered: Rendered, least: Tier, most: Tier = Tier.VOLATILE
) -> tuple[list[Block], list[Block], list[Block]]:
    """Return system parts, contents and tools of the segments within these tiers."""
    system: list[Block] = []
    contents: list[Block] = []
    names: dict[str, str] = {}  # of calls, by their id: answers are given by name there
    for index, message in enumerate(rendered.messages):
        role = message["role"]
        whole = [item for item in rendered.segments if not item.is_tool and item.at[1] == index]
        segments = [item for item in whole if least <= item.tier <= most]
        if whole and not segments:
            continue
        if not whole and not least <= Tier.SESSION <= most:
            continue  # calls without text are of the session
        parts = _parts(segments)
        if role in ("system", "developer"):
            if contents:
                raise PromptError(
                    f"message {index} is a {role} message behind others: Gemini takes system "
                    "text at the front only; give it the role user, or move it"
                )
            system += parts
            continue
        if role == "tool":
            call_id = str(message.get("tool_call_id"))
            text = "".join(item.text for item in segments)
            response = {"name": names.get(call_id, call_id), "response": {"result": text}}
            parts = [{"function_response": {"id": call_id, **response}}]
        elif role == "assistant":
            for call in message.get("tool_calls") or ():
                names[str(call.get("id"))] = call["function"]["name"]
                parts.append({"function_call": _call(call)})
        elif role != "user":
            raise PromptError(f"message {index} has the role {role!r}, which Gemini lacks")
        spoken = "model" if role == "assistant" else "user"
        if contents and contents[-1]["role"] == spoken and role == "tool":
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": spoken, "parts": parts})
    return system, contents, _tools(rendered, least, most)


def _tools(rendered: Rendered, least: Tier, most: Tier) -> list[Block]:
    declared = []
    for item in rendered.segments:
        if item.is_tool and least <= item.tier <= most:
            definition = json.loads(item.text)
            if "function" not in definition:
                raise PromptError(
                    f"the tool {item.name!r} is of type {definition.get('type')!r}, which Gemini "
                    "lacks: put its own tools into config['tools'] of the request"
                )
            function = definition["function"]
            declaration = {"name": function.get("name")}
            if "description" in function:
                declaration["description"] = function["description"]
            if function.get("parameters"):
                declaration["parameters_json_schema"] = function["parameters"]
            declared.append(declaration)
    return [{"function_declarations": declared}] if declared else []


def _parts(segments: Sequence[RenderedSegment]) -> list[Block]:
    parts: list[Block] = []
    place = None
    for item in segments:
        if not item.is_text:
            parts.append(_media(json.loads(item.text)))
        elif parts and place == item.at:
            parts[-1]["text"] += item.text
        else:
            parts.append({"text": item.text})
        place = item.at
    return parts


def _media(part: Block) -> Block:
    kind = part.get("type")
    if kind == "image_url":
        image = part["image_url"]
        url = image["url"] if isinstance(image, dict) else image
    elif kind == "file" and "file_data" in part["file"]:
        url = part["file"]["file_data"]
    else:
        raise PromptError(f"a content part of type {kind!r} cannot be sent to Gemini")
    if not url.startswith("data:"):
        return {"file_data": {"file_uri": url}}
    head, _, data = url.partition(";base64,")
    return {
        "inline_data": {
            "mime_type": head.removeprefix("data:"),
            "data": base64.b64decode(data),
        }
    }


def _call(call: Block) -> Block:
    function = call["function"]
    try:
        given = json.loads(function.get("arguments") or "{}")
    except ValueError:
        raise PromptError(
            f"the arguments of the tool call {call.get('id')!r} are no JSON: "
            f"{function.get('arguments')!r:.80}"
        ) from None
    return {"id": call.get("id"), "name": function["name"], "args": given}
