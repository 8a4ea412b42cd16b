"""One test for each claim of docs/security.md."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from stemfirst_server.api.edge import Edge
from stemfirst_server.errors import ConfigError
from stemfirst_server.namespaces import namespace
from stemfirst_server.serving import is_loopback, listen
from stemfirst_server.settings import ServeSettings
from stemfirst_server.tenants import Keys, keys_of

CHAT = "/v1/chat/completions"
SOME_DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def ask(guarded: Any) -> Callable[..., httpx.Response]:
    """Send a prompt with a key; further fields go into the body."""

    def send(
        key: str | None,
        text: str,
        headers: dict[str, str] | None = None,
        path: str = CHAT,
        **fields: Any,
    ) -> httpx.Response:
        if path == CHAT:
            body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
        else:
            body = {"prompt": text}
        given = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.post(
            guarded.url + path,
            json={**body, "max_tokens": 1, **fields},
            headers=given | (headers or {}),
            timeout=60,
            trust_env=False,
        )

    return send


def cached(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    count: int = answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return count


def test_without_a_host_only_this_machine_reaches_the_server() -> None:
    assert ServeSettings().host == "127.0.0.1"
    with listen(ServeSettings().host, 0) as listener:
        assert is_loopback(listener)
    with listen("0.0.0.0", 0) as listener:
        assert not is_loopback(listener)


@pytest.mark.parametrize("key", [None, "acme-3", "ACME-1", "operator-1", "acme-1 x", "\u00e9"])
def test_a_key_that_is_no_tenants_opens_nothing(guarded: Any, key: str | None) -> None:
    headers = {"authorization": f"Bearer {key}".encode()} if key else {}
    posts = (CHAT, "/v1/completions", "/v1/messages", "/v1/responses", "/tokenize", "/detokenize")
    gets = ("/v1/models", "/v1/stemfirst", "/v1/no-such-route", "/openapi.json", "/")
    for method, path in [("POST", path) for path in posts] + [("GET", path) for path in gets]:
        answer = httpx.request(method, guarded.url + path, headers=headers, trust_env=False)
        assert answer.status_code == 401, path
        assert answer.json()["error"]["type"] == "authentication_error"


def test_a_body_without_a_key_is_not_read(guarded: Any) -> None:
    host, _, port = guarded.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 60000000\r\n\r\n".encode()
        )
        assert line.recv(4096).startswith(b"HTTP/1.1 401")


def test_both_clients_ways_to_send_a_key_are_taken(ask: Callable[..., httpx.Response]) -> None:
    assert ask(None, "hi", {"x-api-key": "acme-1"}).status_code == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_a_tenant_never_hits_what_another_sent(
    ask: Callable[..., httpx.Response], policy: str, path: str
) -> None:
    assert cached(ask("acme-1", policy, path=path)) == 0
    assert cached(ask("acme-1", policy, path=path)) > 0
    for key in ("globex-1", "lone-1", "small-1"):
        assert cached(ask(key, policy, path=path)) == 0
    assert cached(ask("globex-1", policy, path=path)) > 0


LIES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "a salt that closes the quotes": ({}, {"cache_salt": '"], ["stemfirst-demo", "acme", "'}),
    "a salt that is the namespace": (
        {},
        {"cache_salt": namespace("stemfirst-demo", "acme", "")},
    ),
    "a salt that is the tenant": ({}, {"cache_salt": "acme"}),
    "fields that sound right": (
        {},
        {"tenant": "acme", "namespace": "acme", "user": "acme", "api_key": "acme-1"},
    ),
    "a cache key": ({}, {"prompt_cache_key": "acme", "prompt_cache_options": {"tenant": "acme"}}),
    "headers": (
        {
            "x-stemfirst-prefix": "v1;k=acme;c=0123456789abcdef",
            "x-session-id": "acme",
            "x-tenant": "acme",
            "openai-organization": "acme",
            "x-request-id": "acme",
        },
        {},
    ),
    "a second key": ({"x-api-key": "acme-1"}, {}),
    "digests and a reference": (
        {},
        {
            "stemfirst": {
                "v": 1,
                "kid": "acme",
                "alg": "blake2b-128",
                "segs": [{"id": "a", "tier": "static", "at": ["messages", 0, "content"],
                          "n": 9**9, "h": "0" * 32}],
                "put": {"kid": "acme", "h": "0" * 32, "n": 99_999, "messages": 1},
            }
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_nothing_in_a_request_widens_its_namespace(
    ask: Callable[..., httpx.Response], policy: str, lie: str
) -> None:
    headers, fields = LIES[lie]
    ask("acme-1", policy)
    assert cached(ask("globex-1", policy, headers, **fields)) == 0


def test_a_salt_only_narrows(ask: Callable[..., httpx.Response], policy: str) -> None:
    ask("acme-1", policy)
    assert cached(ask("acme-1", policy, cache_salt="s")) == 0
    assert cached(ask("acme-1", policy, cache_salt="s")) > 0
    assert cached(ask("acme-1", policy, cache_salt="t")) == 0


def test_a_new_key_of_the_same_tenant_finds_the_same_cache(
    ask: Callable[..., httpx.Response], policy: str
) -> None:
    ask("acme-1", policy)
    assert cached(ask("acme-2", policy)) > 0


def test_a_report_tells_nothing_of_what_others_sent(
    ask: Callable[..., httpx.Response], policy: str
) -> None:
    """What globex reads after acme sent the same prompt is what it reads of one nobody sent."""
    # Beginnings that no other test's prompt has: globex may hear how its own ones went on.
    sent, never_sent = "q" + policy[1:], "z" + policy[1:]
    ask("acme-1", sent)
    known, unknown = (ask("globex-1", text).json()["stemfirst"] for text in (sent, never_sent))
    for report in (known, unknown):
        lengths = ("prompt_tokens", "computed_tokens", "cache_write_tokens")
        for field in ("time", "cost", "unpriced", *lengths):  # the law is refined by everybody
            report.pop(field, None)
        if report["missed"]:
            report["missed"] = report["missed"]["reason"]
    assert known == unknown


def test_what_tells_of_all_tenants_is_the_operators(guarded: Any) -> None:
    def status(key: str | None) -> int:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.get(guarded.url + "/metrics", headers=headers, trust_env=False).status_code

    assert [status(key) for key in (None, "acme-1", "operator-1")] == [403, 403, 200]


STRANGERS: dict[str, tuple[str, dict[str, str]]] = {
    "another machine": ("198.51.100.7", {}),
    "a proxy that tells for whom": ("127.0.0.1", {"x-forwarded-for": "198.51.100.7"}),
    "a proxy that tells how": ("127.0.0.1", {"x-forwarded-proto": "https"}),
    "a proxy by the standard": ("127.0.0.1", {"forwarded": "for=198.51.100.7"}),
    "nginx's own": ("127.0.0.1", {"x-real-ip": "198.51.100.7"}),
    "a gateway": ("127.0.0.1", {"via": "1.1 gateway"}),
    "a proxy that tells nothing": ("127.0.0.1", {"host": "llm.example.com"}),
    "a page": ("127.0.0.1", {"origin": "https://example.com"}),
    "a page that hides": ("127.0.0.1", {"origin": "null"}),
    "a page of another port": ("127.0.0.1", {"origin": "http://127.0.0.1:3000"}),
    "a page, by its browser": ("127.0.0.1", {"sec-fetch-site": "cross-site"}),
    "a page of another port, by its browser": ("127.0.0.1", {"sec-fetch-site": "same-site"}),
    "a page under a name that leads here": (
        "127.0.0.1",
        {"host": "rebound.example.com", "origin": "http://rebound.example.com"},
    ),
    "a host that is none": ("127.0.0.1", {"host": "[::1"}),
    "no host": ("127.0.0.1", {"host": ""}),
}


def acting(client: str, headers: dict[str, str]) -> int:
    """Return the status of an operator's request to a server that asks for no key."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "127.0.0.1:8000"} | headers
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/admin/flush",
        "client": (client, 5),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    edge = Edge(app, keys=Keys(), most_body_bytes=1, most_held_bytes=1)
    asyncio.run(edge(scope, receive, send))
    status: int = sent[0]["status"]
    return status


