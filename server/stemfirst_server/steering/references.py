"""Long prefixes by name: sent once, and later stood for by a keyed digest.

Knows the two fields of a body, `put` and `ref`, and keeps what was put: a bounded memory for each
namespace's own prefixes. Does not know tokens or KV; what a name stands for is put back into the
body, and the body goes the way of any other.

A name is believed only if the digest fits the bytes that were sent, under the key that the
request authenticated with. It is found in the namespace that authentication and salt made, so a
name that was guessed, copied or kept too long finds nothing; then the answer is
`PrefixUnknownError`, never an answer to half a prompt.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from threading import Lock
from typing import TYPE_CHECKING, Any

from stemfirst.chain import ChainKey, segment_digest
from stemfirst.references import MARKER_ROLE, prefix_bytes
from stemfirst.wire import (
    MAX_SEGMENTS,
    PrefixRef,
    PromptHint,
    SegmentHint,
    hint_from_json,
    hint_to_json,
    put_of,
    ref_of,
)

from stemfirst_server.errors import PrefixUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_TENANT_BYTES = 64 * 2**20
MOST_BYTES = 512 * 2**20
LIFE_S = 3600

_SEGMENT_BYTES = 400
_ENTRY_BYTES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Unfolded:
    """A body as it would have been without a name.

    Attributes:
        messages: all of them.
        tools: those of the prefix, or None for none.
        field: the body's field `stemfirst`, its segments complete.
        name: what was used or stored; None: the body is as it was sent.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    field: object
    name: PrefixRef | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A prefix: its bytes, as they were hashed, and the client's segments in them."""

    data: bytes
    segments: tuple[SegmentHint, ...]
    tenant: str
    used_at: float

    @property
    def nbytes(self) -> int:
        return len(self.data) + len(self.segments) * _SEGMENT_BYTES + _ENTRY_BYTES


