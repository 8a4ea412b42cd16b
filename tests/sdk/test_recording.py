"""Recordings: what is written, what is not, and that `stemfirst audit` reads it."""

import json
import resource
import stat
import subprocess
import sys

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst import Client, Prompt, hole, instrument, request, static, tenant, tool
from stemfirst.recording import Recorder, record
from stemfirst.redaction import redacted_body, redacted_text

SECRET = "The launch code is swordfish."
KEY = b"k" * 32
NAMES = ["price", "weight", "colour", "origin", "warranty", "return", "carrier", "customs"]


@pytest.fixture
def client(peer):
    with Client(base_url=peer.url, api_key="sk-test", max_retries=0) as made:
        yield made


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def prompt() -> Prompt:
    definition = {
        "name": "find",
        "description": SECRET,
        "parameters": {"type": "object", "properties": {"swordfish": {"type": "string"}}},
    }
    return Prompt(
        static("Be kind.\n" + SECRET, name="policy"),
        tenant("Plan: gold"),
        request(hole("question")),
        tools=[tool(definition)],
    )


def test_a_recording_holds_no_text_unless_it_is_asked_for(peer, client, tmp_path):
    path = tmp_path / "calls.jsonl"
    with record(path) as recorder:
        client.ask(prompt(), question=SECRET, model="gpt-4o", user="ada@example.org")
    text = path.read_text("utf-8")
    for word in ("swordfish", "launch", "kind", "gold", "Hello", "ada@"):
        assert word not in text
    [line] = lines(path)
    assert recorder.written == 1
    assert line["request"]["model"] == "gpt-4o"
    assert line["request"]["messages"][0]["role"] == "system"
    assert line["request"]["tools"][0]["function"]["name"] == "find"
    assert line["response"]["usage"]["prompt_tokens_details"]["cached_tokens"] == 1_536
    assert line["base_url"] == f"{peer.url}/"
    with record(path, text=True):
        client.ask(prompt(), question=SECRET, model="gpt-4o")
    assert SECRET in lines(path)[1]["request"]["messages"][1]["content"]
    assert lines(path)[1]["response"]["choices"][0]["message"]["content"] == "Hello!"


def test_segments_keep_their_lines_of_source(client, tmp_path):
    path = tmp_path / "calls.jsonl"
    with record(path):
        client.ask(prompt(), question="Where?", model="gpt-4o")
    [line] = lines(path)
    named = line["segments"][1]
    assert (named["name"], named["tier"], named["at"]) == ("policy", "static", named["at"])
    assert named["origin"]["path"] == __file__
    sizes = [item["n"] for item in line["segments"] if item["at"] == ["messages", 0, "content"]]
    assert sum(sizes) == len(line["request"]["messages"][0]["content"].encode())


def test_a_recording_is_its_owners_alone_and_is_appended_to(client, tmp_path):
    path = tmp_path / "calls.jsonl"
    for _ in range(2):
        with record(path):
            client.ask(Prompt(request("a")), model="m")
    client.ask(Prompt(request("a")), model="m")
    assert len(lines(path)) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_streams_failures_and_other_clients_are_recorded(peer, client, tmp_path):
    anthropic = pytest.importorskip("anthropic", reason="pip install anthropic")
    path = tmp_path / "calls.jsonl"
    url = peer.url.removesuffix("/v1")
    with record(path), anthropic.Anthropic(base_url=url, api_key="sk") as claude:
        with client.stream(Prompt(request("a")), model="m") as stream:
            list(stream)
        with instrument(claude).messages.stream(
            model="claude-opus-5-5", max_tokens=8, messages=[{"role": "user", "content": SECRET}]
        ) as stream:
            stream.until_done()
        peer.failures = [400]
        with pytest.raises(openai.BadRequestError):
            client.ask(Prompt(request("a")), model="m")
    first, second, third = lines(path)
    assert first["response"]["usage"]["prompt_tokens"] == 2_000
    assert second["response"]["usage"]["cache_read_input_tokens"] == 1_536
    assert (third["status"], third["response"]) == ("failed", {})


