"""Lines of recordings as requests: the envelopes that loggers put around request bodies.

Knows these: the SDK's recordings (and any `{"request": …, "response": …}`), LiteLLM's standard
logging payload, Bedrock's log of invocations, batch files (`{"custom_id": …, "body": …}`), bare
request bodies. Does not know files. What it does not need it does not look at.

Source: LiteLLM's StandardLoggingPayload specification, read 2026-11-23.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stemfirst.prompt import Origin
from stemfirst.tiers import Tier
from stemfirst.usage import NOTHING, Usage, usage_of

from stemfirst_lint.audit.bodies import TTL_S, ShapeError, api_of, blocks_of
from stemfirst_lint.audit.records import Api, Path, Place, Request, SegmentPlace

_TIME_FIELDS = ("at", "timestamp", "startTime", "start_time", "created_at", "time", "ts")
_BODY_FIELDS = ("request", "body", "request_body", "kwargs")
_LITELLM_FIELDS = ("call_type", "model_parameters", "startTime", "response_cost")
_SETTINGS = (
    "parallel_tool_calls", "response_format", "reasoning_effort", "reasoning", "verbosity", "text",
    "service_tier", "context_management", "thinking", "output_config", "tool_choice", "speed",
)  # fmt: skip
_LONGEST_NAME = 256
_WORDS = ((str, "a string"), (bool, "true or false"), (int | float, "a number"), (object, "null"))
"""What JSON calls a line that is no object."""
_MODEL_IN_URL = re.compile(r"/models?/([^/:?]+)")
_FAILED = ("failed", "failure")
"""What the SDK's recordings and LiteLLM's log call a call without an answer."""

_CACHE_KEYS = ("prompt_cache_key", "cache_salt", "prompt_cache_isolation_key")


def request_of(line: bytes, place: Place) -> Request:
    """Return the request that a line records.

    Raises:
        ShapeError: the line is not JSON, or no request that we understand.
    """
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ShapeError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ShapeError(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ShapeError("the JSON is nested too deeply") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise ShapeError(f"not JSON that can be read: {error}") from None
    if isinstance(record, list):
        raise ShapeError("a JSON array; write one request a line (jq -c '.[]' does)")
    if not isinstance(record, Mapping):
        what = next(name for kind, name in _WORDS if isinstance(record, kind) or kind is object)
        raise ShapeError(f"{what}, expected a JSON object")
    try:
        body, response = _parts(record)
        return _request(record, body, response, place)
    except RecursionError:
        raise ShapeError("the JSON is nested too deeply") from None


def _parts(record: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the request's and the response's body out of their envelope."""
    response = _response(record.get("response"))
    logged = _object(_object(record.get("input")).get("inputBodyJson"))
    if logged:  # Bedrock's log of invocations
        return logged, _response(_object(record.get("output")).get("outputBodyJson"))
    for name in _BODY_FIELDS:
        body = _object(record.get(name))
        if body:
            return _object(body.get("body")) or body, response
    if "messages" in record and any(name in record for name in _LITELLM_FIELDS):
        return _litellm(record), response
    return record, response


def _response(recorded: object) -> Mapping[str, Any]:
    """Return a response's body; of a stream's chunks the last one that reports usage."""
    if isinstance(recorded, list):
        chunks = [_object(chunk) for chunk in recorded]
        counted = ("usage", "usageMetadata", "usage_metadata")
        return next((c for c in reversed(chunks) if any(map(c.get, counted))), {})
    response = _object(recorded)
    return _object(response.get("body")) or response  # a batch's output


