"""Token counts of a call, normalised from whatever shape a provider reports them in.

Knows the shapes: OpenAI (chat, responses, legacy) and the many that follow it, Anthropic,
Bedrock Converse, Gemini, DeepSeek, Kimi, vLLM, LiteLLM. Does not know prices or what a cache saved.

Two traps. Some counts are inclusive (OpenAI: the prompt's tokens with those from the cache),
some exclusive (Anthropic: without them). And a missing count is not zero: it is None here.

Source: the vendors' own client packages, read 2026-11-23 (openai 3.54.0, anthropic 2.12.0,
google-genai 3.4.0, botocore 1.44.5, vllm 0.33.0).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call; None where the provider did not report the count.

    `prompt_tokens` is the whole prompt: what was read from the cache, written to it, and
    neither. `written_1h_tokens` are those among `written_tokens` with a lifetime of an hour.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    written_tokens: int | None = None
    written_1h_tokens: int | None = None
    output_tokens: int | None = None


NOTHING = Usage()
"""What is known of a call that reported no usage."""


def usage_of(reported: object) -> Usage:
    """Return the counts in a response's `usage` (Gemini: `usageMetadata`) in any known shape.

    Args:
        reported: a mapping, an object of a client package, or None.
    """
    counts = _fields_of(reported)
    if counts is None:
        return NOTHING
    for read in (_bedrock, _gemini, _anthropic, _openai):
        usage = read(counts)
        if usage is not None:
            return usage
    return NOTHING


def _openai(counts: Mapping[str, Any]) -> Usage | None:
    """OpenAI's chat, legacy and responses shapes, and what others added to them."""
    prompt = _count(counts, "prompt_tokens", "input_tokens")
    output = _count(counts, "completion_tokens", "output_tokens")
    if prompt is None and output is None:
        return None
    details = (
        _fields_of(counts.get("prompt_tokens_details") or counts.get("input_tokens_details")) or {}
    )
    cached = _count(details, "cached_tokens")
    if cached is None:  # DeepSeek; Kimi; LiteLLM
        cached = _count(
            counts, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"
        )
    return Usage(
        prompt_tokens=prompt,
        cached_tokens=cached,
        # vLLM; Qwen; LiteLLM, beside the details
        written_tokens=_count(
            {"cache_creation_input_tokens": counts.get("cache_creation_input_tokens"), **details},
            "cache_write_tokens",
            "created_cache_tokens",
            "cache_creation_input_tokens",
        ),
        output_tokens=output,
    )


def _anthropic(counts: Mapping[str, Any]) -> Usage | None:
    """Anthropic's shape, where `input_tokens` is what was neither read nor written."""
    if "cache_read_input_tokens" not in counts and "cache_creation_input_tokens" not in counts:
        return None
    if "prompt_tokens" in counts and "input_tokens" not in counts:
        return None  # LiteLLM adds Anthropic's fields to OpenAI's inclusive counts
    plain = _count(counts, "input_tokens")
    read = _count(counts, "cache_read_input_tokens")
    written = _count(counts, "cache_creation_input_tokens")
    lifetimes = _fields_of(counts.get("cache_creation")) or {}
    return Usage(
        prompt_tokens=None if plain is None else plain + (read or 0) + (written or 0),
        cached_tokens=read,
        written_tokens=written,
        written_1h_tokens=_count(lifetimes, "ephemeral_1h_input_tokens"),
        output_tokens=_count(counts, "output_tokens"),
    )


def _bedrock(counts: Mapping[str, Any]) -> Usage | None:
    """Bedrock Converse, exclusive as Anthropic's."""
    if "inputTokens" not in counts:
        return None
    plain = _count(counts, "inputTokens")
    read = _count(counts, "cacheReadInputTokens")
    written = _count(counts, "cacheWriteInputTokens")
    lifetimes = counts.get("cacheDetails")
    hour = None
    if isinstance(lifetimes, list):
        hour = sum(
            _count(item, "inputTokens") or 0
            for item in lifetimes
            if isinstance(item, Mapping) and item.get("ttl") == "1h"
        )
    return Usage(
        prompt_tokens=None if plain is None else plain + (read or 0) + (written or 0),
        cached_tokens=read,
        written_tokens=written,
        written_1h_tokens=hour,
        output_tokens=_count(counts, "outputTokens"),
    )


def _gemini(counts: Mapping[str, Any]) -> Usage | None:
    """Gemini's `usageMetadata`, inclusive; in the JSON's and in the package's spelling."""
    prompt = _count(counts, "promptTokenCount", "prompt_token_count")
    if prompt is None:
        return None
    answered = _count(counts, "candidatesTokenCount", "candidates_token_count")
    thought = _count(counts, "thoughtsTokenCount", "thoughts_token_count")  # not among the others
    is_known = answered is not None or thought is not None
    return Usage(
        prompt_tokens=prompt,
        cached_tokens=_count(counts, "cachedContentTokenCount", "cached_content_token_count"),
        output_tokens=(answered or 0) + (thought or 0) if is_known else None,
    )


def _count(counts: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of these counts that is there and is a count."""
    for name in names:
        value = counts.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def mapping_of(value: object) -> Mapping[str, Any] | None:
    """Return a mapping for a mapping or for an object of a client package."""
    if isinstance(value, Mapping):
        return value
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        dumped = dump(mode="python", warnings=False)
        return dumped if isinstance(dumped, Mapping) else None
    return None


def _fields_of(value: object) -> Mapping[str, Any] | None:
    """Return a mapping or an object's fields, nested objects as they are: no copy is made."""
    if hasattr(value, "model_dump"):
        # A pydantic model gives its fields, and the extra ones, when it is iterated.
        return dict(cast("Iterable[tuple[str, Any]]", value))
    return value if isinstance(value, Mapping) else None
