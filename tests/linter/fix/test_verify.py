"""`stemfirst verify` against real servers: what is sent, what is compared, what is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fix_sources import RULES as HALF
from fix_sources import of_text
from stemfirst_lint.cli.asking import wait_s
from stemfirst_lint.fix.trial import (
    Answer,
    ValuesError,
    agreement,
    completed,
    read_values,
    render,
    values_for,
)

RULES = f"{HALF} {HALF}"
APP = f"""from datetime import datetime

PROMPT = \"\"\"Time: {{now}}

{RULES}

Question: {{question}}
\"\"\"


def ask(client, question):
    text = PROMPT.format(now=datetime.now(), question=question)
    return client.chat.completions.create(messages=[{{"role": "user", "content": text}}])
"""


class Peer:
    """A server with a prefix cache of words that answers with the prompt's last words."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.has_logprobs = True
        self.is_clock_dependent = False
        self.cached: list[list[str]] = []
        self.capabilities: dict[str, Any] | None = None
        self.refusals: list[tuple[int, dict[str, str]]] = []  # what the next requests meet

    def answer(self, body: dict[str, Any]) -> dict[str, Any] | None:
        if "logprobs" in body and not self.has_logprobs:
            return None
        words = " ".join(message["content"] for message in body["messages"]).split()
        hit = max((_common(words, other) for other in self.cached), default=0)
        self.cached.append(words)
        said = words[0] if self.is_clock_dependent else words[-1]
        tokens = [{"token": said, "logprob": -0.25 if words[0] == "Time:" else -0.5}]
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": said}}
        if "logprobs" in body:
            choice["logprobs"] = {"content": tokens}
        details = {"cached_tokens": hit}
        return {
            "choices": [choice],
            "usage": {"prompt_tokens": len(words), "prompt_tokens_details": details},
        }


def _common(one: list[str], other: list[str]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)


