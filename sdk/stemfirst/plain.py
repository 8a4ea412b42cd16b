"""What calls without a prompt of ours sent before: their bodies, to tell why one left the cache.

Knows the last requests of this process as runs of text. Code that has a client of its own names no
prompt and no tiers; what two bodies have in common behind their difference is all there is to see.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from stemfirst.bodies import runs_of_record
from stemfirst.divergence import Run
from stemfirst.errors import PromptError
from stemfirst.savings import Savings, told_from

MOST_BODIES = 16
"""Requests that are remembered; several conversations may take turns."""

_bodies: deque[tuple[Run, ...]] = deque(maxlen=MOST_BODIES)
_lock = threading.Lock()


def runs_of_body(body: object) -> tuple[Run, ...]:
    """Return a request's runs as they are now: its lists may grow until the answer comes."""
    if not isinstance(body, Mapping):
        return ()
    try:
        return runs_of_record(_as_fields(body))
    except (PromptError, TypeError, ValueError, RecursionError):
        return ()  # the server says what is wrong with it


def _as_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in body.items()}


def compared(savings: Savings, runs: tuple[Run, ...]) -> Savings:
    """Return the savings with what the requests before show of the miss; remember this one.

    Only calls of a server that reports where a prompt left its cache are remembered.
    """
    if savings.time is None or not runs:
        return savings
    with _lock:
        olds = list(reversed(_bodies))
        _bodies.append(runs)
    return told_from(savings, olds, runs)
