"""Explaining, flushing and draining, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from stemfirst.references import MARKER_ROLE

CHAT = "/v1/chat/completions"
EXPLAIN = "/v1/cache/explain"


def body(policy: str, question: str = "Why?", **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": policy}, {"role": "user", "content": question}]
    return {"messages": messages, "max_tokens": 1, **more}


def post(http: httpx.Client, path: str, json: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(path, json=json, headers={"authorization": "Bearer test-key"})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_an_explanation_foretells_the_hit(http: httpx.Client, policy: str) -> None:
    assert "explain" in http.get("/v1/stemfirst").json()["features"]
    fresh = post(http, EXPLAIN, body(policy))
    assert fresh["object"] == "cache.explanation"
    assert fresh["stemfirst"]["cached_tokens"] < 32
    post(http, CHAT, body(policy))
    long = "How are orders from abroad refunded, and who pays for the postage then? " * 3
    told = post(http, EXPLAIN, body(policy, long))
    assert told == post(http, EXPLAIN, body(policy, long))
    got = post(http, CHAT, body(policy, long))["stemfirst"]
    assert told["stemfirst"]["cached_tokens"] == got["cached_tokens"] > 300
    assert told["stemfirst"]["missed"]["at"] == got["missed"]["at"]
    assert told["stemfirst"]["source"] == got["source"]


def test_an_explanation_shows_where_two_prompts_part(http: httpx.Client, policy: str) -> None:
    post(http, CHAT, body(policy + "Every order is looked at by a person first. " * 4))
    told = post(http, EXPLAIN, body(policy + "Nobody looks at orders at all, ever. " * 4))
    assert told["why"] == {"reason": "prompt_changed", "at_s": None}
    assert told["window"]["here"].lstrip().startswith("Nobody looks")
    assert told["window"]["there"].lstrip().startswith("Every order")
    assert told["window"]["before"].endswith("of the order. ") or told["window"]["before"].endswith(
        "of the order."
    )
    at = told["stemfirst"]["missed"]["at"]
    assert at["path"] == ["messages", 0, "content"]
    assert abs(at["byte"] - len(policy)) <= 1


def test_what_another_salt_of_the_same_tenant_holds_is_a_reason(
    http: httpx.Client, policy: str
) -> None:
    post(http, CHAT, body(policy))
    told = post(http, EXPLAIN, body(policy, cache_salt="another"))
    assert told["stemfirst"]["cached_tokens"] == 0
    assert told["why"] == {"reason": "other_namespace", "at_s": None}
    assert post(http, EXPLAIN, body(policy))["why"] is None


def test_another_tenants_namespace_is_no_reason(
    send: Callable[..., httpx.Response], policy: str
) -> None:
    assert send("acme-1", CHAT, body(policy)).status_code == 200
    told = send("globex-1", EXPLAIN, body(policy)).json()
    assert told["why"]["reason"] in ("first_seen", "prompt_changed")


def test_a_text_that_shares_the_templates_opening_only_was_never_seen(http: httpx.Client) -> None:
    post(http, CHAT, body("Apples are green. " * 20))
    told = post(http, EXPLAIN, body("Zebras have stripes. " * 20))
    assert told["why"]["reason"] == "first_seen"
    report = post(http, CHAT, body("Whales are large. " * 20))["stemfirst"]
    assert report["missed"]["reason"] == "first_seen"


def test_a_prompt_below_a_page_is_said_to_be(http: httpx.Client) -> None:
    told = post(http, EXPLAIN, {"messages": [{"role": "user", "content": "hi"}]})
    assert told["stemfirst"]["prompt_tokens"] < 16
    assert told["why"] == {"reason": "below_page", "at_s": None}


def test_a_flush_is_a_reason(http: httpx.Client, policy: str) -> None:
    post(http, CHAT, body(policy))
    assert post(http, "/v1/admin/flush", {})["pages"] > 0
    told = post(http, EXPLAIN, body(policy))
    assert told["stemfirst"]["cached_tokens"] == 0
    assert told["why"]["reason"] == "flushed"
    assert told["why"]["at_s"] > 10**9
    missed = post(http, CHAT, body(policy))["stemfirst"]["missed"]
    assert missed["reason"] == told["stemfirst"]["missed"]["reason"] == "flushed"
    assert missed["tokens"] == told["stemfirst"]["missed"]["tokens"]
    assert post(http, CHAT, body(policy))["stemfirst"]["missed"] is None


def test_a_flush_forgets_prefixes_that_were_kept_by_name(http: httpx.Client) -> None:
    post(http, "/v1/admin/flush", {})
    marker = {"role": MARKER_ROLE, "content": "0" * 32}
    assert http.post(CHAT, json={"messages": [marker]}).status_code == 409


@pytest.fixture
def send(guarded: Any) -> Callable[..., httpx.Response]:
    def call(key: str | None, path: str, json: dict[str, Any] | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.post(
            guarded.url + path, json=json or {}, headers=headers, timeout=60, trust_env=False
        )

    return call


def test_an_explanation_reads_the_same_whatever_others_sent(
    send: Callable[..., httpx.Response], policy: str
) -> None:
    before = send("globex-1", EXPLAIN, body(policy)).json()
    assert send("acme-1", CHAT, body(policy)).status_code == 200
    after = send("globex-1", EXPLAIN, body(policy)).json()
    # The law is refined by everybody's requests; nothing else may move.
    for told in (before, after):
        for field in ("time", "cost", "unpriced"):
            told["stemfirst"].pop(field, None)
        for field in ("ms", "cost", "unestimated"):
            told["stemfirst"]["missed"].pop(field, None)
    assert before == after
    assert after["window"]["there"] is None or policy[:20] not in after["window"]["there"]
    assert send("acme-1", EXPLAIN, body(policy)).json()["stemfirst"]["cached_tokens"] > 300


ADMIN = ("/v1/admin/flush", "/v1/admin/drain", "/v1/admin/resume", "/v1/admin/no-such-route")


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize("key", [None, "acme-1", "nobody"])
def test_admin_routes_are_the_operators(
    send: Callable[..., httpx.Response], path: str, key: str | None
) -> None:
    answer = send(key, path)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "admin_key_needed"


def test_an_admin_key_is_no_tenants(send: Callable[..., httpx.Response]) -> None:
    assert send("operator-1", EXPLAIN, body("x")).status_code == 401


def test_a_draining_server_finishes_and_takes_nothing_new(
    send: Callable[..., httpx.Response], guarded: Any, policy: str
) -> None:
    assert send("operator-1", "/v1/admin/drain").json()["draining"] is True
    try:
        answer = send("acme-1", CHAT, body(policy))
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "server_draining"
        assert int(answer.headers["retry-after"]) > 0
        ready = httpx.get(guarded.url + "/ready", trust_env=False)
        assert ready.status_code == 503
        assert httpx.get(guarded.url + "/health", trust_env=False).status_code == 200
    finally:
        assert send("operator-1", "/v1/admin/resume").json()["draining"] is False
    assert send("acme-1", CHAT, body(policy)).status_code == 200


def test_without_keys_only_this_machine_may_act(http: httpx.Client) -> None:
    spoken_for = {"x-forwarded-for": "198.51.100.7"}
    assert http.post("/v1/admin/resume", headers=spoken_for).status_code == 403
    assert http.post("/v1/admin/resume").status_code == 200


def test_a_reload_serves_on_with_nothing_cached(http: httpx.Client, policy: str) -> None:
    before = post(http, CHAT, body(policy, temperature=0))
    done = post(http, "/v1/admin/reload", {})
    assert done["pages"] > 0
    told = post(http, EXPLAIN, body(policy))
    assert told["why"]["reason"] == "weights_changed"
    after = post(http, CHAT, body(policy, temperature=0))
    assert after["stemfirst"]["cached_tokens"] == 0
    assert after["choices"][0]["message"] == before["choices"][0]["message"]
