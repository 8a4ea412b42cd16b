"""What `ask` and `stream` do before the request, for the sync and async clients alike.

Knows how a prompt, its values and a server's capabilities become arguments of openai's
`chat.completions.create`. Sends nothing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from openai.lib._parsing import type_to_response_format_param
from openai.resources.chat.completions import Completions

from stemfirst.chain import ChainKey
from stemfirst.discovery import Capabilities, is_foreign
from stemfirst.errors import ClientError
from stemfirst.prompt import Hole, Prompt, Rendered
from stemfirst.references import (
    FEATURE,
    MARKER_ROLE,
    KnownPrefixes,
    Naming,
    Where,
    is_due,
    prefixes_of,
)
from stemfirst.tiers import Tier
from stemfirst.wire import (
    BODY_FIELD,
    MAX_SEGMENTS,
    PREFIX_HEADER,
    SESSION_HEADER,
    PrefixPut,
    PromptHint,
    SegmentHint,
    hint_to_json,
    links_of,
    prefix_to_header,
    prompt_hint,
)


@dataclass(frozen=True, slots=True)
class Ready:
    """Arguments of `create`, and the prefix that they name or put, if any."""

    arguments: dict[str, Any]
    naming: Naming | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt made ready to be sent."""

    rendered: Rendered
    options: Mapping[str, Any]
    """Arguments of `create` that the caller gave."""
    model: str | None
    session_id: str | None

    def ready(
        self,
        capabilities: Capabilities | None,
        prefixes: KnownPrefixes,
        *,
        base_url: str,
        api_key: str,
        default_headers: Mapping[str, Any],
        is_streamed: bool = False,
        is_openais: bool = False,
    ) -> Ready:
        """Return the arguments of `create`, and what is named in them.

        With hints only for a server of ours, and with cache fields only for OpenAI's own API.

        Args:
            capabilities: the server's; None where it is not ours.
            prefixes: what servers are known to hold.
            base_url: where it goes.
            api_key: the client's.
            default_headers: the client's.
            is_streamed: whether the answer comes as a stream.
            is_openais: whether it goes to OpenAI's own API.

        Raises:
            ClientError: no model was named and the server names none, or a public API was given
                a session.
        """
        model = self.model or (capabilities.model if capabilities else None)
        if not model:
            raise ClientError(
                "which model? pass model=...: only stemfirst's own server says which one it serves"
            )
        sent = self.rendered.openai(model=model if is_openais else None)
        arguments: dict[str, Any] = {"model": model, **sent, **self.options}
        if is_streamed:
            wanted = arguments.get("response_format")
            if isinstance(wanted, type):
                # Text streams; `parse` would not: so the type goes as its schema.
                arguments["response_format"] = type_to_response_format_param(wanted)
            arguments["stream"] = True
            arguments.setdefault("stream_options", {"include_usage": True})
        if not capabilities:
            host = urlsplit(base_url).hostname or ""
            if self.session_id is not None and is_foreign(host):
                raise ClientError(
                    f"{host} knows no session_id: it keeps a conversation on one of stemfirst's "
                    "own replicas; leave it out here"
                )
            return Ready(arguments)
        headers = {**default_headers, **(arguments.get("extra_headers") or {})}
        taken = {str(name).lower() for name in headers}
        # Digests are keyed; a key that a callback fetches later is not known yet.
        is_hinted = bool(api_key) and 0 < len(self.rendered.segments) <= MAX_SEGMENTS
        key = ChainKey.derive(api_key) if is_hinted else None
        hint = prompt_hint(self.rendered, key) if key else None
        ours = self._headers(hint, key)
        arguments["extra_headers"] = {
            **(arguments.get("extra_headers") or {}),
            **{name: value for name, value in ours.items() if name not in taken},
        }
        extra = arguments.get("extra_body") or {}
        if key is None or hint is None:
            return Ready(arguments)
        # The openai package reads parsed answers by the tools of the call, so they stay in it; a
        # field of the caller's own stays as it is.
        is_parsed = isinstance(self.options.get("response_format"), type)
        is_bare = isinstance(extra, Mapping) and BODY_FIELD not in extra
        can_name = is_bare and not (is_parsed and arguments.get("tools"))
        if FEATURE in capabilities.features and can_name:
            where = Where(base_url, key.id, model, _salt(extra))
            return self._naming(arguments, hint, where, prefixes, key)
        arguments["extra_body"] = {BODY_FIELD: hint_to_json(hint), **extra}
        return Ready(arguments)

    def _naming(
        self,
        arguments: dict[str, Any],
        hint: PromptHint,
        where: Where,
        known: KnownPrefixes,
        key: ChainKey,
    ) -> Ready:
        """Name what the server holds, or ask it to hold what is worth it."""
        extra = arguments.get("extra_body") or {}
        found = prefixes_of(self.rendered, key)
        stable = [prefix for prefix in found if prefix.is_stable]
        held = known.held(where, found)
        put = None
        if stable and is_due(stable[-1], held[0] if held else None):
            put = known.named(where, stable[-1], self.rendered, key)
        whole = {
            "messages": arguments["messages"],
            "tools": arguments.get("tools"),
            BODY_FIELD: hint_to_json(hint),
        }
        if put is not None or held is None:
            asked = hint_to_json(replace(hint, put=put)) if put else whole[BODY_FIELD]
            arguments["extra_body"] = {BODY_FIELD: asked, **extra}
            naming = Naming(known, where, stable[-1], False, whole) if put else None
            return Ready(arguments, naming)
        prefix, ref = held
        cut = prefix.messages
        tail = tuple(item for item in hint.segments if _message_of(item) >= cut)
        arguments["messages"] = [
            {"role": MARKER_ROLE, "content": ref.digest},
            *arguments["messages"][cut:],
        ]
        arguments.pop("tools", None)
        named = hint_to_json(replace(hint, segments=tail, ref=ref))
        arguments["extra_body"] = {BODY_FIELD: named, **extra}
        again = PrefixPut(key.id, ref.digest, ref.size_bytes, cut)
        whole[BODY_FIELD] = hint_to_json(replace(hint, put=again))
        return Ready(arguments, Naming(known, where, prefix, True, whole))

    def _headers(self, hint: PromptHint | None, key: ChainKey | None) -> dict[str, str]:
        if key is None or hint is None:
            return {SESSION_HEADER: self.session_id} if self.session_id else {}
        links = links_of(hint, key)
        return {
            PREFIX_HEADER: prefix_to_header(hint, links),
            SESSION_HEADER: self.session_id or affinity_of(hint, links),
        }