@pytest.fixture
def peer() -> Iterator[tuple[Peer, str]]:
    state = Peer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            known = state.capabilities if self.path == "/v1/stemfirst" else None
            self.reply(404 if known is None else 200, known or {"error": "no stemfirst here"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.bodies.append(body)
            state.keys.append(self.headers.get("authorization"))
            if state.refusals:
                status, headers = state.refusals.pop(0)
                self.reply(status, {"error": "not now"}, headers)
                return
            said = state.answer(body)
            self.reply(200 if said else 400, said or {"error": "no logprobs here"})

        def reply(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield state, f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    thread.join(5)


def verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "app.py").write_text(APP)
    return subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "verify", "app.py", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OPENAI_API_KEY": "k", "NO_PROXY": "127.0.0.1"},
    )  # fmt: skip


def test_both_orders_are_sent_with_the_same_values(tmp_path: Path, peer: tuple[Peer, str]) -> None:
    state, url = peer
    (tmp_path / "values.jsonl").write_text(
        '{"now": "12:00", "question": "Where is it?"}\n{"now": "12:01", "question": "And now?"}\n'
    )
    done = verify(tmp_path, "--base-url", url, "--model", "m", "--values", "values.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    sent = [body["messages"][0]["content"] for body in state.bodies]
    first, _, third, _ = sent
    assert first == f"Time: 12:00\n\n{RULES}\n\nQuestion: Where is it?\n"
    assert third == f"{RULES}\n\nTime: 12:00\n\nQuestion: Where is it?\n"
    assert state.keys[0] == "Bearer k"
    assert "answers equal      2 of 2" in done.stdout
    assert "0.2500 apart on average over 2 tokens" in done.stdout
    assert "tokens from cache  1 of" in done.stdout
    assert "made-up" not in done.stdout
    assert (tmp_path / "app.py").read_text() == APP


def test_a_server_without_log_probabilities_is_asked_without(
    tmp_path: Path, peer: tuple[Peer, str]
) -> None:
    state, url = peer
    state.has_logprobs, state.is_clock_dependent = False, True
    done = verify(tmp_path, "--base-url", url, "--model", "m", "--output-format", "json")
    assert done.returncode == 1, done.stderr
    (trial,) = json.loads(done.stdout)
    assert (trial["equal"], trial["values"], trial["logprob_distance"]) == (0, 3, None)
    assert trial["made_up"] == ["now", "question"]
    before = sum(answer["cached_tokens"] for answer in trial["before"])
    after = sum(answer["cached_tokens"] for answer in trial["after"])
    assert after > 200 > before
    assert sum("logprobs" in body for body in state.bodies) == 1
    assert "no logprobs here" in trial["logprobs_refused"]
    said = verify(tmp_path, "--base-url", url, "--model", "m").stdout
    assert "log-probabilities  refused: " in said


def test_a_failure_that_passes_takes_no_log_probabilities_away(
    tmp_path: Path, peer: tuple[Peer, str]
) -> None:
    state, url = peer
    state.refusals = [(503, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}), (429, {})]
    done = verify(tmp_path, "--base-url", url, "--model", "m")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0.2500 apart on average" in done.stdout
    assert all("logprobs" in body for body in state.bodies)


def test_a_refusal_that_is_about_no_field_ends_the_trial(
    tmp_path: Path, peer: tuple[Peer, str]
) -> None:
    state, url = peer
    state.refusals = [(401, {})]
    done = verify(tmp_path, "--base-url", url, "--model", "m")
    assert done.returncode == 2
    assert ": 401 " in done.stderr
    assert len(state.bodies) == 1


@pytest.mark.parametrize(
    ("told", "waited_s"),
    [
        (None, 2.0), ("5", 5.0), ("0", 0.0), ("-3", 0.0), ("1e9", 30.0), ("nan", 2.0),
        ("soon", 2.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2195 07:28:00 GMT", 30.0), ("Wed, 21 Oct 99999 07:28:00 GMT", 2.0),
    ],
)  # fmt: skip
def test_a_server_is_given_the_time_it_asks_for_but_not_more_than_half_a_minute(
    told: str | None, waited_s: float
) -> None:
    assert wait_s(told, 2) == waited_s


@pytest.mark.parametrize(
    ("answer", "has_namespaces"),
    [({"wire": 1, "model": "m"}, True), ({"model": "stemfirst-demo"}, False), (None, False)],
    ids=["ours under any name", "another's with our name in it", "none"],
)
def test_each_version_has_a_cache_of_its_own_where_the_server_is_ours(
    tmp_path: Path, peer: tuple[Peer, str], answer: dict[str, Any] | None, has_namespaces: bool
) -> None:
    state, url = peer
    state.capabilities = answer
    done = verify(tmp_path, "--base-url", url, "--model", "m")
    assert done.returncode == 0, done.stderr
    salts = [body.get("cache_salt") for body in state.bodies]
    assert len(salts) == 6
    assert len(set(salts[:3])) == len(set(salts[3:])) == 1
    assert (salts[0] != salts[3]) is has_namespaces


def test_a_model_of_ones_own_is_handed_to_the_bundled_server(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason='pip install "stemfirst[server]"')
    done = verify(tmp_path, "--model", "./no-such-checkpoint")
    assert done.returncode == 2
    assert "no-such-checkpoint" in done.stderr
    assert "unexpected extra argument" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--base-url", "http://127.0.0.1:1/v1", "--model", "m"), "127.0.0.1:1"),
        (("--base-url", "http://127.0.0.1:1/v1"), "--base-url needs --model"),
        (("--values", "app.py"), "neither JSON nor"),
    ],
)
def test_what_hinders_a_trial_is_said(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = verify(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_the_bundled_server_hits_more_after_the_fix(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason='pip install "stemfirst[server]"')
    done = verify(tmp_path, "--output-format", "json")
    assert done.returncode in (0, 1), done.stderr
    (trial,) = json.loads(done.stdout)
    assert sum(answer["cached_tokens"] for answer in trial["before"]) == 0
    assert sum(answer["cached_tokens"] for answer in trial["after"]) > 256


def test_values_are_read_from_recorded_requests() -> None:
    template = of_text(f"Time: {{now}}\n\n{RULES}\n\nAsk: {{question}}")
    request = {"body": {"messages": [{"content": f"Time: 9:00\n\n{RULES}\n\nAsk: why?\nnow?"}]}}
    assert values_for(template, [request, {"other": 1}]) == [
        {"now": "9:00", "question": "why?\nnow?"}
    ]


def test_made_up_values_differ_where_they_vary_and_nowhere_else() -> None:
    template = of_text("{now} {c_language} {question}")
    sets, made_up = completed(template, [])
    assert len({values["now"] for values in sets}) == 3
    assert len({values["c_language"] for values in sets}) == 1
    assert made_up == ["now", "c_language", "question"]
    assert render(template, sets[0]) == "now 1 c language question 1"


@pytest.mark.parametrize("data", [b"1", b"[1]", b"{", b"\xff"])
def test_values_that_are_no_objects_are_refused(data: bytes) -> None:
    with pytest.raises(ValuesError, match=r"v\.json"):
        read_values(data, "v.json")


def test_log_probabilities_are_compared_while_the_answers_agree() -> None:
    one = Answer("a b", 9, 0, ("a", "b", "c"), (-1.0, -2.0, -3.0))
    two = Answer("a x", 9, 0, ("a", "x", "c"), (-1.5, -9.0, -3.0))
    found = agreement([one], [two])
    assert (found.equal, found.logprob_distance, found.compared_tokens) == (0, 0.5, 1)
