"""The spelling of grammars: what rules of JSON, words and patterns look like. Loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

# As most JSON in training data is written. Free whitespace would let a weak model write nothing
# else until its tokens are used up.
_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def json_rule(schema: Mapping[str, Any]) -> str:
    """Return JSON that fits `schema` as a term of a grammar."""
    return f"%json {json.dumps({**schema, 'x-guidance': _STYLE})}"


def choice_rule(words: Sequence[str]) -> str:
    """Return one of some words as a term of a grammar."""
    return "(" + " | ".join(json.dumps(word) for word in words) + ")"


def regex_rule(pattern: str) -> str:
    """Return text that a pattern matches from its beginning to its end, as a term of a grammar."""
    # Between slashes a slash ends the pattern, and so does the end of the line.
    escaped = []
    is_escaped = False
    for character in pattern:
        if character == "/" and not is_escaped:
            character = "\\/"
        elif character == "\n":
            character = "n" if is_escaped else "\\n"
        escaped.append(character)
        is_escaped = character == "\\" and not is_escaped
    return "/" + "".join(escaped) + "/"
