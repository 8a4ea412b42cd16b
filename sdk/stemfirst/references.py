"""Prefixes that a server of ours holds: a long stable prefix is sent once and named afterwards.

Knows which part of a prompt is worth naming, what a server said that it holds, and the bodies
that name it. Does not send; a server that does not know a name says so (409 `prefix_unknown`),
and whoever sent it sends the whole body then.

A prefix is the first messages of a request and all of its tools, byte for byte. Its name is a
keyed digest, which tells nobody its text and is worth nothing to another tenant.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stemfirst.chain import ChainKey, digest_of, segment_digest
from stemfirst.rendered import Rendered, RenderedMessage
from stemfirst.segments import Part
from stemfirst.tiers import Tier
from stemfirst.wire import PrefixHeld, PrefixPut, PrefixRef

FEATURE = "prefix_refs"
"""What a server says among its features that takes references."""

MARKER_ROLE = "stemfirst"
"""The role of the message that stands for a prefix; its content is the digest."""

UNKNOWN_CODE = "prefix_unknown"
"""The error's code where a server does not know a name."""

LEAST_BYTES = 4096
"""A shorter prefix is sent as it is."""

GROWTH = 8
"""A longer prefix is put once it has grown by this part of the one that is held, so that a
conversation's text is stored a few times and not once a turn."""

MOST_REMEMBERED = 1024
"""Prefixes remembered of one client, over all of its servers."""

MOST_UNKNOWN = 3
"""Names that may be unknown in a row before a server gets none for `PAUSE_S`: behind a balancer
that spreads requests, each replica has a memory of its own."""

PAUSE_S = 600.0


def prefix_bytes(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None) -> bytes:
    """Return the bytes that name a prefix: messages and tools as they stand in the body."""
    value = {"messages": list(messages), "tools": list(tools or ())}
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Where:
    """Whose memory of prefixes it is: one server's, for one tenant, model and salt."""

    base_url: str
    key_id: str
    model: str
    salt: str | None


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `messages` messages of a prompt; `mark` is equal for equal text."""

    messages: int
    mark: bytes
    size_bytes: int
    """About how long they are on the wire."""
    is_stable: bool
    """Whether all of it is session text or more stable."""


@dataclass(slots=True)
class _Known:
    """A prefix's name, and until when the server is believed to hold it (monotonic seconds)."""

    digest: str
    size_bytes: int
    until_s: float = 0.0


class KnownPrefixes:
    """What a client knows of its servers' memories; shared by threads, event loops and copies.

    Invariant: a prefix is named only after its server has said that it holds it, and until it
    may have forgotten.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Where, bytes], _Known] = OrderedDict()
        self._misses: dict[str, int] = {}
        self._paused: dict[str, float] = {}
        self._lock = threading.Lock()

    def held(self, where: Where, prefixes: Sequence[Prefix]) -> tuple[Prefix, PrefixRef] | None:
        """Return the longest of these prefixes that the server holds, and its name."""
        now_s = time.monotonic()
        with self._lock:
            if now_s < self._paused.get(where.base_url, 0.0):
                return None
            for prefix in reversed(prefixes):
                known = self._known.get((where, prefix.mark))
                if known is not None and now_s < known.until_s:
                    self._known.move_to_end((where, prefix.mark))
                    return prefix, PrefixRef(where.key_id, known.digest, known.size_bytes)
        return None

    def named(
        self, where: Where, prefix: Prefix, rendered: Rendered, key: ChainKey
    ) -> PrefixPut | None:
        """Return how to ask the server to hold a prefix; None while it is not to be asked."""
        with self._lock:
            if time.monotonic() < self._paused.get(where.base_url, 0.0):
                return None
            known = self._known.get((where, prefix.mark))
        if known is None:
            data = prefix_bytes(rendered.messages[: prefix.messages], rendered.tools)
            known = _Known(segment_digest(data, key), len(data))
            with self._lock:
                self._known[where, prefix.mark] = known
                while len(self._known) > MOST_REMEMBERED:
                    self._known.popitem(last=False)
        return PrefixPut(key.id, known.digest, known.size_bytes, prefix.messages)

    def learn(self, where: Where, mark: bytes, held: PrefixHeld) -> None:
        """Take a server's word that it holds the prefix that was put or named."""
        with self._lock:
            known = self._known.get((where, mark))
            if known is not None and known.digest == held.digest:
                # It counts from the request's arrival; an answer may stream for long.
                known.until_s = time.monotonic() + 0.9 * held.ttl_s

    def found(self, where: Where) -> None:
        """Take it that a name was understood."""
        with self._lock:
            self._misses.pop(where.base_url, None)

    def forget(self, where: Where, mark: bytes) -> None:
        """Take a server's word that it does not know a name."""
        with self._lock:
            known = self._known.get((where, mark))
            if known is not None:
                known.until_s = 0.0
            count = self._misses.get(where.base_url, 0) + 1
            self._misses[where.base_url] = count
            if count >= MOST_UNKNOWN:
                self._misses.pop(where.base_url)
                self._paused[where.base_url] = time.monotonic() + PAUSE_S