@pytest.mark.parametrize("stranger", STRANGERS)
def test_without_keys_no_proxy_and_no_page_may_act(stranger: str) -> None:
    assert acting(*STRANGERS[stranger]) == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]:8000"])
def test_without_keys_programs_of_this_machine_may_act(host: str) -> None:
    assert acting("127.0.0.1", {"host": host}) == 204
    assert acting("::1", {"host": host, "sec-fetch-site": "none"}) == 204
    assert acting("127.0.0.1", {"host": host, "origin": f"http://{host}"}) == 204


def test_probes_need_no_key_and_tell_nothing(guarded: Any) -> None:
    for path in ("/health", "/health/ready"):
        answer = httpx.get(guarded.url + path, trust_env=False)
        assert answer.status_code == 200
        assert set(answer.json()) == {"status"}


def test_logs_hold_neither_keys_nor_prompts(
    guarded: Any, ask: Callable[..., httpx.Response]
) -> None:
    ask("acme-1", "a-word-of-the-prompt", cache_salt="a-word-of-the-salt")
    ask("a-word-of-the-key", "x")
    ask("acme-1", "a-word-of-the-prompt", temperature="a-word-of-the-field")
    for secret in ("acme-1", "lone-1", "operator-1", "a-word-of-the"):
        assert secret not in guarded.log


