"""Registered prefixes: computed before anybody asks, bounded, and each tenant's own."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_server.engine.request import token_array
from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.steering.prefixes import Prefixes

CHAT = "/v1/chat/completions"
PREFIXES = "/v1/prefixes"


def system(policy: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": policy}]


def chat(policy: str) -> dict[str, Any]:
    messages = [*system(policy), {"role": "user", "content": "Why?"}]
    return {"messages": messages, "max_tokens": 1}


def test_the_first_question_on_a_registered_prefix_hits(http: httpx.Client, policy: str) -> None:
    body = {"messages": system(policy), "name": "policy", "ttl_s": 600}
    made = http.post(PREFIXES, json=body).json()
    assert made["object"] == "prefix"
    assert made["is_pinned"] is True
    assert made["computed"] > 300
    report = http.post(CHAT, json=chat(policy)).json()["stemfirst"]
    assert report["cached_tokens"] >= made["tokens"] - 32
    again = http.post(PREFIXES, json=body).json()
    assert again["id"] == made["id"]
    assert again["computed"] <= 16
    shown = http.get(f"{PREFIXES}/{made['id']}").json()
    assert shown["name"] == "policy"
    assert shown in http.get(PREFIXES).json()["data"]
    renewed = http.post(f"{PREFIXES}/{made['id']}/renew", json={"ttl_s": 6000}).json()
    assert renewed["expires_s"] > shown["expires_s"]
    assert http.delete(f"{PREFIXES}/{made['id']}").json()["deleted"] is True
    assert http.get(f"{PREFIXES}/{made['id']}").status_code == 404
    assert http.delete(f"{PREFIXES}/{made['id']}").status_code == 404


def test_one_that_is_not_pinned_is_warm_and_nothing_more(http: httpx.Client, policy: str) -> None:
    made = http.post(PREFIXES, json={"messages": system(policy), "pin": False}).json()
    assert made["is_pinned"] is False
    assert made["pages"] == 0
    report = http.post(CHAT, json=chat(policy)).json()["stemfirst"]
    assert report["cached_tokens"] >= made["tokens"] - 32


def test_the_same_one_again_keeps_its_name_and_its_beginning(
    http: httpx.Client, policy: str
) -> None:
    first = http.post(PREFIXES, json={"messages": system(policy), "name": "rules"}).json()
    again = http.post(PREFIXES, json={"messages": system(policy), "ttl_s": 9000}).json()
    assert again["name"] == "rules"
    assert again["created_s"] == first["created_s"]
    assert again["expires_s"] > first["expires_s"]
    named = http.post(PREFIXES, json={"messages": system(policy), "name": "laws"}).json()
    assert named["name"] == "laws"


def test_a_client_that_leaves_ends_the_warming(http: httpx.Client, server: Any) -> None:
    """What nobody waits for is computed no further, and is no prefix."""

    before = len(http.get(PREFIXES).json()["data"])
    text = "An order of nobody who waits for it. " * 400
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(server.url + PREFIXES, json={"messages": system(text)}, timeout=0.3)
    began = time.monotonic()
    assert http.post(CHAT, json=chat("Short.")).status_code == 200
    deadline = time.monotonic() + 30
    while len(http.get(PREFIXES).json()["data"]) > before:
        assert time.monotonic() < deadline, f"it is still there after {time.monotonic() - began}"
        time.sleep(0.05)
    found = http.get("/metrics").text
    assert re.search(r'vllm:request_success_total\{[^}]*"abort"[^}]*\} [1-9]', found)


def test_a_flush_forgets_them(http: httpx.Client, policy: str) -> None:
    made = http.post(PREFIXES, json={"messages": system(policy)}).json()
    assert http.post("/v1/admin/flush").status_code == 200
    assert http.get(f"{PREFIXES}/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"messages": [{"role": "none", "content": "x"}]},
        {"messages": [{"role": "system", "content": "x"}], "ttl_s": 0},
        {"messages": [{"role": "system", "content": "x"}], "ttl_s": 10**9},
        {"messages": [{"role": "system", "content": "x"}], "name": "x" * 65},
        {},
    ],
    ids=["no messages", "no role", "no time", "too long", "a long name", "nothing"],
)
def test_what_makes_no_sense_is_refused(http: httpx.Client, wrong: dict[str, Any]) -> None:
    assert http.post(PREFIXES, json=wrong).status_code == 400


def test_another_tenants_prefixes_do_not_exist(guarded: Any, policy: str) -> None:
    def send(method: str, key: str, path: str, json: Any = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.request(
            method, guarded.url + path, json=json, headers=headers, timeout=60, trust_env=False
        )

    made = send("POST", "acme-1", PREFIXES, {"messages": system(policy)}).json()
    own = f"{PREFIXES}/{made['id']}"
    assert send("GET", "acme-2", own).status_code == 200
    for attempt in (
        send("GET", "globex-1", own),
        send("DELETE", "globex-1", own),
        send("POST", "globex-1", f"{own}/renew", {"ttl_s": 5}),
    ):
        assert attempt.status_code == 404
    assert send("GET", "globex-1", PREFIXES).json()["data"] == []
    report = send("POST", "globex-1", CHAT, chat(policy)).json()["stemfirst"]
    assert report["cached_tokens"] == 0
    assert send("DELETE", "acme-1", own).status_code == 200


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.integers(1, 4)), max_size=30)
)
def test_pins_are_bounded_for_each_tenant_and_in_all(steps: list[tuple[str, int, int]]) -> None:
    prefixes = Prefixes(most_pages=12, most_tenant_pages=8, clock=lambda: 0.0)
    for tenant, kind, pages in steps:
        ids = token_array([kind] * pages)
        before = prefixes.of(tenant)
        try:
            made = prefixes.add(tenant, tenant, ids, pages=pages, ttl_s=5, name=None)
        except InvalidRequestError:
            assert prefixes.of(tenant) == before
        else:
            assert prefixes.find(tenant, made.id) is made
        prefixes.check()


def test_the_refusal_names_the_bound() -> None:
    prefixes = Prefixes(most_pages=4, most_tenant_pages=2)
    with pytest.raises(InvalidRequestError, match="you may pin 2 pages, 0 are pinned"):
        prefixes.add("a", "a", token_array([1, 2, 3]), pages=3, ttl_s=5, name=None)
