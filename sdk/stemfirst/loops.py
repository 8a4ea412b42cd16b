"""One async client in several event loops: connections belong to the loop that opened them.

Knows which loop an HTTP client was first used in, and makes one more for every other loop. Knows
nothing of requests. An HTTP client that the caller brought is used as it is, in any loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import copy
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary, ref

from openai import DefaultAsyncHttpxClient

_homes: WeakKeyDictionary[Any, ref[asyncio.AbstractEventLoop]] = WeakKeyDictionary()
"""The loop that each HTTP client was first used in."""
_siblings: WeakKeyDictionary[Any, WeakKeyDictionary[asyncio.AbstractEventLoop, Any]] = (
    WeakKeyDictionary()
)
"""What stands for an HTTP client in other loops."""
_lock = Lock()


def in_each_loop(request: Callable[..., Any]) -> Callable[..., Any]:
    """Return a client's `request` that uses connections of the running loop."""

    async def within(self: Any, *args: Any, **kwargs: Any) -> Any:
        http = http_here(self._client)
        if http is self._client:
            return await request(self, *args, **kwargs)
        twin = copy(self)
        twin._client = http
        return await request(twin, *args, **kwargs)

    return within


def http_here(http: Any) -> Any:
    """Return an HTTP client for the running loop: this one, or what stands for it there."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # not asyncio's
        return http
    with _lock:
        home = _homes.get(http)
        if home is None:
            _homes[http] = ref(loop)
        if home is None or home() is loop or not _is_the_packages_own(http):
            return http
        others = _siblings.setdefault(http, WeakKeyDictionary())
        if loop not in others:
            others[loop] = DefaultAsyncHttpxClient(base_url=http.base_url, timeout=http.timeout)
        return others[loop]


def taken_from(http: Any) -> Any | None:
    """Return what stands for an HTTP client in the running loop, and forget it; else None."""
    with _lock:
        others = _siblings.get(http)
        return others.pop(asyncio.get_running_loop(), None) if others else None


def _is_the_packages_own(http: Any) -> bool:
    """Whether the openai package made it, by its defaults."""
    return type(http).__module__.partition(".")[0] == "openai"
