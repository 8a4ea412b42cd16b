"""`stemfirst bench` against the real server, and against one that says little."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst.usage import Usage
from stemfirst_server.bench.asking import Endpoint, EndpointError, Outcome
from stemfirst_server.bench.figures import PERCENTILES, figures, shown
from stemfirst_server.bench.running import run
from stemfirst_server.bench.workloads import (
    TraceError,
    multi_turn,
    poisson,
    shared_prefix,
    trace,
)


def command(url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "bench", "--url", url, *flags],
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize(
    ("flags", "least_hits"),
    [
        (("--workload", "shared-prefix", "--prefixes", "2"), 0.5),
        (("--workload", "multi-turn", "--turns", "3"), 0.5),
        (("--workload", "shared-prefix", "--rate", "50", "--ignore-eos"), 0.2),
    ],
    ids=["shared prefix", "multi turn", "rate"],
)
def test_figures_of_a_run_are_the_servers_own(
    server: Any, flags: tuple[str, ...], least_hits: float
) -> None:
    common = ("--requests", "12", "--prefix-words", "300", "--output-tokens", "4", "--json")
    done = command(server.base_url, *common, *flags, "--seed", str(len(flags[3])), "--warmup", "1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["completed"] == 12
    assert found["errors"] == {}
    assert found["output_tokens"] == 48
    assert found["hit_ratio"] >= least_hits
    assert found["hits"] > 0
    # On a busy machine the server's law may scatter too much for any estimate; then there is none.
    if found["estimated_hits"]:
        assert found["prefill_ms_saved"] > 0
        assert found["saved"] > 0
        assert found["currency"] == "USD"
    else:
        assert found["prefill_ms_saved"] is None
    for name in ("ttft_ms", "tpot_ms", "e2e_ms"):
        spread = found[name]
        assert spread["count"] == 12
        assert 0 < spread["p50"] <= spread["p90"] <= spread["p99"]
    assert found["ttft_ms"]["mean"] < found["e2e_ms"]["mean"]


def test_a_table_is_printed_for_people(server: Any) -> None:
    done = command(server.base_url, "--requests", "3", "--output-tokens", "2")
    assert done.returncode == 0
    for word in ("TTFT", "TPOT", "E2E", "p99", "from the cache", "prefill saved"):
        assert word in done.stdout


def test_an_unknown_model_is_an_error_of_each_request(server: Any) -> None:
    done = command(server.base_url, "--model", "none", "--requests", "2", "--json")
    assert done.returncode == 1
    ((error, count),) = json.loads(done.stdout)["errors"].items()
    assert "404" in error
    assert count == 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x", "must be like http://"),
        ("http://127.0.0.1:9/v1", "nobody answers at 127.0.0.1:9"),
    ],
)
def test_an_endpoint_that_is_none_is_said(url: str, words: str) -> None:
    done = command(url, "--requests", "1")
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_it_needs_no_torch() -> None:
    code = (
        "import sys, stemfirst_server.bench.cli;"
        "print([n for n in ('torch', 'transformers', 'fastapi', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_server_that_says_no_usage_is_measured_all_the_same() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for text in ("a", "b"):
            data = json.dumps({"choices": [{"delta": {"content": text}}]}).encode()
            for piece in (b"data: " + data[:9], data[9:] + b"\n\n"):  # events cut across chunks
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def ask() -> Outcome:
        serving = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = serving.sockets[0].getsockname()[1]
        endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", api_key=None, timeout_s=10)
        found = await endpoint.ask([], model="m", output_tokens=2, started_at=0.0, extra={})
        endpoint.close()
        serving.close()
        return found

    outcome = asyncio.run(ask())
    assert outcome.error is None
    assert outcome.text == "ab"
    assert outcome.ttft_s is not None
    found = figures([outcome], 1.0)
    assert found.hit_ratio is None
    assert "does not say" in shown(found)


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=50))
def test_percentiles_are_numpys(seconds: list[float]) -> None:
    outcomes = [
        Outcome(0.0, None, value, 2 * value, Usage(10, 4, None, None, 3)) for value in seconds
    ]
    found = figures(outcomes, 1.0)
    assert found.ttft is not None
    expected = np.percentile(np.array(seconds) * 1000, PERCENTILES)
    assert found.ttft.percentiles == pytest.approx(expected.tolist())
    assert found.hit_ratio == pytest.approx(0.4)
    # Two tokens behind the first share what is left of the time.
    assert found.tpot is not None
    assert found.tpot.mean == pytest.approx(found.ttft.mean / 2)


def test_a_seed_gives_the_same_prompts() -> None:
    sizes: dict[str, Any] = {"prefix_words": 9, "question_words": 3, "output_tokens": 2}
    one = shared_prefix(requests=5, prefixes=2, seed=1, **sizes)
    assert one == shared_prefix(requests=5, prefixes=2, seed=1, **sizes)
    assert one != shared_prefix(requests=5, prefixes=2, seed=2, **sizes)
    assert len({session.system for session in one}) == 2
    talks = multi_turn(sessions=3, turns=4, seed=1, **sizes)
    assert len({talk.system for talk in talks}) == 1
    assert all(len(talk.turns) == 4 for talk in talks)
    timed = [session.at_s or 0.0 for session in poisson(one, rate=10.0, seed=1)]
    assert timed == sorted(timed)
    assert timed[0] > 0


def entry(at_ms: int, blocks: list[int], length: int) -> str:
    made = {
        "timestamp": at_ms, "input_length": length, "output_length": 2, "hash_ids": blocks,
    }  # fmt: skip
    return json.dumps(made) + "\n"


def test_a_trace_shares_what_its_blocks_share(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(entry(0, [7, 8], 700) + entry(500, [7, 9], 1000), "utf-8")
    first, second = trace(file, speed=2.0)
    assert second.at_s == 0.25
    one, other = first.turns[0].text.split(), second.turns[0].text.split()
    assert one[:500] == other[:500]
    assert one[520:560] != other[520:560]
    assert abs(len(one) - 700) < 10
    assert abs(len(other) - 1000) < 10
    assert len(trace(file, most_requests=1)) == 1


@pytest.mark.parametrize("line", ["{}", "nonsense", entry(0, [], 5).replace("[]", "3")])
def test_a_trace_of_another_schema_is_said_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(entry(0, [1], 5) + line, "utf-8")
    with pytest.raises(TraceError, match="line 2"):
        trace(file)


def test_a_trace_is_played(server: Any, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(entry(n, [3, 4], 600) for n in range(4)), "utf-8")
    endpoint = Endpoint(server.base_url, api_key="k", timeout_s=60)

    async def play() -> list[Outcome]:
        outcomes, _ = await run(
            trace(file), endpoint, model="stemfirst-demo", concurrency=2, extra={}
        )
        endpoint.close()
        return outcomes

    outcomes = asyncio.run(play())
    assert [outcome.error for outcome in outcomes] == [None] * 4
    found = figures(outcomes, 1.0)
    assert found.hit_ratio is not None
    assert found.hit_ratio > 0.4


def test_an_address_without_a_host_is_refused() -> None:
    with pytest.raises(EndpointError):
        Endpoint("127.0.0.1:8000", api_key=None, timeout_s=1)


def outcome(cached: int, saved_ms: float | None) -> Outcome:
    usage = Usage(prompt_tokens=100, cached_tokens=cached)
    return Outcome(0.0, ttft_s=0.1, e2e_s=0.2, usage=usage, saved_ms=saved_ms, currency="EUR",
                   saved_money=None if saved_ms is None else saved_ms / 1e6)  # fmt: skip


def test_a_saving_that_nobody_estimated_is_none_and_not_zero() -> None:
    found = figures([outcome(0, 0.0), outcome(64, None), outcome(64, None)], 1.0)
    assert found.saved_ms is None
    assert "no estimate of what its 2 hits saved" in shown(found)
    some = figures([outcome(0, 0.0), outcome(64, 5.0), outcome(64, None)], 1.0)
    assert some.saved_ms == 5.0
    assert "(1 of 2 hits): 5 ms, 0.000005 EUR" in shown(some)


def test_a_run_in_which_all_failed_claims_nothing_of_the_cache() -> None:
    text = shown(figures([Outcome(0.0, error="status 404: no such model")], 1.0))
    assert "1 failed" in text
    assert "cache" not in text
    assert "TTFT" not in text


@pytest.mark.parametrize(("flag", "value"), [("--speed", "0"), ("--timeout", "-1")])
def test_a_number_out_of_range_is_a_usage_error(flag: str, value: str) -> None:
    done = command("http://127.0.0.1:9", flag, value)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_server_that_wants_a_key_is_named_so(guarded: Any) -> None:
    done = command(f"{guarded.url}/v1", "--requests", "1")
    assert done.returncode == 2
    assert "--api-key" in done.stderr
