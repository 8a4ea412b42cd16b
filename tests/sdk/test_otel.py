"""Telemetry, read back from the real OpenTelemetry SDK's in-memory exporters."""

import openai
import pytest
from stemfirst import Client, Prompt, request

pytest.importorskip("opentelemetry.sdk", reason="pip install opentelemetry-sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from stemfirst import otel
from stemfirst.otel import provider_of
from stemfirst.savings import Missed, Savings
from stemfirst.segments import Origin
from stemfirst.tiers import Tier


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("app"), exporter
    provider.shutdown()


@pytest.fixture
def metrics():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    otel.enable(meter_provider=provider)
    yield reader
    otel.disable()
    provider.shutdown()


@pytest.fixture
def client(peer):
    with Client(base_url=peer.url, api_key="sk-test", max_retries=0) as made:
        yield made


def points(reader):
    data = reader.get_metrics_data()
    found = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found[metric.name] = list(metric.data.data_points)
    return found


def test_the_callers_span_gets_what_the_cache_did(client, spans, metrics):
    tracer, exporter = spans
    with tracer.start_as_current_span("checkout"):
        client.ask(Prompt(request("Hello")), model="gpt-4o")
    [span] = exporter.get_finished_spans()
    assert span.name == "checkout"
    assert span.attributes["gen_ai.usage.input_tokens"] == 2_000
    assert span.attributes["gen_ai.usage.cache_read.input_tokens"] == 1_536
    assert span.attributes["gen_ai.usage.cache_write.input_tokens"] == 0
    assert span.attributes["gen_ai.usage.output_tokens"] == 3
    assert span.attributes["gen_ai.operation.name"] == "chat"
    assert span.attributes["gen_ai.request.model"] == "gpt-4o"
    assert not [name for name in span.attributes if "Hello" in str(span.attributes[name])]


def test_what_was_not_reported_is_left_out(peer, client, spans, metrics):
    tracer, exporter = spans
    peer.usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    with tracer.start_as_current_span("checkout"):
        client.ask(Prompt(request("Hello")), model="gpt-4o")
    [span] = exporter.get_finished_spans()
    assert span.attributes["gen_ai.usage.input_tokens"] == 10
    assert "gen_ai.usage.cache_read.input_tokens" not in span.attributes


def test_metrics_add_up_over_calls(client, metrics):
    for _ in range(2):
        client.ask(Prompt(request("Hello")), model="gpt-4o")
    found = points(metrics)
    [read] = found["gen_ai.client.inference.usage.cache_read.input_tokens"]
    assert read.value == 3_072
    by_kind = {p.attributes["gen_ai.token.type"]: p for p in found["gen_ai.client.token.usage"]}
    assert (by_kind["input"].sum, by_kind["output"].sum) == (4_000, 6)
    [duration] = found["gen_ai.client.operation.duration"]
    assert duration.count == 2
    assert duration.sum > 0


def test_a_stream_reports_on_the_span_that_began_it(client, spans, metrics):
    tracer, exporter = spans
    with tracer.start_as_current_span("checkout"):
        with tracer.start_as_current_span("ask"):
            stream = client.stream(Prompt(request("Hello")), model="gpt-4o")
            assert "".join(stream) == "Hello!"
        with tracer.start_as_current_span("later"):
            pass
    by_name = {span.name: span for span in exporter.get_finished_spans()}
    assert by_name["ask"].attributes["gen_ai.usage.cache_read.input_tokens"] == 1_536
    assert by_name["ask"].attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert not by_name["later"].attributes
    assert points(metrics)["gen_ai.client.operation.time_to_first_chunk"][0].count == 1


def test_an_error_is_named_and_nothing_else_breaks(peer, client, spans, metrics):
    tracer, exporter = spans
    peer.failures = [429]
    with tracer.start_as_current_span("checkout"), pytest.raises(openai.RateLimitError):
        client.ask(Prompt(request("Hello")), model="gpt-4o")
    assert exporter.get_finished_spans()[0].attributes["error.type"] == "RateLimitError"


def test_enabled_twice_counts_once_and_disabled_not_at_all(client, metrics):
    otel.enable()
    client.ask(Prompt(request("Hello")), model="gpt-4o")
    otel.disable()
    client.ask(Prompt(request("Hello")), model="gpt-4o")
    assert points(metrics)["gen_ai.client.operation.duration"][0].count == 1


def test_an_observer_that_fails_costs_no_answer(client, caplog):
    from stemfirst.observers import observing

    class Broken:
        def sent(self, sent):
            raise RuntimeError("broken")

    with observing(Broken()):
        assert client.ask(Prompt(request("Hello")), model="gpt-4o").text == "Hello!"
    assert "failed at a request" in caplog.text


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1/", "openai"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "aws.bedrock"),
        ("https://eu.api.openai.com/v1/", "openai"),
        ("https://api.cohere.com/v2", "cohere"),
        ("https://bedrock.example.org", "bedrock.example.org"),
        ("http://127.0.0.1:8000/v1", "stemfirst"),
        ("https://llm.example.org/v1", "llm.example.org"),
    ],
)
def test_providers_have_their_conventional_names(url, name):
    assert provider_of(url) == name


def test_a_span_that_ends_before_its_stream_knows_what_was_asked(client, spans, metrics):
    tracer, exporter = spans
    with tracer.start_as_current_span("x"):
        asked = client.stream(Prompt(request("Hello")), model="gpt-4o")
    assert list(asked)
    [span] = exporter.get_finished_spans()
    assert span.attributes["gen_ai.operation.name"] == "chat"
    assert span.attributes["gen_ai.request.model"] == "gpt-4o"


def test_what_is_new_is_no_miss_and_no_folder_is_told():
    place = {"tier": Tier.STATIC, "origin": Origin("/srv/secret/app.py", 7)}
    new = otel.attributes_of(Savings(missed=Missed(40, "first_seen", **place)))
    assert new == {"stemfirst.new.tokens": 40}
    lost = Savings(missed=Missed(40, "prompt_changed", **place))
    missed = otel.attributes_of(lost)
    assert missed["stemfirst.missed.tokens"] == 40
    assert "app.py" not in str(missed)
    told = otel.attributes_of(lost, source_lines=True)
    assert told["stemfirst.missed.origin"] == "app.py:7"
