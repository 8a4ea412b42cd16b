"""A span for each answer, with OpenTelemetry's names for generative AI.

Spans go to the process's own provider, which the operator sets up (`opentelemetry-instrument
stemfirst serve`, with OTEL_* variables); without the package opentelemetry-api nothing happens. A
span continues the trace of the request's `traceparent`. Holds counts and times, never text.

Source: OpenTelemetry's semantic conventions for generative AI, status Development, read
2026-11-23.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue
    from stemfirst.wire import Report

    from stemfirst_server.engine.request import SamplingParams

try:
    from opentelemetry import propagate, trace
    from opentelemetry.trace import SpanKind, StatusCode
except ModuleNotFoundError:
    HAS_API = False
else:
    HAS_API = True

CANCELLED = "cancelled"
"""Why a span ended whose client left; no fault of the server's."""


def record(
    *,
    operation: str,
    model: str,
    answer_id: str,
    headers: Mapping[str, str],
    sampling: SamplingParams,
    report: Report | None,
    output_tokens: int,
    finishes: Sequence[str],
    began_s: float,
    request_id: str,
    error: str | None = None,
    provider: TracerProvider | None = None,
) -> None:
    """Tell an answer that is complete, or that ended before it was.

    Args:
        operation: `chat` or `text_completion`.
        model: what answered.
        answer_id: as the client knows it.
        headers: of the request, for its trace.
        sampling: what was asked.
        report: the account; None: it ended before there was one.
        output_tokens: of all choices.
        finishes: why each choice ended.
        began_s: when the request came, seconds since 1970.
        request_id: as the log knows it.
        error: why it ended early: `cancelled` where the client left, else a kind of error.
        provider: where spans go; None: the process's own.
    """
    if not HAS_API:
        return
    tracer = trace.get_tracer("stemfirst", tracer_provider=provider)
    span = tracer.start_span(
        f"{operation} {model}",
        context=propagate.extract(headers),
        kind=SpanKind.SERVER,
        start_time=int(began_s * 1e9),
    )
    if span.is_recording():
        found: dict[str, AttributeValue | None] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "stemfirst",
            "gen_ai.request.model": model,
            "gen_ai.response.model": model,
            "gen_ai.response.id": answer_id,
            "gen_ai.response.finish_reasons": tuple(finishes) or None,
            "error.type": error,
            "gen_ai.request.max_tokens": sampling.max_tokens,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
            "gen_ai.request.seed": sampling.seed,
            "gen_ai.usage.output_tokens": output_tokens,
            "stemfirst.request.id": request_id,
            **(_counted(report) if report is not None else {}),
        }
        span.set_attributes({name: value for name, value in found.items() if value is not None})
        if error is not None and error != CANCELLED:
            span.set_status(StatusCode.ERROR)
    span.end(end_time=time.time_ns())


def _counted(report: Report) -> dict[str, AttributeValue | None]:
    timing = report.time
    saved = timing.prefill_ms_saved
    return {
        "gen_ai.usage.input_tokens": report.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": report.cached_tokens,
        "stemfirst.queue_ms": timing.queue,
        "stemfirst.prefill_ms": timing.prefill,
        "stemfirst.ttft_ms": timing.ttft,
        "stemfirst.tpot_ms": timing.tpot,
        "stemfirst.prefill_ms_saved": saved.est if saved else None,
        "stemfirst.miss.reason": report.missed.reason if report.missed else None,
    }