def test_what_was_not_given_to_a_client_is_not_written(peer, tmp_path):
    anthropic = pytest.importorskip("anthropic", reason="pip install anthropic")
    path, url = tmp_path / "calls.jsonl", peer.url.removesuffix("/v1")
    asked = {"role": "user", "content": "Where is it?"}
    with anthropic.Anthropic(base_url=url, api_key="sk") as plain:
        claude = instrument(plain)
        options = {"model": "claude-opus-5-5", "max_tokens": 2, "system": SECRET}
        with record(path):
            first = claude.messages.create(**options, messages=[asked])
            answered = {"role": "assistant", "content": first.content}  # objects of the package
            claude.messages.create(**options, messages=[asked, answered, asked])
    for line, sent in zip(lines(path), peer.posts, strict=True):
        assert line["request"].keys() == sent.body.keys()
    [answer] = lines(path)[1]["request"]["messages"][1]["content"]
    assert answer.keys() == peer.posts[1].body["messages"][1]["content"][0].keys()
    assert "Hello" not in path.read_text("utf-8")
    done = audited(path)
    assert done.returncode in (0, 1), done.stderr


def audited(path):
    return subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "audit", str(path), "--output-format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_audit_finds_the_cause_in_a_redacted_recording(client, tmp_path):
    path = tmp_path / "calls.jsonl"
    policy = "".join(f"Rule {n}: the agent must consider order {n} first.\n" for n in range(200))
    with record(path):
        for second in range(6):
            clock = f"Now: 2026-11-23T09:00:{second:02}\n"
            messages = [
                {"role": "system", "content": f"You are an agent.\n{clock}{policy}"},
                {"role": "user", "content": "Where is it?"},
            ]
            client.chat.completions.create(model="gpt-4o", messages=messages)
    done = audited(path)
    assert done.returncode in (0, 1), done.stderr
    assert '"SF301"' in done.stdout
    assert '"SF103"' not in done.stdout  # digests do not look like ids


def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path):
    path = tmp_path / "calls.jsonl"
    recorder = Recorder(path)
    recorder.write({"call": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
    try:
        with pytest.raises(OSError, match="not written whole"):
            recorder.write({"call": "2" * 400})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    recorder.write({"call": 3})
    recorder.close()
    first, torn, third = path.read_text("utf-8").splitlines()
    assert [json.loads(line)["call"] for line in (first, third)] == [1, 3]
    assert len(torn) == 10
    assert recorder.written == 2


def test_audit_finds_the_cause_in_a_redacted_prompt_of_one_line(client, tmp_path):
    path = tmp_path / "calls.jsonl"
    policy = "".join(f"The agent must consider the order's {name} first. " for name in NAMES * 10)
    with record(path):
        for minute in range(4):
            built = Prompt(
                static(f"Time 10:0{minute}. {policy}", name="policy"), request(hole("q"))
            )
            client.ask(built, q=f"Where is order {minute}?", model="gpt-4o")
    report = json.loads(audited(path).stdout)
    [template] = report["templates"]
    [cause] = template["findings"]
    assert (cause["cause"], cause["requests"]) == ("SF301", 3)
    assert cause["lost_tokens"] > 1_000


texts = st.text(st.sampled_from("ab.\n é🙂"), max_size=40)


@given(texts, texts)
def test_redacted_texts_differ_where_texts_do_to_a_step(one, other):
    first, second = redacted_text(one, KEY), redacted_text(other, KEY)
    assert len(first.encode()) == len(one.encode("utf-8"))
    assert (one != other) or (first == second)
    assert first == redacted_text(one, KEY)


def test_a_changed_letter_changes_its_step_and_none_before():
    one, other = "You are a helpful agent.\nBe brief.", "You are a hopeful agent.\nBe brief."
    first, second = redacted_text(one, KEY), redacted_text(other, KEY)
    assert first[:8] == second[:8]
    assert first[8:16] != second[8:16]
    assert first.split("\n")[1] == second.split("\n")[1]


def test_a_sentence_is_the_same_whatever_stands_before_it():
    one, other = "It is ten. Be brief. Be kind.", "It is eleven! Be brief. Be kind."
    first, second = redacted_text(one, KEY), redacted_text(other, KEY)
    assert first != second
    assert first.split(". ", 1)[1] == second.split("! ", 1)[1]


def test_another_key_gives_other_digests():
    body = {"model": "m", "messages": [{"role": "user", "content": SECRET, "name": "Ada"}]}
    one, other = redacted_body(body, KEY), redacted_body(body, b"other")
    assert one["messages"][0]["content"] != other["messages"][0]["content"]
    assert "Ada" not in str(one)
    assert one["model"] == "m"
