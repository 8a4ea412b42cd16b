"""JSON that every client can read, whatever was in the request that it repeats.

Knows that JSON has no NaN and UTF-8 no lone surrogate; Python has both. Knows no shapes.
"""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.responses import JSONResponse

from stemfirst_server.tokens.encoder import printable


def encoded(value: object) -> bytes:
    """Return compact JSON: a number that is none as null, a lone surrogate as U+FFFD."""
    try:
        text = _dumped(value)
    except ValueError:
        text = _dumped(_finite(value))
    return printable(text).encode()


class Answered(JSONResponse):
    """A response of JSON that was made from what a client sent."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return encoded(content)


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
