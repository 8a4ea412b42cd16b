"""Request bodies of the chat, responses and messages APIs as runs of text in reading order.

Knows where each API keeps tools, system text and messages, and how the SDK's segments lie over
their strings. Does not compare them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stemfirst.divergence import Run
from stemfirst.errors import PromptError
from stemfirst.segments import Origin, Path
from stemfirst.tiers import Tier
from stemfirst.usage import mapping_of
from stemfirst.wire import BODY_FIELD

_PACKAGES = frozenset({"openai", "anthropic"})
_NOT_GIVEN = frozenset({"NotGiven", "Omit"})
"""What the client packages call the arguments that nobody gave."""


def as_sent(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body as a client package sends it: without what was not given, objects as fields.

    Containers are copied and an iterator is left unread: the package reads it, once.
    """
    try:
        return {
            str(name): _plain(value) for name, value in body.items() if not _is_not_given(value)
        }
    except RecursionError:  # the package says what is wrong with it
        return {str(name): value for name, value in body.items() if not _is_not_given(value)}


def _plain(value: object) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    fields = mapping_of(value)
    if fields is None:
        return value
    is_unset = fields is not value  # an object's: what it leaves unset is not sent
    return {
        key: _plain(item)
        for key, item in fields.items()
        if not _is_not_given(item) and not (is_unset and item is None)
    }


def _is_not_given(value: object) -> bool:
    kind = type(value)
    return kind.__name__ in _NOT_GIVEN and kind.__module__.partition(".")[0] in _PACKAGES


def runs_of_record(record: Mapping[str, Any]) -> tuple[Run, ...]:
    """Return the runs of a request's body, or of one line of a recording.

    Raises:
        PromptError: it is no request that we understand.
    """
    inner = record.get("request")
    body = inner if isinstance(inner, Mapping) else record
    hint = body.get(BODY_FIELD)
    listed = record.get("segments") or (hint.get("segs") if isinstance(hint, Mapping) else None)
    runs = tuple(_runs(body))
    if not runs:
        known = ", ".join(list(map(str, body))[:5]) or "no fields"
        raise PromptError(f"this is no request: it has no messages, input or system ({known})")
    return _split(runs, listed if isinstance(listed, Sequence) else ())


def _runs(body: Mapping[str, Any]) -> Iterator[Run]:
    for index, tool in enumerate(_list(body.get("tools"))):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        named = function if isinstance(function, Mapping) else tool
        name = named.get("name") if isinstance(named, Mapping) else None
        yield Run(("tools", index), _json(tool), f"the tool {name or index}")
    for field in ("instructions", "system"):
        yield from _content(body.get(field), (field,), "the system text")
    messages = "messages" if "messages" in body else "input"
    given = body.get(messages)
    if isinstance(given, str):
        yield Run((messages,), given, "the input")
    for index, message in enumerate(_list(given)):
        at: Path = (messages, index)
        if not isinstance(message, Mapping):
            raise PromptError(f"{messages}[{index}] is no object: {str(message)[:60]!r}")
        role = message.get("role") or message.get("type") or "message"
        label = f"message {index} ({role})"
        yield Run((*at, "role"), str(role), label)
        yield from _content(message.get("content"), (*at, "content"), label)
        for name, value in message.items():
            if name not in ("role", "content", "id", "status") and value is not None:
                yield Run((*at, name), _json(value), f"{name} of {label}")


def _content(content: object, at: Path, label: str) -> Iterator[Run]:
    if isinstance(content, str):
        yield Run(at, content, label)
        return
    for index, part in enumerate(_list(content)):
        text = part.get("text") if isinstance(part, Mapping) else None
        if isinstance(text, str):
            yield Run((*at, index, "text"), text, label)
        else:
            yield Run((*at, index), part if isinstance(part, str) else _json(part), label)


def _split(runs: Sequence[Run], segments: Sequence[object]) -> tuple[Run, ...]:
    """Return the runs cut where segments end, where these cover their string."""
    by_place: dict[Path, list[Mapping[str, Any]]] = {}
    for item in segments:
        if isinstance(item, Mapping) and isinstance(item.get("at"), list):
            by_place.setdefault(tuple(item["at"]), []).append(item)
    made: list[Run] = []
    for run in runs:
        mine = by_place.get(run.at, [])
        data = run.text.encode("utf-8", "surrogatepass")
        sizes = [size for item in mine if isinstance(size := item.get("n"), int)]
        if len(mine) == 1:  # a tool's size is that of its canonical form
            made.append(_named(run, run.text, mine[0]))
        elif mine and len(sizes) == len(mine) and sum(sizes) == len(data):
            start = 0
            for item in mine:
                piece = data[start : start + item["n"]].decode("utf-8", "replace")
                made.append(_named(run, piece, item))
                start += item["n"]
        else:
            made.append(run)
    return tuple(made)


def _named(run: Run, text: str, item: Mapping[str, Any]) -> Run:
    label = str(item.get("tier"))
    tier = Tier.parse(label) if label in {tier.label for tier in Tier} else None
    origin = item.get("origin")
    place = None
    if isinstance(origin, Mapping) and isinstance(origin.get("line"), int):
        place = Origin(str(origin.get("path")), origin["line"])
    name = item.get("name") or (f"{tier.label} text of {run.label}" if tier else run.label)
    return Run(run.at, text, str(name), tier, place)


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
