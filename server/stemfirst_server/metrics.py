"""What an operator watches, as Prometheus metrics: our names, and vLLM's where they mean the same.

Knows names and meanings. Counters come from the engine's own, so that preempted and retried
requests count once; histograms are observed when a request ends. Does not know HTTP.

Source of vLLM's names: vLLM 0.33.0, `v1/metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from stemfirst_server.savings.costmodel import SavedTime
from stemfirst_server.tiers.stats import TierCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from stemfirst_server.engine.request import EngineStats, FinishReason, RequestReport
    from stemfirst_server.savings.costmodel import Unestimated
    from stemfirst_server.tiers.stats import TierStats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0, 16.0, 60.0)

_TOKENS = (16, 64, 256, 1024, 4096, 16384, 65536, 262144)

_TOKEN_HISTOGRAMS = {
    "prompt": ("vllm:request_prompt_tokens", "Tokens of a prompt."),
    "output": ("vllm:request_generation_tokens", "Tokens of an answer."),
}

_HISTOGRAMS = {
    "ttft": ("vllm:time_to_first_token_seconds", "From submission to the first token."),
    "tpot": ("vllm:request_time_per_output_token_seconds", "Decode time for each output token."),
    "total": ("vllm:e2e_request_latency_seconds", "From submission to the end."),
    "queue": ("vllm:request_queue_time_seconds", "Waiting before the first step."),
    "prefill": ("vllm:request_prefill_time_seconds", "Prefill time on the device."),
    "decode": ("vllm:request_decode_time_seconds", "From the first token to the last."),
}


class Metrics:
    """All metrics of one served model, in a registry of their own."""

    def __init__(self, model: str, stats: Callable[[], EngineStats]) -> None:
        self._registry = CollectorRegistry()
        labels = {"model_name": model}
        self._registry.register(_EngineCollector(stats, labels))
        self._histograms = {
            key: Histogram(
                name, text, tuple(labels), buckets=_SECONDS, registry=self._registry
            ).labels(**labels)
            for key, (name, text) in _HISTOGRAMS.items()
        }
        self._tokens = {
            key: Histogram(
                name, text, tuple(labels), buckets=_TOKENS, registry=self._registry
            ).labels(**labels)
            for key, (name, text) in _TOKEN_HISTOGRAMS.items()
        }
        self._retried = Counter(
            "stemfirst_retried_requests",
            "Requests that a client sent again, as its own header says; each counts once more.",
            ("model_name",),
            registry=self._registry,
        ).labels(model)
        self._slow = Counter(
            "stemfirst_slow_readers",
            "Streams that ended because nobody read them.",
            ("model_name",),
            registry=self._registry,
        ).labels(model)
        self._missed = Counter(
            "stemfirst_missed_tokens",
            "Prompt tokens that were computed, by why no cache had them.",
            ("model_name", "reason"),
            registry=self._registry,
        )
        self._refused = Counter(
            "stemfirst_refused_requests",
            "Requests that found no room, by reason.",
            ("model_name", "reason"),
            registry=self._registry,
        )
        self._model = model
        self._saved = _SavedCollector(labels)
        self._registry.register(self._saved)

    def finished(
        self,
        counted: RequestReport,
        reason: FinishReason,
        saved: SavedTime | Unestimated,
        missed: str | None,
    ) -> None:
        """Count a request that ended; called once for each."""
        if counted.ttft_ms is not None:
            self._histograms["ttft"].observe(counted.ttft_ms / 1000)
            self._histograms["prefill"].observe(counted.prefill_ms / 1000)
        if counted.output_tokens > 1:
            self._histograms["tpot"].observe(counted.decode_ms / 1000 / (counted.output_tokens - 1))
            self._histograms["decode"].observe(counted.decode_ms / 1000)
        self._tokens["prompt"].observe(counted.prompt_tokens)
        self._tokens["output"].observe(counted.output_tokens)
        self._histograms["queue"].observe(counted.queue_ms / 1000)
        self._histograms["total"].observe(counted.total_ms / 1000)
        if missed is not None:
            self._missed.labels(self._model, missed).inc(counted.computed_tokens)
        if isinstance(saved, SavedTime) and reason.value in ("stop", "length"):
            self._saved.add(saved.ms - counted.load_ms)

    def refused(self, reason: str) -> None:
        """Count a request that was told to come again later."""
        self._refused.labels(self._model, reason).inc()

    def retried(self) -> None:
        """Count a request that its client sent before."""
        self._retried.inc()

    def left_unread(self) -> None:
        """Count a stream that was ended because nobody read it."""
        self._slow.inc()

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read when it is asked for."""
        self._registry.register(_GaugeCollector(name, text, value, {"model_name": self._model}))

    def watch_tiers(self, stats: Callable[[], TierStats] | None) -> None:
        """Add what slower memory tells; None: there is none."""
        self._registry.register(TierCollector(stats, {"model_name": self._model}))

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _GaugeCollector(Collector):
    """One number of somebody else's."""

    def __init__(
        self, name: str, text: str, value: Callable[[], float], labels: dict[str, str]
    ) -> None:
        self._family = (name, text)
        self._value = value
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(*self._family, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), self._value())
        yield family


