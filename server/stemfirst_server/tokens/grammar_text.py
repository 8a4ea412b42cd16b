"""The spelling of grammars: what a rule of JSON looks like. Loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# As most JSON in training data is written. Free whitespace would let a weak model write nothing
# else until its tokens are used up.
_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def json_rule(schema: Mapping[str, Any]) -> str:
    """Return JSON that fits `schema` as a term of a grammar."""
    return f"%json {json.dumps({**schema, 'x-guidance': _STYLE})}"
