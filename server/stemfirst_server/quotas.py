"""How much a tenant may ask for in a minute, and how many streams at once.

Knows tenants and their numbers; does not know requests. A minute's allowance fills evenly: a
tenant that waited has all of it, and a large prompt may take it into debt, which is then waited
for: nobody knows an answer's length before it is there.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING

from stemfirst_server.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_server.tenants import Tenant

MINUTE_S = 60.0


class _Allowance:
    """What is left of a minute's allowance; below 0 is debt."""

    __slots__ = ("at", "left")

    def __init__(self, left: float, at: float) -> None:
        self.left = left
        self.at = at

    def fill(self, most: int, now: float) -> None:
        """Add what has grown since; never more than a minute's worth lies there."""
        self.left = min(float(most), self.left + (now - self.at) * most / MINUTE_S)
        self.at = now


class Quotas:
    """Allowances by tenant. Safe for several threads.

    Invariant: no allowance exceeds a minute's worth, and no count of streams is below 0.

    Args:
        clock: seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requests: dict[str, _Allowance] = {}
        self._tokens: dict[str, _Allowance] = {}
        self._streams: Counter[str] = Counter()
        self._lock = Lock()

    def begin(self, tenant: Tenant, requests: int, *, streams: int) -> None:
        """Take a tenant's allowance for some requests, all or none.

        Raises:
            OverloadedError: a limit is reached; the message names it.
        """
        now = self._clock()
        with self._lock:
            most_streams = tenant.most_streams
            if most_streams and streams and self._streams[tenant.name] + streams > most_streams:
                raise OverloadedError(
                    f"your limit of {most_streams} streams at once (most_streams) is reached: "
                    "wait for one to end",
                    reason="tenant_streams",
                    retry_after_s=1,
                )
            if most := tenant.tokens_per_minute:
                left = self._filled(self._tokens, tenant.name, most, now).left
                if left <= 0:
                    raise _spent("tokens_per_minute", most, "tenant_tokens", 1.0 - left)
            if most := tenant.requests_per_minute:
                allowance = self._filled(self._requests, tenant.name, most, now)
                if allowance.left < min(requests, most):
                    missing = min(requests, most) - allowance.left
                    raise _spent("requests_per_minute", most, "tenant_requests", missing)
                allowance.left -= requests
            self._streams[tenant.name] += streams

    def charge(self, tenant: Tenant, tokens: int) -> None:
        """Take tokens of a prompt or an answer from what a tenant has left."""
        if most := tenant.tokens_per_minute:
            with self._lock:
                self._filled(self._tokens, tenant.name, most, self._clock()).left -= tokens

    def end(self, tenant: Tenant, *, streams: int) -> None:
        """Give streams back."""
        if not streams:
            return
        with self._lock:
            self._streams[tenant.name] -= streams
            if not self._streams[tenant.name]:
                del self._streams[tenant.name]

    def check(self) -> None:
        """The class's invariant."""
        with self._lock:
            assert all(count >= 0 for count in self._streams.values())

    @staticmethod
    def _filled(kept: dict[str, _Allowance], name: str, most: int, now: float) -> _Allowance:
        allowance = kept.setdefault(name, _Allowance(float(most), now))
        allowance.fill(most, now)
        return allowance


def _spent(limit: str, most: int, reason: str, missing: float) -> OverloadedError:
    return OverloadedError(
        f"your limit of {most} {limit.replace('_', ' ')} ({limit}) is reached: try again later",
        reason=reason,
        retry_after_s=max(1, min(int(MINUTE_S), math.ceil(missing * MINUTE_S / most))),
    )