def prefixes_of(rendered: Rendered, key: ChainKey) -> tuple[Prefix, ...]:
    """Return the prefixes of a prompt that end with a message, the shortest first.

    Less than all of its messages: a request must ask something. Those of fewer than
    `LEAST_BYTES` are left out.
    """
    by_message: dict[int, list[tuple[str, int, Tier]]] = {}
    state = hashlib.blake2b(digest_size=16)
    size = 0
    for segment in rendered.segments:
        if segment.is_tool:
            # The order of a schema's keys is sent, and does not show in its digest.
            state.update(segment.text.encode("utf-8", "surrogatepass"))
            state.update(b"\0")
            size += len(segment.text)
        else:
            # Digests of text with a fixed source are remembered; so this is not the text's time.
            item = (digest_of(segment, key), len(segment.text), segment.tier)
            by_message.setdefault(int(segment.at[1]), []).append(item)
    found: list[Prefix] = []
    is_stable = True
    for index, message in enumerate(rendered.raw_messages[:-1]):
        segments = by_message.get(index, [])
        state.update(_frame(message).encode("utf-8", "surrogatepass"))
        for digest, length, tier in segments:
            state.update(digest.encode())
            size += length
            is_stable = is_stable and tier <= Tier.SESSION
        if size >= LEAST_BYTES:
            found.append(Prefix(index + 1, state.digest(), size, is_stable))
    return tuple(found)


def _frame(message: RenderedMessage) -> str:
    """Return what is sent of a message beside its segments' text."""
    shape: object = None
    if isinstance(message.content, tuple):
        shape = ["part" if isinstance(item, Part) else "text" for item in message.content]
    elif message.content is not None:
        shape = "text"
    return json.dumps([message.role, shape, message.extra], ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Naming:
    """A request under way that names a prefix, or that asks the server to hold one.

    `whole` holds the body's fields as they are without a name: those to send where the server
    does not know it, and those to record.
    """

    known: KnownPrefixes = field(repr=False)
    where: Where
    prefix: Prefix
    is_named: bool
    whole: Mapping[str, Any] = field(repr=False)

    def answered(self, held: PrefixHeld | None) -> None:
        """Take the answer to a request that arrived; `held` is its report's word."""
        if self.is_named:
            self.known.found(self.where)
        if held is not None:
            self.known.learn(self.where, self.prefix.mark, held)

    def refused(self) -> Naming:
        """Take it that the name is unknown, and return the request that sends all of it."""
        self.known.forget(self.where, self.prefix.mark)
        return replace(self, is_named=False)


def is_due(prefix: Prefix, held: Prefix | None) -> bool:
    """Whether to send the whole body once more, so that the server holds this longer prefix."""
    sofar = held.size_bytes if held else 0
    return prefix.is_stable and prefix.size_bytes - sofar >= max(LEAST_BYTES, sofar // GROWTH)


def is_prefix_unknown(error: BaseException) -> bool:
    """Whether a server of ours refused a name, in the openai package's error."""
    if getattr(error, "status_code", None) != 409:
        return False
    return getattr(error, "code", None) == UNKNOWN_CODE
