"""What is asked for and cannot be is refused by name; what a provider runs itself stays its own."""

from __future__ import annotations

import json
import time

import openai
import pytest
from click.testing import CliRunner
from stemfirst import (
    Client,
    ClientError,
    Conversation,
    Ledger,
    Prompt,
    PromptError,
    hole,
    order_for_sharing,
    request,
    session,
    static,
    tenant,
)
from stemfirst.answers import answer_of
from stemfirst.discovery import RETRY_S, is_foreign, is_openais
from stemfirst.divergence import diverge, runs_of
from stemfirst.explain import explain, told

SHORT = Prompt(static("s"), request("q")).render()


@pytest.mark.parametrize(
    ("shape", "model"),
    [("openai", "gpt-5.6"), ("responses", "gpt-5.6"), ("anthropic", "claude-sonnet-4-5")],
)
def test_a_lifetime_that_nothing_would_have_is_refused(shape, model):
    make = getattr(SHORT, shape)
    ttl = "1h" if shape == "anthropic" else "12h"
    with pytest.raises(
        PromptError, match=r"caches from 1,024 tokens on, and this text has at most"
    ):
        make(model=model, ttl=ttl)
    assert ttl in json.dumps(make(model=model, ttl=ttl, breakpoints=True))
    make(model=model)  # of itself it is left out
    with pytest.raises(PromptError, match="ttl takes a lifetime"):
        make(model=model, ttl=3600)


def test_geminis_cache_takes_seconds_as_text():
    with pytest.raises(PromptError, match="seconds such as '3600s', got 3600"):
        SHORT.gemini_cache(ttl=3600)


def test_tools_that_a_provider_runs_stay_as_they_are():
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    bare = {"type": "file_search"}
    flat = {"type": "function", "name": "find", "parameters": {"type": "object"}, "strict": True}
    asked = Prompt(static("s"), tools=[search, bare, flat]).render()
    assert asked.anthropic()["tools"] == [
        search,
        bare,
        {"name": "find", "input_schema": {"type": "object"}, "strict": True},
    ]
    sent = asked.responses()["tools"]
    assert sent[:2] == [search, bare]
    assert (sent[2]["type"], sent[2]["name"]) == ("function", "find")
    only = Prompt(static("s"), tools=[search]).render()
    with pytest.raises(PromptError, match="which Converse lacks"):
        only.bedrock(model="anthropic.claude-sonnet-4-5")
    with pytest.raises(PromptError, match="which Gemini lacks"):
        only.gemini()


def test_a_note_of_the_session_stays_what_it_was_from_the_first_turn_on():
    talk = Conversation(Prompt(static("Be kind.")))
    sent = []
    for question in ("one", "two"):
        turn = talk.turn(session(f"Note {question}"), request(question)).render()
        sent.append(turn.messages)
        talk.add(turn, {"role": "assistant", "content": "yes"})
    assert sent[0] == sent[1][:3]
    assert [item["role"] for item in sent[1]] == [
        "system", "system", "user", "assistant", "system", "user",
    ]  # fmt: skip
    with pytest.raises(PromptError, match="belongs into the conversation's prompt"):
        talk.turn(tenant("gold"), request("three"))


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (["a"], "row 0 is no mapping"),
        ([{"a": 1}, {None: 2}], "row 1 calls a field None"),
        ([{1: "a"}], "row 0 calls a field 1"),
        ([{"a": float("nan")}], "'a' of row 0 is nothing that JSON has"),
    ],
)
def test_rows_are_what_json_has(rows, match):
    with pytest.raises(TypeError, match=match):
        order_for_sharing(rows)


def test_holes_that_are_called_like_an_argument_are_filled_by_values(peer):
    with Client(base_url=peer.url, api_key="k", max_retries=0) as client:
        for name in ("model", "session_id", "values"):
            asked = Prompt(request(hole(name)))
            with pytest.raises(ClientError, match=f"'{name}' is a hole of this prompt and an arg"):
                client.ask(asked, model="m")
            client.ask(asked, model="m", values={name: f"its {name}"})
        client.ask(Prompt(request(hole("prompt"))), model="m", prompt="its prompt")
    contents = [item.body["messages"][0]["content"] for item in peer.posts]
    assert contents == ["its model", "its session_id", "its values", "its prompt"]


@pytest.mark.parametrize("given", ["zoë", "x\r\ny", "", "z" * 300])
def test_a_session_id_that_no_header_holds_is_named(given):
    with (
        Client(base_url="http://127.0.0.1:1/v1", api_key="x") as client,
        pytest.raises(ClientError, match="session_id="),
    ):
        client.ask(Prompt(request("q")), model="m", session_id=given)


@pytest.mark.parametrize(("status", "is_final"), [(404, True), (401, False), (429, False)])
def test_a_gateways_refusal_is_not_believed_for_long(peer, status, is_final):
    peer.refusal = status
    with Client(base_url=peer.url, api_key="x", max_retries=0) as client:
        assert client.capabilities() is None
        known = client._servers.recall(str(client.base_url))
    assert (known.until_s - time.monotonic() > RETRY_S) is is_final


def test_public_apis_are_not_asked_whether_they_are_ours():
    hosts = (
        "api.openai.com",
        "eu.api.openai.com",
        "me.openai.azure.com",
        "bedrock-runtime.eu-west-1.amazonaws.com",
        "me.services.ai.azure.com",
        "api.cohere.com",
        "api.z.ai",
        "localhost",
        "openai.com.x",
        "api.openai.com.x",
        "notapi.openai.com",
        "ec2-1-2-3-4.compute.amazonaws.com",
        "api-openai.com",
    )
    assert [is_foreign(host) for host in hosts] == [True] * 7 + [False] * 6
    assert [host for host in hosts if is_openais(host)] == ["api.openai.com", "eu.api.openai.com"]
    with Client(base_url="https://api.openai.com/v1", api_key="x", max_retries=0) as client:
        assert client.capabilities() is None
        assert client._servers.recall(str(client.base_url)) is None


def test_a_response_without_choices_has_no_message():
    empty = openai.types.chat.ChatCompletion.model_validate(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
    )
    with pytest.raises(ClientError, match="no choices"):
        _ = answer_of(empty).message


@pytest.mark.parametrize("state", ["x", None, 5])
def test_what_is_no_mapping_is_no_ledgers_state(state):
    with pytest.raises(ClientError, match="this is no ledger's state"):
        Ledger.merged([state])


def test_one_comparison_is_asked_for_at_a_time(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"messages": [{"role": "user", "content": "a"}]}))
    asked = [str(file), "--against", str(file), "--server", "http://127.0.0.1:1"]
    ended = CliRunner().invoke(explain, asked)
    assert ended.exit_code == 2
    assert "not both" in ended.output


def test_the_requests_own_text_is_not_told_to_be_moved():
    prompt = Prompt(static("Be kind. " * 30), tenant(hole("plan")), request(hole("q")))
    first = runs_of(prompt.render(plan="gold", q="a"))
    for values in ({"plan": "gold", "q": "b"}, {"plan": "free", "q": "a"}):
        runs = runs_of(prompt.render(**values))
        said = told(diverge(first, runs), runs)
        assert "no other order would save anything" in said
        assert "stemfirst fix" not in said


def test_a_public_api_is_told_to_know_no_session():
    with (
        Client(base_url="https://api.openai.com/v1", api_key="sk-test", max_retries=0) as client,
        pytest.raises(ClientError, match=r"api\.openai\.com knows no session_id"),
    ):
        client.ask(Prompt(request("Hello")), model="gpt-4o", session_id="s-1")
