"""Prefixes that somebody registered: whose, how long, and how much of the cache they may hold.

Knows ids, tenants and bounds. Does not know KV; whether a prefix is still pinned, the engine says.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.namespaces import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_server.engine.request import TokenArray

MOST_PREFIXES = 1024
LONGEST_S = 7 * 24 * 3600
PINNED_SHARE = 0.5
"""Share of the device's pages that pins may hold, of all tenants together."""

TENANT_SHARE = 0.5
"""Share of that which one tenant may have."""


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """A registered prefix.

    Attributes:
        id: its name in the API and in the engine.
        name: the client's own, or None.
        tenant: whose it is.
        namespace: where it is cached.
        token_ids: its prompt.
        pages: that it pins.
        created_s: seconds since 1970.
        expires_s: when it is forgotten.
        readers: of a shared one, the tenants that it is open to; None: all of them.
    """

    id: str
    name: str | None
    tenant: str
    namespace: str
    token_ids: TokenArray
    pages: int
    created_s: float
    expires_s: float
    readers: frozenset[str] | None = None

    @property
    def is_shared(self) -> bool:
        """Whether an operator registered it for others."""
        return self.tenant == OPERATOR

    def is_open_to(self, tenant: str) -> bool:
        """Whether it is shared with a tenant."""
        return self.is_shared and (self.readers is None or tenant in self.readers)


