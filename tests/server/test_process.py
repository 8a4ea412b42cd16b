"""The server's life as an operator meets it: start, signals, ports, wrong flags."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"
QUICK = ("--port", "0", "--pool-tokens", "8192", "--calibration-seconds", "0")
LONG = {
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 6000,
    "stream": True,
    "ignore_eos": True,
}


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "serve", *flags],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_port_in_use_is_said_with_the_fix_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--port", str(port))
    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert "--port 0" in done.stderr
    assert "loading" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model", "./no/such/folder"), "no model folder"),
        (("--page", "3"), "power of two"),
        (("--device", "toaster"), "device must be"),
        (("--host", "no.such.host.invalid"), "cannot be used"),
    ],
    ids=["missing folder", "page", "device", "host"],
)
def test_a_wrong_setting_is_one_sentence_and_exit_code_2(
    flags: tuple[str, ...], words: str
) -> None:
    done = run("--port", "0", *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_half_downloaded_model_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    done = run("--port", "0", "--model", str(tmp_path))
    assert done.returncode == 2
    assert "no weights" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_loading_ends_it_within_two_seconds(start: Callable[..., Any]) -> None:
    served = start("--port", "0")
    served.wait_for("starting at")
    served.signal(signal.SIGINT)
    assert served.ends_within(2.0) == 130
    assert "Traceback" not in served.log


def test_ctrl_c_while_calibrating_ends_it_within_two_seconds(start: Callable[..., Any]) -> None:
    served = start("--port", "0", "--calibration-seconds", "60", "--pool-tokens", "16384")
    served.wait_for("measuring prefill")
    served.signal(signal.SIGINT)
    assert served.ends_within(2.0) == 130
    assert "Traceback" not in served.log


def test_ctrl_c_in_the_middle_of_a_stream_ends_it_within_two_seconds(
    start: Callable[..., Any],
) -> None:
    served = start(*QUICK).wait_until_ready()
    with httpx.stream("POST", served.url + CHAT, json=LONG, timeout=30, trust_env=False) as answer:
        lines = answer.iter_lines()
        for _ in range(8):
            next(lines)
        served.signal(signal.SIGINT)
        assert served.ends_within(2.0) == 130
        rest = list(lines)
    assert "data: [DONE]" in rest
    assert "Traceback" not in served.log


def test_sigterm_lets_running_requests_finish(start: Callable[..., Any]) -> None:
    served = start(*QUICK).wait_until_ready()
    body = LONG | {"max_tokens": 60}
    with httpx.stream("POST", served.url + CHAT, json=body, timeout=30, trust_env=False) as answer:
        lines = answer.iter_lines()
        next(lines)
        served.signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in rest[-2]
    assert served.ends_within(5.0) == 0


def test_it_answers_before_the_model_is_loaded_and_says_so(start: Callable[..., Any]) -> None:
    served = start("--port", "0", "--calibration-seconds", "60", "--pool-tokens", "16384")
    url = served.wait_for(r"starting at (http://\S+)")[1]
    served.wait_for("measuring prefill")
    with httpx.Client(base_url=url, trust_env=False, timeout=10) as http:
        assert http.get("/health").status_code == 200
        assert http.get("/health/ready").status_code == 503
        answer = http.post(CHAT, json=LONG)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["code"] == "model_loading"


def test_an_api_key_is_asked_for_and_is_not_shown(start: Callable[..., Any]) -> None:
    served = start(*QUICK, "--api-key", "secret-7").wait_until_ready()
    with httpx.Client(base_url=served.url, trust_env=False) as http:
        refused = http.get("/v1/models", headers={"authorization": "Bearer secret-8"})
        missing = http.get("/v1/models")
        allowed = http.get("/v1/models", headers={"authorization": "Bearer secret-7"})
        assert http.get("/health").status_code == 200
    assert (refused.status_code, missing.status_code, allowed.status_code) == (401, 401, 200)
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert "secret" not in served.log


def test_the_start_says_where_it_serves_and_what(server: Any) -> None:
    assert f"Serving stemfirst-demo at {server.url}/v1" in server.log()
    assert "its text is noise, its timings are real" in server.log()


def test_logs_hold_no_prompt(server: Any, http: httpx.Client) -> None:
    secret = "the-word-in-the-prompt"
    body = {"messages": [{"role": "user", "content": secret}], "max_tokens": 1}
    http.post(CHAT, json=body)
    assert secret not in server.log()


def idle(http: httpx.Client) -> dict[str, float]:
    """Return the page counts once no request runs; fails if that takes too long."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        text = http.get("/metrics").text
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        pages = {
            state: float(values[f'stemfirst_pages{{model_name="stemfirst-demo",state="{state}"}}'])
            for state in ("free", "held", "cached")
        }
        running = float(values['vllm:num_requests_running{model_name="stemfirst-demo"}'])
        if running == 0 and pages["held"] == 0:
            return pages
        time.sleep(0.02)
    raise AssertionError(f"requests still hold pages: {pages}")


def test_disconnects_free_their_pages(http: httpx.Client, server: Any, policy: str) -> None:
    """Streamed and not, early and late: nothing is held once the clients are gone."""
    total = sum(idle(http).values())
    body = LONG | {"messages": [{"role": "user", "content": policy}]}

    def leave_a_stream(lines: int) -> None:
        with httpx.stream(
            "POST", server.url + CHAT, json=body, timeout=30, trust_env=False
        ) as answer:
            stream = answer.iter_lines()
            for _ in range(lines):
                next(stream)

    def leave_an_answer() -> None:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                server.url + CHAT, json=body | {"stream": False}, timeout=0.3, trust_env=False
            )

    threads = [threading.Thread(target=leave_a_stream, args=(count,)) for count in (0, 1, 9)]
    threads += [threading.Thread(target=leave_an_answer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pages = idle(http)
    assert pages["held"] == 0
    assert sum(pages.values()) == total


def test_capabilities_say_what_the_demo_is_and_cost(http: httpx.Client) -> None:
    answer = http.get("/v1/stemfirst").json()
    assert answer["wire"] == 1
    assert answer["page"] == 16
    assert answer["demo"] is True
    assert answer["price"] == {"per_hour": 2.0, "currency": "USD"}
    assert answer["cost_model"]["samples"] >= 8
    assert answer["cost_model"]["b"] > 0


def test_models_are_listed_and_described(http: httpx.Client) -> None:
    listed = http.get("/v1/models").json()["data"]
    assert [card["id"] for card in listed] == ["stemfirst-demo"]
    assert http.get("/v1/models/stemfirst-demo").json()["max_model_len"] > 8000
    assert http.get("/v1/models/other").status_code == 404


def test_metrics_count_what_reports_say(http: httpx.Client, policy: str) -> None:
    def value(name: str) -> float:
        text = http.get("/metrics").text
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)
        )

    before = {name: value(name) for name in ("vllm:prompt_tokens_total", "vllm:prefix_cache_hits")}
    body = {"messages": [{"role": "user", "content": policy}], "max_tokens": 3}
    reports = [http.post(CHAT, json=body).json()["stemfirst"] for _ in range(2)]
    idle(http)
    prompt = value("vllm:prompt_tokens_total") - before["vllm:prompt_tokens_total"]
    hits = value("vllm:prefix_cache_hits") - before["vllm:prefix_cache_hits"]
    assert prompt == sum(report["prompt_tokens"] for report in reports)
    assert hits == sum(report["cached_tokens"] for report in reports) > 0
