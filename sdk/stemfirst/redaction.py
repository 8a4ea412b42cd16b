"""Request bodies without their text: keyed digests of the same length in its place.

Knows which strings of a request are text and which are settings. Each sentence of a line becomes
as many letters, chained in steps of `STEP_BYTES`: equal sentences stay equal whatever stands
before them, two texts part where they parted (to a step), lengths stay, and nobody without the
key can test a guess.
What remains readable: roles, types, models, tool names, ids, numbers, where lines and sentences
end.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

STEP_BYTES = 8
"""How finely the place of a difference is kept."""

_SENTENCE_END = re.compile(r"([.!?;] +)")
"""Where audit cuts lines that are long; these characters stay as they are."""

_LETTERS = str.maketrans("0123456789abcdef", "ghijklmnopqrstuv")
"""No digits: a digest must not look like the random ids that audit looks for."""

_KEPT = frozenset({
    "role", "type", "model", "id", "tool_call_id", "call_id", "tool_use_id", "mode", "ttl",
    "service_tier", "reasoning_effort", "effort", "verbosity", "tool_choice", "prompt_cache_key",
    "cache_salt", "prompt_cache_retention", "comparison_response_id", "previous_response_id",
    "previous_message_id", "media_type", "detail", "kid", "alg", "h", "tier", "speed", "display",
    "at",
})  # fmt: skip
"""Fields whose strings are settings or opaque ids."""

_NAMED = frozenset({"function", "tools", "tool_choice", "tool_calls"})
"""Fields below which `name` is a tool's name, and not a person's."""

_DROPPED = frozenset({"metadata", "user", "safety_identifier", "user_profile_id"})
"""Fields that say who asks."""

_SCHEMAS = frozenset({"parameters", "input_schema", "schema", "json_schema"})
"""Fields that hold a JSON schema, whose keys are text too."""


def redacted_body(body: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """Return a request's body with every text replaced.

    Args:
        body: as it was sent.
        key: keys the digests; 1 to 64 bytes. The same key keeps requests comparable.
    """
    redact = _Redaction(key)
    return {
        name: redact.value(value, name, is_tool=name in _NAMED)
        for name, value in body.items()
        if name not in _DROPPED
    }


def redacted_text(text: str, key: bytes) -> str:
    """Return letters of the text's length in UTF-8, sentence by sentence."""
    return _Redaction(key).text(text)


class _Redaction:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def value(self, value: Any, name: str, *, is_tool: bool) -> Any:
        if name in _SCHEMAS and isinstance(value, Mapping):
            return {"redacted": self.text(json.dumps(value, ensure_ascii=False))}
        if isinstance(value, Mapping):
            return {
                key: self.value(item, key, is_tool=is_tool or key in _NAMED)
                for key, item in value.items()
                if key not in _DROPPED
            }
        if isinstance(value, list | tuple):
            return [self.value(item, name, is_tool=is_tool) for item in value]
        if isinstance(value, str):
            is_kept = name in _KEPT or (name == "name" and is_tool)
            return value if is_kept else self.text(value)
        return value

    def text(self, text: str) -> str:
        return "".join(self._line(line) for line in text.splitlines(keepends=True))

    def _line(self, line: str) -> str:
        words = line.rstrip("\r\n")
        parts = _SENTENCE_END.split(words)  # sentences, and between them their ends
        hidden = [self._sentence(part) if i % 2 == 0 else part for i, part in enumerate(parts)]
        return "".join(hidden) + line[len(words) :]

    def _sentence(self, sentence: str) -> str:
        data = sentence.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(key=self._key, digest_size=STEP_BYTES)
        steps = []
        # The last step takes what is left over: a digest cut to one digit would hide a change.
        count = max(1, len(data) // STEP_BYTES)
        for number in range(count):
            start = number * STEP_BYTES
            step = data[start:] if number + 1 == count else data[start : start + STEP_BYTES]
            digest.update(step)
            steps.append(digest.hexdigest()[: len(step)].translate(_LETTERS))
        return "".join(steps)
