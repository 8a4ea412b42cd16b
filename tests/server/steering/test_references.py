"""A long prefix is sent once and named later; no lie about a name reaches anybody else's text."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst.chain import ChainKey, segment_digest
from stemfirst.references import MARKER_ROLE, prefix_bytes
from stemfirst_server.errors import PrefixUnknownError
from stemfirst_server.steering.references import (
    References,
    Unfolded,
)

CHAT = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {}}}


def name_of(messages: list[Any], tools: list[Any] | None, api_key: str) -> dict[str, Any]:
    key = ChainKey.derive(api_key)
    data = prefix_bytes(messages, tools)
    return {"kid": key.id, "h": segment_digest(data, key), "n": len(data)}


def full(policy: str, question: str, api_key: str = "test-key", **lies: Any) -> dict[str, Any]:
    """Return a body that asks to keep its system message and its tool."""
    messages = [{"role": "system", "content": policy}, {"role": "user", "content": question}]
    put = name_of(messages[:1], [TOOL], api_key) | {"messages": 1} | lies
    return {
        "messages": messages,
        "tools": [TOOL],
        "max_tokens": 1,
        "stemfirst": {"v": 1, "put": put},
    }


def short(policy: str, question: str, api_key: str = "test-key", **lies: Any) -> dict[str, Any]:
    """Return a body that names what `full` asked to keep."""
    ref = name_of([{"role": "system", "content": policy}], [TOOL], api_key) | lies
    return {
        "messages": [
            {"role": MARKER_ROLE, "content": ref["h"]},
            {"role": "user", "content": question},
        ],
        "max_tokens": 1,
        "stemfirst": {"v": 1, "ref": ref},
    }


@pytest.fixture
def post(http: httpx.Client) -> Callable[..., httpx.Response]:
    def send(body: dict[str, Any], path: str = CHAT, key: str = "test-key") -> httpx.Response:
        return http.post(path, json=body, headers={"authorization": f"Bearer {key}"})

    return send


def is_unknown(answer: httpx.Response) -> bool:
    assert "x-should-retry" not in answer.headers or answer.status_code == 409
    if answer.status_code != 409:
        return False
    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["error"]
    assert error["param"] == "stemfirst.ref"
    return bool(error["code"] == "prefix_unknown")


def test_a_server_says_that_it_knows_references(http: httpx.Client) -> None:
    facts = http.get("/v1/stemfirst").json()
    assert "prefix_refs" in facts["features"]
    assert facts["prefix_refs"]["most_bytes"] > 0


def test_a_named_prefix_is_the_same_prompt_as_the_whole_one(
    post: Callable[..., httpx.Response], policy: str
) -> None:
    path = f"{CHAT}/render"
    whole = post(full(policy, "And late ones?"), path).json()["token_ids"]
    assert post(short(policy, "And late ones?"), path).json()["token_ids"] == whole


def test_an_answer_acknowledges_what_is_kept_and_what_was_found(
    post: Callable[..., httpx.Response], policy: str
) -> None:
    first = post(full(policy, "one")).json()
    expected = {key: name_of(full(policy, "")["messages"][:1], [TOOL], "test-key")[key]
                for key in ("h", "n")}  # fmt: skip
    assert first["stemfirst"]["ref"] == {**expected, "ttl_s": 3600}
    second = post(short(policy, "two")).json()
    assert second["stemfirst"]["ref"] == first["stemfirst"]["ref"]
    assert second["stemfirst"]["cached_tokens"] > 100
    plain = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    assert post(plain).json()["stemfirst"].get("ref") is None


def test_a_stream_acknowledges_too(client: openai.OpenAI, policy: str) -> None:
    body = full(policy, "one")
    stream = client.chat.completions.create(
        model="stemfirst-demo",
        messages=body["messages"],
        tools=body["tools"],
        max_tokens=2,
        stream=True,
        extra_body={"stemfirst": body["stemfirst"]},
    )
    reports = [chunk.model_extra["stemfirst"] for chunk in stream if chunk.model_extra]
    assert reports[-1]["ref"]["h"] == body["stemfirst"]["put"]["h"]


def test_segments_of_prefix_and_tail_make_one_report(
    post: Callable[..., httpx.Response], policy: str
) -> None:
    key = ChainKey.derive("test-key")

    def segment(name: str, tier: str, index: int, text: str) -> dict[str, Any]:
        data = text.encode()
        at = ["messages", index, "content"]
        return {"id": name, "tier": tier, "at": at, "n": len(data), "h": segment_digest(data, key)}

    hint = {"v": 1, "kid": key.id, "alg": "blake2b-128"}
    first = full(policy, "one")
    first["stemfirst"] |= hint | {
        "segs": [segment("p", "static", 0, policy), segment("q", "request", 1, "one")]
    }
    assert post(first).status_code == 200
    question = "And what of orders from abroad? " * 10
    second = short(policy, question)
    second["stemfirst"] |= hint | {"segs": [segment("q", "request", 1, question)]}
    report = post(second).json()["stemfirst"]
    assert report["segments"]["p"]["cached_tokens"] > 100
    assert report["segments"]["q"]["cached_tokens"] == 0
    assert report["segments"]["q"]["prompt_tokens"] > 30


def _without_marker(body: dict[str, Any]) -> None:
    del body["messages"][0]


def _without_field(body: dict[str, Any]) -> None:
    del body["stemfirst"]


def _with_tools(body: dict[str, Any]) -> None:
    body["tools"] = [TOOL]


def _other_marker(body: dict[str, Any]) -> None:
    body["messages"][0]["content"] = "0" * 32


def _set(**lies: Any) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["stemfirst"]["ref"].update(lies)


def _whole(value: object) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["stemfirst"].update(ref=value)


DOUBTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "no marker": _without_marker,
    "no field, as a gateway leaves it": _without_field,
    "tools beside it": _with_tools,
    "another marker": _other_marker,
    "a digest that nobody made": _set(h="0" * 32),
    "a shorter length": _set(n=7),
    "a huge length": _set(n=10**30),
    "no length": _set(n=None),
    "another key's id": _set(kid="00000000"),
    "a list": _whole(["x"]),
    "a word": _whole("x"),
    "a number that is true": _set(n=True),
    "a salt": lambda body: body.update(cache_salt="s"),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_any_doubt_about_a_reference_is_an_error_and_no_answer_to_half_a_prompt(
    post: Callable[..., httpx.Response], policy: str, doubt: str
) -> None:
    assert post(full(policy, "one")).json()["stemfirst"]["ref"]
    body = short(policy, "two")
    DOUBTS[doubt](body)
    assert is_unknown(post(body))
    assert not is_unknown(post(short(policy, "two")))


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/messages", "/v1/responses"])
def test_other_routes_refuse_references(post: Callable[..., httpx.Response], path: str) -> None:
    body = {**short("p", "q"), "prompt": "p", "input": "p"}
    answer = post(body, path)
    assert answer.status_code == 409


PUT_LIES: dict[str, dict[str, Any]] = {
    "another digest": {"h": "0" * 32},
    "another length": {"n": 5},
    "more messages than there are": {"messages": 9},
    "fewer messages": {"messages": 0},
    "a negative count": {"messages": -1},
    "another key's id": {"kid": "00000000"},
}


@pytest.mark.parametrize("lie", PUT_LIES)
def test_a_prefix_under_a_wrong_name_is_answered_and_not_kept(
    post: Callable[..., httpx.Response], policy: str, lie: str
) -> None:
    answer = post(full(policy, "one", **PUT_LIES[lie]))
    assert answer.status_code == 200
    assert answer.json()["stemfirst"].get("ref") is None
    assert is_unknown(post(short(policy, "two")))


def test_a_name_that_was_copied_opens_nothing_for_another_tenant(guarded: Any, policy: str) -> None:
    def send(key: str, body: dict[str, Any]) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(
            guarded.url + CHAT, json=body, headers=headers, timeout=60, trust_env=False
        )

    assert send("acme-1", full(policy, "one", "acme-1")).json()["stemfirst"]["ref"]
    assert send("acme-1", short(policy, "two", "acme-1")).status_code == 200
    for thief in ("globex-1", "lone-1"):
        # The name as it was, and the same text named under the thief's own key.
        assert is_unknown(send(thief, short(policy, "two", "acme-1")))
        assert is_unknown(send(thief, short(policy, "two", thief)))
    # Of the same tenant, but another key: its digests are other ones.
    assert is_unknown(send("acme-2", short(policy, "two", "acme-1")))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def keep(references: References, text: str, *, tenant: str = "a", key: str = "k") -> Unfolded:
    body = full(text, "?", key)
    return references.unfold(
        body["messages"], body["tools"], body["stemfirst"],
        api_key=key, tenant=tenant, namespace=tenant,
    )  # fmt: skip


def find(references: References, text: str, *, tenant: str = "a", key: str = "k") -> Unfolded:
    body = short(text, "?", key)
    return references.unfold(
        body["messages"], None, body["stemfirst"], api_key=key, tenant=tenant, namespace=tenant
    )


def test_a_prefix_is_forgotten_when_nobody_used_it_for_its_life(clock: Clock) -> None:
    references = References(life_s=10, clock=clock)
    keep(references, "x")
    clock.now = 9
    found = find(references, "x")
    assert found.messages == full("x", "?")["messages"]
    assert found.tools == [TOOL]
    clock.now = 18
    find(references, "x")  # the last use renewed it
    clock.now = 29
    with pytest.raises(PrefixUnknownError, match="send the request in full"):
        find(references, "x")
    assert len(references) == 0


def test_a_flush_forgets_names(clock: Clock) -> None:
    references = References(clock=clock)
    keep(references, "x")
    keep(references, "x", tenant="b")
    assert references.flush("a") == 1
    with pytest.raises(PrefixUnknownError):
        find(references, "x")
    find(references, "x", tenant="b")
    assert references.flush() == 1
    references.check()


def test_without_a_key_nothing_is_kept() -> None:
    references = References()
    body = full("x", "?", "")
    made = references.unfold(
        body["messages"], body["tools"], body["stemfirst"],
        api_key=None, tenant="", namespace="",
    )  # fmt: skip
    assert made.name is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.booleans()), max_size=30))
def test_memory_is_bounded_for_each_tenant_and_in_all(
    steps: list[tuple[str, int, bool]],
) -> None:
    clock = Clock()
    references = References(most_tenant_bytes=5000, most_bytes=7000, life_s=6, clock=clock)
    for tenant, size, is_kept in steps:
        clock.now += 1
        text = "x" * size * 500
        if is_kept:
            keep(references, text, tenant=tenant)
        else:
            with suppress(PrefixUnknownError):
                assert find(references, text, tenant=tenant).messages[0]["content"] == text
        references.check()