class References:
    """Prefixes by namespace and name; least recently used goes first. Safe for several threads.

    Invariant: `nbytes` is what the entries take, within `most_bytes`, and each tenant's share is
    within `most_tenant_bytes`.

    Args:
        most_tenant_bytes: of one tenant.
        most_bytes: in all.
        life_s: seconds since its last use that a prefix is kept.
        clock: seconds.
    """

    def __init__(
        self,
        *,
        most_tenant_bytes: int = MOST_TENANT_BYTES,
        most_bytes: int = MOST_BYTES,
        life_s: float = LIFE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most_tenant_bytes = most_tenant_bytes
        self.most_bytes = most_bytes
        self.life_s = life_s
        self.nbytes = 0
        self._kept: OrderedDict[tuple[str, PrefixRef], _Kept] = OrderedDict()
        self._by_tenant: dict[str, int] = {}
        self._clock = clock
        self._lock = Lock()

    def unfold(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        field: object,
        *,
        api_key: str | None,
        tenant: str,
        namespace: str,
    ) -> Unfolded:
        """Return a body with its prefix put back, or keep the prefix that it asks to keep.

        Args:
            messages: as they were sent.
            tools: as they were sent.
            field: the body's field `stemfirst`.
            api_key: what the client authenticated with; without any, nothing is kept.
            tenant: whose share of the memory it is.
            namespace: from authentication and salt.

        Raises:
            PrefixUnknownError: the body stands on a name, and there is any doubt about it.
        """
        fields = field if isinstance(field, Mapping) else {}
        has_marker = bool(messages) and messages[0].get("role") == MARKER_ROLE
        if has_marker or fields.get("ref") is not None:
            return self._found(messages, tools, fields, api_key, namespace)
        return self._put(messages, tools, field, fields, api_key, tenant, namespace)

    def flush(self, namespace: str | None = None) -> int:
        """Forget every prefix, or those of a namespace; return how many they were."""
        with self._lock:
            gone = [key for key in self._kept if namespace is None or key[0] == namespace]
            for key in gone:
                self._drop(key)
        return len(gone)

    def __len__(self) -> int:
        return len(self._kept)

    def check(self) -> None:
        """The class's invariant."""
        with self._lock:
            shares: dict[str, int] = {}
            for kept in self._kept.values():
                shares[kept.tenant] = shares.get(kept.tenant, 0) + kept.nbytes
            assert shares == self._by_tenant
            assert sum(shares.values()) == self.nbytes <= self.most_bytes
            assert all(share <= self.most_tenant_bytes for share in shares.values())

    def _found(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        fields: Mapping[str, Any],
        api_key: str | None,
        namespace: str,
    ) -> Unfolded:
        name = ref_of(fields)
        if name is None or not messages or messages[0].get("role") != MARKER_ROLE:
            raise PrefixUnknownError("the reference and its marker message do not belong together")
        if messages[0].get("content") != name.digest or tools:
            raise PrefixUnknownError("the reference does not fit the messages and tools beside it")
        if not api_key or ChainKey.derive(api_key).id != name.key_id:
            raise PrefixUnknownError("the reference was made under another key")
        with self._lock:
            self._drop_old()
            kept = self._kept.pop((namespace, name), None)
            if kept is None:
                raise PrefixUnknownError("this server does not know the prefix, or not any more")
            self._kept[namespace, name] = _Kept(
                kept.data, kept.segments, kept.tenant, self._clock()
            )
        prefix = json.loads(kept.data)
        hint = hint_from_json(fields)
        field = None
        if hint is not None:
            segments = (*kept.segments, *hint.segments)[:MAX_SEGMENTS]
            field = hint_to_json(PromptHint(hint.key_id, segments, hint.report))
        return Unfolded([*prefix["messages"], *messages[1:]], prefix["tools"] or None, field, name)

    def _put(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        field: object,
        fields: Mapping[str, Any],
        api_key: str | None,
        tenant: str,
        namespace: str,
    ) -> Unfolded:
        unchanged = Unfolded(messages, tools, field)
        asked = put_of(fields)
        if asked is None or not api_key or asked.messages > len(messages):
            return unchanged
        count, name = asked.messages, PrefixRef(asked.key_id, asked.digest, asked.size_bytes)
        key = ChainKey.derive(api_key)
        if key.id != name.key_id or name.size_bytes > self.most_tenant_bytes:
            return unchanged
        hint = hint_from_json(field)
        segments = tuple(s for s in (hint.segments if hint else ()) if _is_within(s, count))
        data = prefix_bytes(messages[:count], tools)
        if len(data) != name.size_bytes or not compare_digest(
            segment_digest(data, key), name.digest
        ):
            return unchanged
        kept = _Kept(data, segments, tenant, self._clock())
        if kept.nbytes > min(self.most_tenant_bytes, self.most_bytes):
            return unchanged
        self._keep((namespace, name), kept)
        return Unfolded(messages, tools, field, name)

    def _keep(self, key: tuple[str, PrefixRef], kept: _Kept) -> None:
        with self._lock:
            self._drop_old()
            if key in self._kept:
                self._drop(key)
            own = [k for k, other in self._kept.items() if other.tenant == kept.tenant]
            while self._by_tenant.get(kept.tenant, 0) + kept.nbytes > self.most_tenant_bytes:
                self._drop(own.pop(0))
            while self.nbytes + kept.nbytes > self.most_bytes:
                self._drop(next(iter(self._kept)))
            self._kept[key] = kept
            self.nbytes += kept.nbytes
            self._by_tenant[kept.tenant] = self._by_tenant.get(kept.tenant, 0) + kept.nbytes

    def _drop_old(self) -> None:
        # In the order of use, so the old ones are in front.
        oldest = self._clock() - self.life_s
        while self._kept:
            key = next(iter(self._kept))
            if self._kept[key].used_at >= oldest:
                return
            self._drop(key)

    def _drop(self, key: tuple[str, PrefixRef]) -> None:
        kept = self._kept.pop(key)
        self.nbytes -= kept.nbytes
        self._by_tenant[kept.tenant] -= kept.nbytes
        if not self._by_tenant[kept.tenant]:
            del self._by_tenant[kept.tenant]


def refuse_reference(field: object) -> None:
    """Refuse a body that stands on a name, on a route that knows none.

    Raises:
        PrefixUnknownError: `field`, the body's `stemfirst`, holds a reference.
    """
    if isinstance(field, Mapping) and field.get("ref") is not None:
        raise PrefixUnknownError("references are understood by /v1/chat/completions only")


def _is_within(segment: SegmentHint, messages: int) -> bool:
    """Whether a segment lies in the tools or the first messages."""
    if segment.at[0] == "tools":
        return True
    if len(segment.at) < 2 or segment.at[0] != "messages":
        return False
    index = segment.at[1]
    return isinstance(index, int) and 0 <= index < messages