class Prefixes:
    """Registered prefixes. Safe for several threads.

    What is added or renewed is on its way until it is confirmed, once it is pinned, or dropped;
    until then it holds its room, and what was confirmed under its id before goes on to count.

    Invariant: at most `most_pages` pages are pinned, and at most `most_tenant_pages` by one tenant.

    Args:
        most_pages: in all.
        most_tenant_pages: of one tenant.
        clock: seconds since 1970.
    """

    def __init__(
        self, *, most_pages: int, most_tenant_pages: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.most_pages = most_pages
        self.most_tenant_pages = most_tenant_pages
        self._clock = clock
        # By id: what was asked for last, and what holds; most often the same.
        self._prefixes: dict[str, Prefix] = {}
        self._confirmed: dict[str, Prefix] = {}
        self._lock = Lock()

    def add(
        self,
        tenant: str,
        namespace: str,
        token_ids: TokenArray,
        *,
        pages: int,
        ttl_s: float,
        name: str | None,
        readers: frozenset[str] | None = None,
    ) -> Prefix:
        """Register a prefix, on its way until `confirm` or `drop`; the same one again is renewed.

        Args:
            tenant: whose it is; `OPERATOR` shares it.
            namespace: where it is cached.
            token_ids: its prompt.
            pages: that it pins; 0: it is computed and kept as long as any other.
            ttl_s: how long it is known, from now on.
            name: the client's own; None keeps the one that it has.
            readers: of a shared one, the tenants that it is open to; None: all of them.

        Raises:
            InvalidRequestError: it would pin more than may be.
        """
        now = self._clock()
        with self._lock:
            self._drop_old(now)
            same = [
                other
                for other in self._prefixes.values()
                if other.namespace == namespace and other.token_ids.tobytes() == token_ids.tobytes()
            ]
            identifier = same[0].id if same else f"prefix_{uuid.uuid4().hex}"
            created_s = same[0].created_s if same else now
            name = name or (same[0].name if same else None)
            others = [other for other in self._prefixes.values() if other.id != identifier]
            own = sum(self._held_pages(other) for other in others if other.tenant == tenant)
            if own + pages > self.most_tenant_pages:
                raise InvalidRequestError(
                    f"you may pin {self.most_tenant_pages} pages, {own} are pinned and this prefix "
                    f"has {pages}: delete one, or register a shorter prefix",
                    parameter="messages",
                )
            total = sum(self._held_pages(other) for other in others)
            if total + pages > self.most_pages or len(others) >= MOST_PREFIXES:
                raise InvalidRequestError(
                    f"this server pins {self.most_pages} pages of {MOST_PREFIXES} prefixes at "
                    "most, and there is no room for this one: try again when others have expired",
                    parameter="messages",
                )
            made = Prefix(
                identifier,
                name,
                tenant,
                namespace,
                token_ids,
                pages,
                created_s,
                now + ttl_s,
                readers,
            )
            self._prefixes[identifier] = made
        return made

    def renew(self, tenant: str, identifier: str, ttl_s: float) -> Prefix | None:
        """Let a prefix of a tenant live longer, from now on; None if there is none.

        As with `add`, `confirm` or `drop` must follow.
        """
        with self._lock:
            self._drop_old(self._clock())
            known = self._prefixes.get(identifier)
            if known is None or known.tenant != tenant:
                return None
            made = replace(known, expires_s=self._clock() + ttl_s)
            self._prefixes[identifier] = made
        return made

    def confirm(self, made: Prefix) -> bool:
        """Take it that what was added or renewed is kept; False: it was removed meanwhile."""
        with self._lock:
            is_known = made.id in self._prefixes
            if is_known:
                self._confirmed[made.id] = made
        return is_known

    def drop(self, made: Prefix) -> bool:
        """Take back what was added or renewed; return whether its id stands for something still.

        What was confirmed before is as it was; what another request is making goes on.
        """
        with self._lock:
            before = self._confirmed.get(made.id)
            if self._prefixes.get(made.id) is made:
                del self._prefixes[made.id]
                if before is not None:
                    self._prefixes[made.id] = before
            return made.id in self._prefixes

    def find(self, tenant: str, identifier: str) -> Prefix | None:
        """Return a prefix that a tenant may see, or None; another's is none."""
        return next((p for p in self.of(tenant) if p.id == identifier), None)

    def of(self, tenant: str) -> tuple[Prefix, ...]:
        """Return a tenant's prefixes and those shared with it, the oldest first."""
        with self._lock:
            self._drop_old(self._clock())
            every = [self._confirmed.get(p.id, p) for p in self._prefixes.values()]
            return tuple(p for p in every if p.tenant == tenant or p.is_open_to(tenant))

    def named(self, tenant: str, name: str) -> tuple[Prefix, ...]:
        """Return a tenant's own prefixes of a name, the oldest first."""
        return tuple(p for p in self.of(tenant) if p.tenant == tenant and p.name == name)

    def remove(self, tenant: str, identifier: str) -> bool:
        """Forget a prefix of a tenant; return whether there was one."""
        with self._lock:
            known = self._prefixes.get(identifier)
            if known is None or known.tenant != tenant:
                return False
            self._forget(identifier)
        return True

    def clear(self) -> int:
        """Forget all; return how many there were."""
        with self._lock:
            count = len(self._prefixes)
            self._prefixes.clear()
            self._confirmed.clear()
        return count

    def check(self) -> None:
        """The class's invariant."""
        with self._lock:
            shares: dict[str, int] = {}
            assert self._confirmed.keys() <= self._prefixes.keys()
            for prefix in self._prefixes.values():
                pages = self._held_pages(prefix)
                shares[prefix.tenant] = shares.get(prefix.tenant, 0) + pages
            assert sum(shares.values()) <= self.most_pages
            assert all(share <= self.most_tenant_pages for share in shares.values())

    def _drop_old(self, now: float) -> None:
        for identifier in [p.id for p in self._confirmed.values() if p.expires_s <= now]:
            del self._confirmed[identifier]
        for identifier in [p.id for p in self._prefixes.values() if p.expires_s <= now]:
            before = self._confirmed.get(identifier)
            if before is None:
                del self._prefixes[identifier]
            else:
                self._prefixes[identifier] = before

    def _forget(self, identifier: str) -> None:
        del self._prefixes[identifier]
        self._confirmed.pop(identifier, None)

    def _held_pages(self, prefix: Prefix) -> int:
        return max(prefix.pages, self._confirmed.get(prefix.id, prefix).pages)