def _message_of(segment: SegmentHint) -> int:
    """Return the index of a segment's message; -1 for a tool."""
    return int(segment.at[1]) if segment.at[0] == "messages" else -1


def _salt(extra: Mapping[str, Any]) -> str | None:
    salt = extra.get("cache_salt")
    return None if salt is None else str(salt)


def affinity_of(hint: PromptHint, links: Sequence[str]) -> str:
    """Return what keeps requests that share text on one replica, 16 hex characters.

    The name of the prefix up to the tenant's last segment; where there is no tenant, up to the
    conversation's first own segment, so that a conversation stays where it is, and one common
    system prompt does not send all traffic to one replica.

    Args:
        hint: of a prompt of at least one segment.
        links: the hint's, one a segment.
    """
    segments = hint.segments
    tenants = [index for index, item in enumerate(segments) if item.tier is Tier.TENANT]
    own = [index for index, item in enumerate(segments) if item.tier > Tier.TENANT]
    end = tenants[-1] if tenants else own[0] if own else len(segments) - 1
    return links[end]


def question(
    prompt: Prompt | Rendered,
    *,
    model: str | None,
    values: Mapping[str, object] | None,
    session_id: str | None,
    arguments: Mapping[str, Any],
) -> Question:
    """Return the question that `ask(prompt, **arguments)` stands for.

    Arguments named like a hole of the prompt are its values; all others go to `create`.

    Raises:
        ClientError: an argument could be either, or belongs into the prompt.
        MissingValueError: a hole got no value.
        TypeError: an argument is neither.
    """
    if not isinstance(prompt, Prompt | Rendered):
        raise ClientError(
            f"a Prompt is asked, got {type(prompt).__name__}: Prompt(static(...), request(...)), "
            "or Prompt.from_messages([...])"
        )
    given = dict(values or {})
    options: dict[str, Any] = {}
    holes = holes_of(prompt) if isinstance(prompt, Prompt) else frozenset()
    for name in ("model", "session_id", "values"):
        if name in holes and name not in given:
            raise ClientError(
                f"{name!r} is a hole of this prompt and an argument of ask: pass the hole's value "
                f"in values={{{name!r}: ...}}"
            )
    if session_id is not None and not _HEADER_VALUE.fullmatch(str(session_id)):
        raise ClientError(
            f"session_id={session_id!r:.80} cannot stand in a header: give up to 256 printable "
            "ASCII characters, such as a UUID or a digest"
        )
    for name, value in arguments.items():
        if name in ("messages", "tools", "stream"):
            raise ClientError(_MISPLACED[name])
        if name not in holes:
            if name not in _create_names():
                raise TypeError(_unknown(name, holes))
            options[name] = value
        elif name in _create_names():
            raise ClientError(
                f"{name!r} is a hole of this prompt and an option of the request: "
                f"pass the hole's value in values={{{name!r}: ...}}"
            )
        else:
            given[name] = value
    if isinstance(prompt, Prompt):
        rendered = prompt.render(given)
    elif given:
        raise ClientError("the prompt is rendered already: pass the values to render()")
    else:
        rendered = prompt
    return Question(rendered, options, model, session_id)


_HEADER_VALUE = re.compile(r"[!-~]([ -~]{0,254}[!-~])?")

_MISPLACED = {
    "messages": "the prompt holds the messages: build it with session([...]) or Prompt.then(...), "
    "or call client.chat.completions.create(messages=...)",
    "tools": "tools belong into the prompt, where their order is part of the prefix: "
    "Prompt(..., tools=[...])",
    "stream": "call client.stream(...) for a stream",
}


def _unknown(name: str, holes: frozenset[str]) -> str:
    known = f"has the holes {', '.join(sorted(holes))}" if holes else "has no hole to fill"
    near = get_close_matches(name, [*holes, *_create_names()], n=1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    return (
        f"{name!r} is no option of chat.completions.create, and the prompt {known}{meant}; fields "
        "that only this server knows go into extra_body={...}"
    )


def holes_of(prompt: Prompt) -> frozenset[str]:
    """Return the names of a prompt's holes."""
    return frozenset(
        segment.content.name
        for message in prompt.messages
        for segment in message.segments
        if isinstance(segment.content, Hole)
    )


@lru_cache(maxsize=1)
def _create_names() -> frozenset[str]:
    return frozenset(inspect.signature(Completions.create).parameters)