class _SavedCollector(Collector):
    """The sum of estimated savings; a gauge, because an estimate may be negative."""

    def __init__(self, labels: dict[str, str]) -> None:
        self._labels = labels
        self._ms = 0.0

    def add(self, ms: float) -> None:
        self._ms += ms

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "stemfirst_prefill_saved_seconds",
            "Estimated prefill time that cache hits avoided since the start.",
            labels=list(self._labels),
        )
        family.add_metric(list(self._labels.values()), self._ms / 1000)
        yield family


class _EngineCollector(Collector):
    """The engine's counters and gauges, read when they are asked for."""

    def __init__(self, stats: Callable[[], EngineStats], labels: dict[str, str]) -> None:
        self._stats = stats
        self._names = list(labels)
        self._values = list(labels.values())

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        yield self._gauge("vllm:num_requests_running", "Requests that decode.", stats.running)
        yield self._gauge("vllm:num_requests_waiting", "Requests in the queue.", stats.waiting)
        in_use = stats.pages_held / stats.pages_total if stats.pages_total else 0.0
        yield self._gauge(
            "vllm:kv_cache_usage_perc", "Share of pages that requests hold; 1 is all.", in_use
        )
        for name, text, value in (
            ("vllm:prefix_cache_queries", "Prompt tokens looked up.", stats.prompt_tokens),
            ("vllm:prefix_cache_hits", "Prompt tokens found.", stats.cached_tokens),
            ("vllm:prompt_tokens", "Prompt tokens.", stats.prompt_tokens),
            ("vllm:generation_tokens", "Generated tokens.", stats.output_tokens),
            ("vllm:num_preemptions", "Requests put back for want of pages.", stats.preemptions),
            ("stemfirst_evicted_pages", "Cached pages given up for others.", stats.evicted_pages),
            ("stemfirst_steps", "Steps of the engine.", stats.steps),
            ("vllm:spec_decode_num_draft_tokens", "Tokens guessed.", stats.drafted_tokens),
            (
                "vllm:spec_decode_num_accepted_tokens",
                "Guessed tokens that came true.",
                stats.accepted_tokens,
            ),
        ):
            yield self._counter(name, text, {(): value})
        yield self._counter(
            "stemfirst_prompt_tokens",
            "Prompt tokens by where their KV came from.",
            {("cached",): stats.cached_tokens, ("computed",): stats.computed_tokens},
            ("source",),
        )
        ages = SummaryMetricFamily(
            "stemfirst_evicted_page_age_seconds",
            "Time since the last use of pages when they were evicted.",
            labels=self._names,
        )
        ages.add_metric(self._values, stats.evicted_pages, stats.evicted_age_s)
        yield ages
        gpu = stats.cached_tokens - stats.host_tokens - stats.disk_tokens
        yield self._counter(
            "stemfirst_cached_tokens",
            "Prompt tokens found, by the tier that had their KV.",
            {("gpu",): gpu, ("host",): stats.host_tokens, ("disk",): stats.disk_tokens},
            ("tier",),
        )
        finished: dict[tuple[str, ...], int] = {
            (str(reason),): count for reason, count in stats.requests_finished.items()
        }
        yield self._counter(
            "vllm:request_success",
            "Requests that ended, by reason.",
            finished,
            ("finished_reason",),
        )
        pages = GaugeMetricFamily(
            "stemfirst_pages", "Pages of KV memory by state.", labels=[*self._names, "state"]
        )
        for state, count in (
            ("free", stats.pages_free),
            ("held", stats.pages_held),
            ("cached", stats.pages_cached),
        ):
            pages.add_metric([*self._values, state], count)
        yield pages

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=self._names)
        family.add_metric(self._values, value)
        return family

    def _counter(
        self,
        name: str,
        text: str,
        values: dict[tuple[str, ...], int],
        labels: tuple[str, ...] = (),
    ) -> Metric:
        family = CounterMetricFamily(name, text, labels=[*self._names, *labels])
        for own, value in values.items():
            family.add_metric([*self._values, *own], value)
        return family
