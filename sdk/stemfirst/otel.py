"""Telemetry: what the cache did for each call, on the caller's own span and as metrics.

    from stemfirst import otel
    otel.enable()

Knows OpenTelemetry's names for generative AI. Opens no span of its own: the attributes go to the
span that is current when the request is sent, the caller's or another instrumentation's.
Needs the package opentelemetry-api (`pip install "stemfirst[otel]"`).

Source: OpenTelemetry's semantic conventions for generative AI, status Development, read
2026-11-23. `cache_write` is their present name for what was `cache_creation`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from os.path import basename, isabs
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry import metrics, trace

from stemfirst import observers
from stemfirst.entries import Status
from stemfirst.observers import Outcome, Sent
from stemfirst.providers import public_api
from stemfirst.savings import Savings

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from stemfirst.segments import Origin

TOKENS = "gen_ai.client.token.usage"
DURATION = "gen_ai.client.operation.duration"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
SAVED_MS = "stemfirst.prefill.saved"

_OPERATIONS = {"/completions": "text_completion"}

_enabled: Telemetry | None = None
_lock = threading.Lock()


def enable(
    *, meter_provider: metrics.MeterProvider | None = None, source_lines: bool = False
) -> None:
    """Report every call of this process, through our clients or instrumented ones.

    Args:
        meter_provider: where metrics go; by default the global one.
        source_lines: whether a span says which line of your source a miss began at, as
            `stemfirst.missed.origin`: the file's path below the working folder, or its name. By
            default source paths stay in the process.
    """
    global _enabled
    with _lock:
        if _enabled is None:
            _enabled = Telemetry(meter_provider, source_lines=source_lines)
            observers.add(_enabled)


def disable() -> None:
    """Report no further call."""
    global _enabled
    with _lock:
        if _enabled is not None:
            observers.remove(_enabled)
            _enabled = None


class Telemetry:
    """An observer that writes span attributes and metrics."""

    def __init__(
        self,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        source_lines: bool = False,
    ) -> None:
        self._source_lines = source_lines
        meter = metrics.get_meter("stemfirst", meter_provider=meter_provider)
        self._tokens = meter.create_histogram(
            TOKENS, "{token}", "Tokens of a call: the whole input, the output"
        )
        self._duration = meter.create_histogram(DURATION, "s", "Time until the answer's end")
        self._first_chunk = meter.create_histogram(
            FIRST_CHUNK, "s", "Time until a stream's first chunk"
        )
        self._cache_read = meter.create_counter(
            "gen_ai.client.inference.usage.cache_read.input_tokens",
            "{token}",
            "Input tokens read from the provider's cache",
        )
        self._cache_write = meter.create_counter(
            "gen_ai.client.inference.usage.cache_write.input_tokens",
            "{token}",
            "Input tokens written to the provider's cache",
        )
        self._saved_ms = meter.create_histogram(
            SAVED_MS, "ms", "Prefill that the prefix cache avoided, as the server estimates it"
        )

    def sent(self, sent: Sent) -> Callable[[Outcome], None]:
        """Take a request, and the span that is current now."""
        span = trace.get_current_span()
        operation = _OPERATIONS.get(sent.path, "chat")
        common: dict[str, AttributeValue] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider_of(sent.base_url),
        }
        model = sent.body.get("model")
        if isinstance(model, str):
            common["gen_ai.request.model"] = model
        if span.is_recording():
            span.set_attributes(common)  # a stream may be read when the span has ended

        def ended(outcome: Outcome) -> None:
            attributes = dict(common)
            if outcome.savings.model:
                attributes["gen_ai.response.model"] = outcome.savings.model
            if outcome.error is not None:
                attributes["error.type"] = type(outcome.error).__qualname__
            if span.is_recording():
                told = attributes_of(outcome.savings, source_lines=self._source_lines)
                span.set_attributes({**attributes, **told})
                if outcome.first_chunk_s is not None:
                    span.set_attribute("gen_ai.response.time_to_first_chunk", outcome.first_chunk_s)
                if outcome.status is Status.CUT_OFF:
                    span.set_attribute("stemfirst.complete", False)
            self._measure(outcome, attributes)

        return ended

    def _measure(self, outcome: Outcome, attributes: dict[str, AttributeValue]) -> None:
        savings = outcome.savings
        self._duration.record(outcome.duration_s, attributes)
        if outcome.first_chunk_s is not None:
            self._first_chunk.record(outcome.first_chunk_s, attributes)
        for kind, count in (("input", savings.prompt_tokens), ("output", savings.output_tokens)):
            if count is not None:
                self._tokens.record(count, {**attributes, "gen_ai.token.type": kind})
        modality = {**attributes, "gen_ai.token.modality": "unknown"}
        if savings.cached_tokens is not None:
            self._cache_read.add(savings.cached_tokens, modality)
        if savings.written_tokens is not None:
            self._cache_write.add(savings.written_tokens, modality)
        if savings.prefill_ms_saved is not None:
            self._saved_ms.record(savings.prefill_ms_saved.est, attributes)


def attributes_of(savings: Savings, *, source_lines: bool = False) -> dict[str, AttributeValue]:
    """Return a call's savings as span attributes; what was not reported is left out.

    Args:
        savings: the call's.
        source_lines: whether to say which line of the source a miss began at.
    """
    found: dict[str, AttributeValue | None] = {
        "gen_ai.usage.input_tokens": savings.prompt_tokens,
        "gen_ai.usage.output_tokens": savings.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": savings.cached_tokens,
        "gen_ai.usage.cache_write.input_tokens": savings.written_tokens,
    }
    saved = savings.prefill_ms_saved
    if saved is not None:
        found["stemfirst.prefill_ms_saved"] = saved.est
        found["stemfirst.prefill_ms_saved.low"] = saved.lo
        found["stemfirst.prefill_ms_saved.high"] = saved.hi
    if savings.cost is not None:
        found["stemfirst.cost.saved"] = savings.cost.saved
        found["stemfirst.cost.currency"] = savings.cost.currency
    missed = savings.missed
    if missed is not None and missed.tokens and not missed.is_avoidable:
        found["stemfirst.new.tokens"] = missed.tokens
    elif missed is not None and missed.tokens:
        found["stemfirst.missed.tokens"] = missed.tokens
        found["stemfirst.missed.reason"] = missed.reason
        found["stemfirst.missed.segment"] = missed.segment
        found["stemfirst.missed.rule"] = missed.why.rule.code if missed.why else None
        found["stemfirst.missed.cost"] = missed.cost
        if missed.ms is not None:
            found["stemfirst.missed.ms"] = missed.ms.est
            found["stemfirst.missed.ms.low"] = missed.ms.lo
            found["stemfirst.missed.ms.high"] = missed.ms.hi
        if source_lines and missed.origin:
            found["stemfirst.missed.origin"] = _line_of(missed.origin)
    return {name: value for name, value in found.items() if value is not None}


def _line_of(origin: Origin) -> str:
    """Return a line's file and number, without the folders above the working one."""
    path = origin.short_path
    return f"{basename(path) if isabs(path) else path}:{origin.line}"


def provider_of(base_url: str) -> str:
    """Return OpenTelemetry's name of who answers at an address; `stemfirst` for all others."""
    host = urlsplit(base_url).hostname or ""
    known = public_api(host)
    if known is not None:
        return known[1] or host
    return "stemfirst" if host in ("localhost", "127.0.0.1", "::1") else host or "unknown"
