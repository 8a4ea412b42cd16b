"""What an operator sees: metrics, sums by day, spans, log lines, the dashboard."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from stemfirst_server.errors import ConfigError
from stemfirst_server.sums import DailySums, Sum

ROOT = Path(__file__).parents[2]
CHAT = "/v1/chat/completions"


def samples(http: httpx.Client) -> dict[str, float]:
    """Return every sample of /metrics by its name and labels."""
    found = {}
    for line in http.get("/metrics").text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def ask(http: httpx.Client, text: str, **more: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 2} | more
    answer = http.post(CHAT, json=body)
    assert answer.status_code == 200, answer.text
    return answer


def label(name: str, **labels: str) -> str:
    labels["model_name"] = "stemfirst-demo"
    shown = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
    return f"{name}{{{shown}}}"


def test_counters_move_by_what_a_request_was(http: httpx.Client, policy: str) -> None:
    before = samples(http)
    usage = [ask(http, policy).json()["usage"] for _ in range(2)]
    http.post(
        CHAT,
        json={"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
        headers={"x-stainless-retry-count": "1"},
    )
    after = samples(http)

    def moved(name: str, **labels: str) -> float:
        key = label(name, **labels)
        return after[key] - before.get(key, 0.0)

    cached = usage[1]["prompt_tokens_details"]["cached_tokens"]
    assert moved("vllm:prefix_cache_hits_total") >= cached
    assert moved("stemfirst_cached_tokens_total", tier="gpu") == moved(
        "vllm:prefix_cache_hits_total"
    )
    assert moved("vllm:prefix_cache_queries_total") >= 2 * usage[0]["prompt_tokens"]
    assert moved("vllm:time_to_first_token_seconds_count") == 3
    assert moved("vllm:request_prompt_tokens_count") == 3
    assert moved("vllm:request_generation_tokens_sum") == 5
    missed = [name for name in after if name.startswith("stemfirst_missed_tokens_total")]
    assert sum(after[name] - before.get(name, 0.0) for name in missed) > 400
    assert moved("stemfirst_retried_requests_total") == 1
    assert moved("vllm:request_success_total", finished_reason="length") == 3


def test_each_metric_of_the_dashboard_is_exposed(http: httpx.Client, policy: str) -> None:
    ask(http, policy)
    text = http.get("/metrics").text
    exposed = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    exposed |= {name + end for name in exposed for end in ("_bucket", "_sum", "_count")}
    board = json.loads((ROOT / "deploy" / "grafana.json").read_text("utf-8"))
    named = set()
    for panel in board["panels"]:
        for target in panel["targets"]:
            named |= set(re.findall(r"\b(?:stemfirst_|vllm:)\w+", target["expr"]))
    assert len(named) > 15
    assert named <= exposed
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(set(places)) == len(places)


def test_savings_add_up_by_day(http: httpx.Client, policy: str) -> None:
    before = http.get("/v1/savings").json()["total"]
    for _ in range(2):
        ask(http, policy)
    answer = http.get("/v1/savings", params={"days": 1}).json()
    (today,) = answer["data"]
    assert date.fromisoformat(today["day"]) <= datetime.now(UTC).date()
    total = http.get("/v1/savings").json()["total"]
    assert total["requests"] == before["requests"] + 2
    assert total["cached_tokens"] > before["cached_tokens"]
    assert total["cached_tokens"] + total["computed_tokens"] == total["prompt_tokens"]
    assert answer["price"] == {"per_hour": 2.0, "currency": "USD"}
    for wrong in (0, -1, 10**6, 10**30):
        assert http.get("/v1/savings", params={"days": wrong}).status_code == 400


def test_a_tenant_sees_its_own_savings_and_an_operator_all(guarded: Any) -> None:
    with httpx.Client(base_url=guarded.url, timeout=60, trust_env=False) as http:

        def get(path: str, key: str) -> httpx.Response:
            return http.get(path, headers={"authorization": f"Bearer {key}"})

        for key in ("acme-1", "globex-1"):
            http.headers["authorization"] = f"Bearer {key}"
            ask(http, "Hi")
        own = get("/v1/savings", "acme-1").json()
        assert {row["tenant"] for row in own["data"]} == {"acme"}
        everybody = get("/v1/savings/tenants", "operator-1").json()
        assert {"acme", "globex"} <= {row["tenant"] for row in everybody["data"]}
        assert get("/v1/savings/tenants", "acme-1").status_code == 403
        assert get("/v1/savings", "nobody").status_code == 401


ONE = Sum(1, 10, 4, 6, 2, 1, 3.5)


def test_sums_of_an_older_version_are_read_on(tmp_path: Path) -> None:
    old = "requests prompt_tokens cached_tokens computed_tokens output_tokens estimated_requests"
    columns = [*old.split(), "prefill_ms_saved"]
    with closing(sqlite3.connect(tmp_path / "savings.sqlite3")) as base, base:
        names = ", ".join(f"{name} NOT NULL" for name in columns)
        base.execute(
            f"CREATE TABLE sums (day TEXT, tenant TEXT, {names}, PRIMARY KEY (day, tenant))"
        )
        day = datetime.now(UTC).date().isoformat()
        base.execute("INSERT INTO sums VALUES (?, 'a', 1, 10, 4, 6, 2, 1, 3.5)", [day])
    sums = DailySums(tmp_path)
    sums.add("a", Sum(1, estimated_requests=1, prefill_ms_saved=2.0, prefill_ms_saved_high=3.0))
    (row,) = sums.read(days=1)
    sums.close()
    assert row.sum.requests == 2
    assert (row.sum.prefill_ms_saved, row.sum.prefill_ms_saved_high) == (5.5, 3.0)


def test_sums_outlive_the_process_and_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path;"
        "from stemfirst_server.sums import DailySums, Sum;"
        "sums = DailySums(Path(sys.argv[1]));"
        "sums.add('a', Sum(1, 10, 4, 6, 2, 1, 3.5)); sums.write();"
        "sums.add('a', Sum(1)); os._exit(9)"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=30, check=False)
    again = DailySums(tmp_path)
    (row,) = again.read(days=2, tenant="a")
    assert row.sum == ONE + ONE
    again.close()


def test_days_are_apart_and_old_ones_go(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
    sums = DailySums(tmp_path, clock=lambda: now)
    sums.add("a", ONE)
    sums.add("b", ONE)
    sums.write()
    now += timedelta(minutes=2)
    sums.add("a", ONE)
    assert [(str(row.day), row.tenant) for row in sums.read(days=2)] == [
        ("2026-03-02", "a"),
        ("2026-03-01", "a"),
        ("2026-03-01", "b"),
    ]
    assert len(sums.read(days=1)) == 1
    now += timedelta(days=500)
    sums.add("a", ONE)
    assert len(sums.read(days=400)) == 1
    sums.close()


def test_threads_lose_nothing(tmp_path: Path) -> None:
    sums = DailySums(tmp_path)

    def add() -> None:
        for _ in range(200):
            sums.add("a", ONE)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        sums.write()
    for thread in threads:
        thread.join()
    assert sum(row.sum.requests for row in sums.read(days=2)) == 800
    sums.close()


def test_what_cannot_be_written_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sums = DailySums(tmp_path)
    with sqlite3.connect(tmp_path / "savings.sqlite3") as other:
        other.execute("DROP TABLE sums")
        sums.add("a", ONE)
        sums.write()
        assert "could not be written" in caplog.text
    other.close()
    sums.close()
    again = DailySums(tmp_path)
    assert again.read(days=1) == []
    again.close()


def test_a_state_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(ConfigError, match="state folder"):
        DailySums(tmp_path / "file")


def test_lines_of_json_hold_ids_and_counts_and_no_text(start: Any) -> None:
    served = start(
        *("--port", "0", "--pool-tokens", "8192", "--calibration-seconds", "0"),
        *("--log-format", "json"),
    ).wait_until_ready()
    with httpx.Client(base_url=served.url, timeout=60, trust_env=False) as http:
        http.headers["x-request-id"] = "id-7"
        usage = ask(http, "a secret").json()["usage"]
        http.get("/nowhere%0a%1b[31m")
    served.wait_for("nowhere")
    lines = [line for line in served.log.splitlines() if not line.startswith("Serving ")]
    parsed = [json.loads(line) for line in lines]
    (told,) = [line for line in parsed if line.get("path") == CHAT]
    assert told["request_id"] == "id-7"
    assert told["status"] == 200
    assert told["prompt_tokens"] == usage["prompt_tokens"]
    assert told["cached_tokens"] == 0
    assert told["ttft_ms"] > 0
    assert {"time", "level", "logger", "message", "ms", "method"} <= told.keys()
    assert "secret" not in served.log
    assert "\x1b" not in served.log


def test_spans_have_the_names_of_generative_ai() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from stemfirst.wire import Report, Times
    from stemfirst_server import tracing
    from stemfirst_server.engine.request import SamplingParams

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    report = Report(
        prompt_tokens=100,
        cached_tokens=64,
        computed_tokens=36,
        time=Times(queue=1.0, prefill=2.0, load=0.0, ttft=3.0, decode=4.0, tpot=1.0,
                   prefill_ms_saved=None),
        missed=None, cost=None, tiers=None, segments=None, source=None, notice=None,
    )  # fmt: skip
    tracing.record(
        operation="chat",
        model="m",
        answer_id="chatcmpl-1",
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        sampling=SamplingParams(max_tokens=5, temperature=0.5),
        report=report,
        output_tokens=5,
        finishes=["length"],
        began_s=1.0,
        request_id="r1",
        provider=provider,
    )
    (span,) = exporter.get_finished_spans()
    assert span.name == "chat m"
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    found = dict(span.attributes or {})
    assert found["gen_ai.usage.input_tokens"] == 100
    assert found["gen_ai.usage.cache_read.input_tokens"] == 64
    assert found["gen_ai.usage.output_tokens"] == 5
    assert found["gen_ai.response.finish_reasons"] == ("length",)
    assert found["gen_ai.operation.name"] == "chat"
    assert found["stemfirst.request.id"] == "r1"
    assert "gen_ai.request.seed" not in found
