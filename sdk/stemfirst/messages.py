"""Messages that exist already, as a prompt's messages; and content that is not text.

Knows the chat API's messages and parts. Does not know how they are sent.
"""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from stemfirst.errors import PromptError
from stemfirst.segments import Message, Origin, Part, Segment, caller
from stemfirst.tiers import Tier


def history_of(
    messages: Sequence[Mapping[str, Any]], tier: Tier, name: str | None = None
) -> tuple[Message, ...]:
    """Return messages of the chat API as a prompt's, all of one tier, byte for byte.

    Raises:
        PromptError: a message has no role, or content that is neither text, parts nor null.
    """
    origin = caller()
    return tuple(
        message_of(as_mapping(item, index), index, tier, name, origin)
        for index, item in enumerate(messages)
    )


def by_position(messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Return messages of the chat API with the tiers that their places suggest.

    The system and developer messages at the front are static; what was said since is session;
    the last message, where it is a user's, is the request.

    Raises:
        PromptError: as for `history_of`.
    """
    origin = caller()
    made: list[Message] = []
    is_front = True
    for index, given in enumerate(messages):
        item = as_mapping(given, index)
        is_front = is_front and item.get("role") in ("system", "developer")
        is_last = index + 1 == len(messages) and item.get("role") == "user"
        tier = Tier.STATIC if is_front else Tier.REQUEST if is_last else Tier.SESSION
        made.append(message_of(item, index, tier, None, origin))
    return tuple(made)


def as_mapping(item: object, index: int) -> Mapping[str, Any]:
    """Return a message as a mapping; the openai package's objects as they would be sent.

    Raises:
        PromptError: it is neither.
    """
    if isinstance(item, Mapping):
        return item
    dump = getattr(item, "model_dump", None)
    dumped = dump(exclude_none=True, mode="json") if callable(dump) else None
    if not isinstance(dumped, Mapping):
        raise PromptError(
            f"message {index} is no message of the chat API: {type(item).__name__} {item!r}"[:160]
        )
    return {name: value for name, value in dumped.items() if name != "parsed"}


def message_of(
    item: Mapping[str, Any], index: int, tier: Tier, name: str | None, origin: Origin | None
) -> Message:
    """Return one message of the chat API as a prompt's.

    Raises:
        PromptError: it has no role, or content that is neither text, parts nor null.
    """
    role = item.get("role")
    if not isinstance(role, str):
        raise PromptError(f"message {index} has no role: {str(dict(item))[:80]}")
    extra = tuple(
        (key, json.dumps(value, ensure_ascii=False))
        for key, value in item.items()
        if key not in ("role", "content")
    )
    content = item.get("content")
    if content is None:
        return Message(role, (), extra=extra)
    if isinstance(content, str):
        return Message(role, (Segment(tier, content, name, origin),), extra=extra)
    if isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content):
        parts = tuple(
            Segment(
                tier,
                part["text"]
                if part.keys() == {"type", "text"} and part["type"] == "text"
                else Part(json.dumps(part, ensure_ascii=False)),
                name,
                origin,
            )
            for part in content
        )
        return Message(role, parts, extra=extra, as_parts=True)
    raise PromptError(
        f"message {index} has content of type {type(content).__name__}: "
        "give a string, a list of parts, or None"
    )


def image(source: str | bytes | PathLike[str], *, media_type: str | None = None) -> Part:
    """Return an image as content: `request(image("photo.png"))`.

    Args:
        source: a URL (`https:`, `data:`), a file, or its bytes.
        media_type: such as `image/png`; by default from the file's name.

    Raises:
        PromptError: the media type is not known, or the file cannot be read.
    """
    if isinstance(source, str) and source.startswith(("http://", "https://", "data:")):
        url = source
    else:
        data, _, kind = _content(source, media_type, "image")
        url = f"data:{kind};base64,{data}"
    return Part(json.dumps({"type": "image_url", "image_url": {"url": url}}))


def file(
    source: bytes | str | PathLike[str],
    *,
    media_type: str | None = None,
    filename: str | None = None,
) -> Part:
    """Return a document as content: `tenant(file("terms.pdf"))`.

    Args:
        source: a file, or its bytes.
        media_type: such as `application/pdf`; by default from the file's name.
        filename: what the model is told it is called; by default the file's own name.

    Raises:
        PromptError: the media type is not known, or the file cannot be read.
    """
    data, name, kind = _content(source, media_type, "file", filename)
    shape = {"filename": filename or name, "file_data": f"data:{kind};base64,{data}"}
    return Part(json.dumps({"type": "file", "file": shape}))


def _content(
    source: bytes | str | PathLike[str], media_type: str | None, what: str, name: str | None = None
) -> tuple[str, str, str]:
    """Return base64 data, a file's name and its media type."""
    if isinstance(source, bytes):
        data, name = source, name or what
    elif not isinstance(source, str | PathLike):
        raise PromptError(
            f"the {what} is {type(source).__name__}, which has no bytes: "
            "give a URL, a path, or bytes"
        )
    else:
        path = Path(source)
        name = name or path.name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise PromptError(f"cannot read the {what} {str(path)!r}: {error.strerror}") from None
    kind = media_type or mimetypes.guess_type(name)[0]
    if not kind:
        raise PromptError(
            f"the media type of the {what} {name!r} is not known: pass media_type='…/…'"
        )
    return base64.b64encode(data).decode("ascii"), name, kind
