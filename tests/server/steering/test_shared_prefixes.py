"""Prefixes that the operator shares: hit by whom they are opened to, changed by nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from stemfirst_server.errors import ConfigError
from stemfirst_server.namespaces import OPERATOR
from stemfirst_server.tenants import keys_of

CHAT = "/v1/chat/completions"
SHARED = "/v1/admin/prefixes"
PREFIXES = "/v1/prefixes"
Send = Callable[..., httpx.Response]


@pytest.fixture
def send(guarded: Any) -> Send:
    def call(method: str, key: str, path: str, json: Any = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.request(
            method, guarded.url + path, json=json, headers=headers, timeout=60, trust_env=False
        )

    return call


def share(send: Send, policy: str, name: str, **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "system", "content": policy}], "name": name} | more
    answer = send("POST", "operator-1", SHARED, body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def chat(policy: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": policy}, {"role": "user", "content": "Why?"}]
    return {"messages": messages, "max_tokens": 1}


def cached(guarded: Any, key: str, policy: str, **more: Any) -> int:
    """Ask as the official client does; return the tokens that were cached."""
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=key, max_retries=0) as client:
        answer = client.chat.completions.create(
            model="stemfirst-demo", **chat(policy), extra_body=more
        )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    return answer.usage.prompt_tokens_details.cached_tokens or 0


def test_a_shared_prefix_is_hit_by_every_tenant_at_its_first_question(
    guarded: Any, send: Send, policy: str
) -> None:
    made = share(send, policy, "house rules", ttl_s=600)
    assert made["is_shared"] is True
    assert made["is_pinned"] is True
    assert made["tenants"] is None
    assert made["computed"] > 300
    told = send("POST", "globex-1", "/v1/cache/explain", chat(policy)).json()["stemfirst"]
    for key, more in (("acme-1", {}), ("globex-1", {}), ("acme-1", {"cache_salt": "s"})):
        found = cached(guarded, key, policy, **more)
        assert found >= made["tokens"] - 32
        assert told["cached_tokens"] == found
    seen = send("GET", "acme-1", f"{PREFIXES}/{made['id']}").json()
    assert seen["name"] == "house rules"
    assert "tenants" not in seen
    assert seen in send("GET", "acme-1", PREFIXES).json()["data"]
    assert send("DELETE", "operator-1", f"{SHARED}/{made['id']}").json()["deleted"] is True
    assert send("GET", "acme-1", f"{PREFIXES}/{made['id']}").status_code == 404
    assert cached(guarded, "lone-1", policy) == 0


def test_a_prefix_shared_with_some_does_not_exist_for_others(
    guarded: Any, send: Send, policy: str
) -> None:
    before = send("POST", "globex-1", "/v1/cache/explain", chat(policy)).json()
    made = share(send, policy, "for acme", tenants=["acme"])
    after = send("POST", "globex-1", "/v1/cache/explain", chat(policy)).json()
    # The law is refined by everybody's requests; nothing else may move.
    for told in (before, after):
        for field in ("time", "cost", "unpriced"):
            told["stemfirst"].pop(field, None)
        for field in ("ms", "cost", "unestimated"):
            told["stemfirst"]["missed"].pop(field, None)
    assert before == after
    assert send("GET", "globex-1", f"{PREFIXES}/{made['id']}").status_code == 404
    assert send("GET", "globex-1", PREFIXES).json()["data"] == []
    assert cached(guarded, "globex-1", policy) == 0
    assert cached(guarded, "acme-1", policy) > 300
    assert send("DELETE", "operator-1", f"{SHARED}/{made['id']}").status_code == 200


def test_tenants_can_only_read_what_is_shared(guarded: Any, send: Send, policy: str) -> None:
    made = share(send, policy, "read only")
    own = f"{PREFIXES}/{made['id']}"
    assert send("DELETE", "acme-1", own).status_code == 404
    assert send("POST", "acme-1", f"{own}/renew", {"ttl_s": 5}).status_code == 404
    for method, path in (("POST", SHARED), ("GET", SHARED), ("DELETE", f"{SHARED}/{made['id']}")):
        assert send(method, "acme-1", path, {}).status_code == 403
    # What a tenant asks behind it reaches neither the operator's tree nor another tenant's.
    question = policy + "The secret of the house is not to be told to anybody at all. " * 8
    assert cached(guarded, "acme-1", question) < cached(guarded, "acme-1", question)
    assert cached(guarded, "globex-1", question) <= made["tokens"]
    assert send("DELETE", "operator-1", f"{SHARED}/{made['id']}").status_code == 200


def test_a_name_is_of_one_prefix(guarded: Any, send: Send, policy: str) -> None:
    first = share(send, policy, "rules")
    same = share(send, policy, "rules", ttl_s=7200, tenants=["acme"])
    assert same["id"] == first["id"]
    assert same["tenants"] == ["acme"]
    assert cached(guarded, "globex-1", policy) == 0
    second = share(send, "New: " + policy, "rules")
    listed = send("GET", "operator-1", SHARED).json()["data"]
    assert [shown["id"] for shown in listed] == [second["id"]]
    renewed = send("POST", "operator-1", f"{SHARED}/{second['id']}/renew", {"ttl_s": 9000}).json()
    assert renewed["expires_s"] > second["expires_s"]
    assert cached(guarded, "acme-1", policy) == 0
    assert cached(guarded, "acme-1", "New: " + policy) > 300
    assert send("DELETE", "operator-1", f"{SHARED}/{second['id']}").status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [{}, {"name": ""}, {"name": None}, {"name": "x" * 65}, {"name": "x", "tenants": []},
     {"name": "x", "tenants": "acme"}, {"name": "x", "tenants": ["acme", "nobody"]},
     {"name": "x", "ttl_s": 0}],
)  # fmt: skip
def test_what_makes_no_sense_is_not_shared(send: Send, wrong: dict[str, Any]) -> None:
    body = {"messages": [{"role": "system", "content": "x"}]} | wrong
    assert send("POST", "operator-1", SHARED, body).status_code == 400


def test_no_tenant_can_be_called_as_the_operator(tmp_path: Any) -> None:
    (tmp_path / "keys.toml").write_text(
        f'[tenants."{OPERATOR}"]\nkeys = ["sha256:{"0" * 64}"]\n', "utf-8"
    )
    with pytest.raises(ConfigError, match="a tenant's name is"):
        keys_of((), (), tmp_path / "keys.toml")