def _litellm(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body that LiteLLM's log entry was made from."""
    messages = record["messages"]
    body = {**_object(record.get("model_parameters")), "model": record.get("model")}
    if isinstance(messages, str):
        parsed = _parsed(messages)
        if parsed is None and "redacted" in messages:
            raise ShapeError("the messages were redacted when they were logged")
        messages = messages if parsed is None else parsed
    if isinstance(messages, Mapping):
        return {**body, **messages}
    if "responses" in str(record.get("call_type")):
        return {**body, "input": messages}
    return {**body, "messages": messages}


def _request(
    record: Mapping[str, Any], body: Mapping[str, Any], response: Mapping[str, Any], place: Place
) -> Request:
    api = api_of(body)
    if api is Api.CHAT and response.get("type") == "message":
        api = Api.ANTHROPIC
    blocks = blocks_of(body, api)
    if not blocks:
        raise ShapeError("the request has no text")
    options = _object(body.get("prompt_cache_options"))
    automatic = _object(body.get("cache_control"))
    asked = automatic.get("ttl") or options.get("ttl") or body.get("prompt_cache_retention")
    return Request(
        place=place,
        api=api,
        model=_model(record, body, response) or "?",
        blocks=blocks,
        provider=_text(
            record.get("base_url") or record.get("custom_llm_provider") or record.get("provider")
        ),
        at_s=_time(record, response),
        session=_session(record),
        settings=_settings(body),
        cache_key=_cache_key(body),
        is_marked_automatically=bool(automatic),
        automatic_ttl_s=TTL_S.get(str(asked)),
        is_explicit_only=options.get("mode") == "explicit",
        usage=_usage(record, response),
        reported_reason=_reason(response),
        segments=_segments(record, body),
        has_failed=record.get("status") in _FAILED,
    )


def _model(
    record: Mapping[str, Any], body: Mapping[str, Any], response: Mapping[str, Any]
) -> str | None:
    """Return the model's name; Gemini's stands in the address, or beside the body."""
    for source, name in (
        (body, "model"),
        (body, "modelId"),
        (response, "model"),
        (response, "modelVersion"),
        (response, "model_version"),
        (record, "model"),
        (record, "modelId"),
    ):
        found = _text(source.get(name))
        if found is not None:
            return found.removeprefix("models/")
    address = _MODEL_IN_URL.search(str(record.get("url") or ""))
    return address[1] if address else None


def _settings(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found = {
        name: json.dumps(body[name], sort_keys=True)
        for name in _SETTINGS
        if body.get(name) is not None
    }
    return tuple(sorted(found.items()))


def _cache_key(body: Mapping[str, Any]) -> str | None:
    found = [f"{name}={body[name]}" for name in _CACHE_KEYS if isinstance(body.get(name), str)]
    return " ".join(found) or None


def _session(record: Mapping[str, Any]) -> str | None:
    headers = _object(record.get("headers"))
    for source, name in (
        (record, "session"),
        (headers, "x-session-id"),
        (record, "session_id"),
        (record, "trace_id"),
    ):
        found = _text(source.get(name))
        if found is not None:
            return found
    return None


def _time(record: Mapping[str, Any], response: Mapping[str, Any]) -> float | None:
    for name in _TIME_FIELDS:
        found = _seconds(record.get(name))
        if found is not None:
            return found
    return _seconds(response.get("created") or response.get("created_at"))


def _seconds(value: object) -> float | None:
    """Return seconds since 1970 of an ISO time or a number of (milli)seconds."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        seconds = float(value) if abs(value) < 1e18 else math.nan
        seconds = seconds / 1000 if seconds > 1e11 else seconds
        return seconds if 0 < seconds < 1e11 else None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.timestamp()
    return None


def _usage(record: Mapping[str, Any], response: Mapping[str, Any]) -> Usage:
    for reported in (
        response.get("usage"),
        response.get("usageMetadata"),
        response.get("usage_metadata"),
        record.get("usage"),
        _object(record.get("metadata")).get("usage_object"),
    ):
        usage = usage_of(reported) if isinstance(reported, Mapping) else NOTHING
        if usage.prompt_tokens is not None:
            return usage
    prompt = record.get("prompt_tokens")
    return Usage(prompt_tokens=prompt) if isinstance(prompt, int) and prompt > 0 else NOTHING


def _reason(response: Mapping[str, Any]) -> str | None:
    """Return why the response says the cache was missed."""
    openai = _object(response.get("prompt_cache_diagnostics"))
    anthropic = _object(_object(response.get("diagnostics")).get("cache_miss_reason"))
    ours = _object(_object(response.get("stemfirst")).get("missed"))
    return _text(openai.get("reason") or anthropic.get("type") or ours.get("reason"))


def _segments(record: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[SegmentPlace, ...]:
    listed = record.get("segments") or _object(body.get("stemfirst")).get("segs")
    if not isinstance(listed, list):
        return ()
    found = [_segment(item) for item in listed]
    known = tuple(item for item in found if item is not None)
    return known if len(known) == len(found) else ()  # a hint that is malformed is no hint


def _segment(item: object) -> SegmentPlace | None:
    if not isinstance(item, Mapping):
        return None
    at, size, identifier = item.get("at"), item.get("n"), item.get("id")
    if not isinstance(at, list) or not isinstance(size, int) or size < 0:
        return None
    path: Path = tuple(step for step in at if isinstance(step, str | int))
    tier, origin = item.get("tier"), _object(item.get("origin"))
    line, column = origin.get("line"), origin.get("column")
    return SegmentPlace(
        at=path,
        size_bytes=size,
        id=str(identifier)[:_LONGEST_NAME],
        tier=_TIERS.get(str(tier)),
        name=_text(item.get("name")),
        origin=Origin(str(origin["path"]), line, column if isinstance(column, int) else None)
        if "path" in origin and isinstance(line, int)
        else None,
    )


_TIERS = {tier.label: tier for tier in Tier}


def _object(value: object) -> Mapping[str, Any]:
    """Return an object, also one that was logged as a string; an empty one for all else."""
    if isinstance(value, str) and value[:1] == "{":
        value = _parsed(value)
    return value if isinstance(value, Mapping) else {}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # text, then, and no JSON
        return None


def _text(value: object) -> str | None:
    """Return a name, at most `_LONGEST_NAME` characters of it, or None."""
    return value[:_LONGEST_NAME] if isinstance(value, str) and value else None