def test_errors_show_no_path_and_no_traceback(ask: Callable[..., httpx.Response]) -> None:
    for answer in (ask("acme-1", "x", n=0), ask("acme-1", "x", model="y"), ask(None, "x")):
        assert "Traceback" not in answer.text
        assert str(Path(__file__).parents[2]) not in answer.text
        assert ".py" not in answer.text


def test_one_of_the_plain_keys_is_a_tenant_of_its_own() -> None:
    keys = keys_of(("one", "two"), (), None)
    first, second = keys.tenant("one"), keys.tenant("two")
    assert first
    assert second
    assert first.name != second.name
    assert "one" not in first.name
    assert first == keys_of(("one",), (), None).tenant("one")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[tenants.a", "not TOML"),
        ("[tenant.a]", "tenant is unknown"),
        ("[tenants.a]", "keys must be a list"),
        ("[tenants.a]\nkeys = ['plain-secret']", "must be sha256:"),
        (f"[tenants.a]\nkeys = ['{SOME_DIGEST}']\nmost_requests = 0", "whole number from 1"),
        (f"[tenants.a]\nkeys = ['{SOME_DIGEST}']\nmost_request = 1", "most_request is unknown"),
        (f"[tenants.'a b']\nkeys = ['{SOME_DIGEST}']", "name is"),
        (
            f"[tenants.a]\nkeys = ['{SOME_DIGEST}']\n[tenants.b]\nkeys = ['{SOME_DIGEST}']",
            "also the key of tenant a",
        ),
        (f"[tenants.a]\nkeys = ['{SOME_DIGEST}']\n[admin]\nkeys = ['{SOME_DIGEST}']", "admin key"),
        ("tenants = 3", "must be a table"),
    ],
    ids=["broken", "misspelt", "no keys", "plain key", "limit", "unknown limit", "name",
         "two owners", "admin too", "no table"],
)  # fmt: skip
def test_a_key_file_that_makes_no_sense_is_refused_at_the_start(
    tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(content, "utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        keys_of((), (), file)
    assert "plain-secret" not in str(caught.value)


def test_a_missing_key_file_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        keys_of((), (), tmp_path / "none.toml")


def test_names_of_namespaces_cannot_be_forged() -> None:
    parts = ["a", '"', '", "', "\\", "", "a b"]
    names = {
        namespace(model, tenant, salt) for model in parts for tenant in parts for salt in parts
    }
    assert len(names) == len(parts) ** 3
    assert all(json.loads(name) for name in names)
