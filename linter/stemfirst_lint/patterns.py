"""Regular expressions that are compiled when they are first used.

For those that many runs never ask: to compile them all takes longer than to check a small file.
Knows nothing of what they are for.
"""

from __future__ import annotations

import re
from typing import Any, cast


class _Pattern:
    """Stands for a pattern; keeps each method that it was asked for."""

    __slots__ = ("_flags", "_source", "findall", "finditer", "fullmatch", "match", "search")

    def __init__(self, source: str, flags: int) -> None:
        self._source = source
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(self._source, self._flags), name)
        setattr(self, name, found)  # from now on it is found without coming here
        return found


def pattern(source: str, flags: int = 0) -> re.Pattern[str]:
    """Return what can `search`, `match`, `fullmatch`, `findall` and `finditer` as a pattern does.

    A wrong expression raises `re.error` only when it is first used.
    """
    return cast("re.Pattern[str]", _Pattern(source, flags))
