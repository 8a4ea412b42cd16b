"""A tenant's limits, and keys that change while the server runs."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_server.errors import ConfigError, OverloadedError
from stemfirst_server.quotas import Quotas
from stemfirst_server.tenants import Tenant, keys_of

CHAT = "/v1/chat/completions"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_a_minute_fill_evenly_and_429_names_the_limit() -> None:
    clock = Clock()
    quotas = Quotas(clock=clock)
    tenant = Tenant("a", requests_per_minute=6)
    for _ in range(6):
        quotas.begin(tenant, 1, streams=0)
    with pytest.raises(OverloadedError, match="6 requests per minute") as refused:
        quotas.begin(tenant, 1, streams=0)
    assert refused.value.reason == "tenant_requests"
    assert refused.value.retry_after_s == 10
    clock.now = 10.0
    quotas.begin(tenant, 1, streams=0)
    quotas.begin(Tenant("b", requests_per_minute=6), 1, streams=0)


def test_tokens_go_into_debt_and_are_waited_for() -> None:
    clock = Clock()
    quotas = Quotas(clock=clock)
    tenant = Tenant("a", tokens_per_minute=600)
    quotas.begin(tenant, 1, streams=0)
    quotas.charge(tenant, 700)
    with pytest.raises(OverloadedError, match="tokens_per_minute") as refused:
        quotas.begin(tenant, 1, streams=0)
    assert refused.value.retry_after_s == 11
    clock.now = 10.2
    quotas.begin(tenant, 1, streams=0)


def test_streams_are_counted_while_they_last() -> None:
    quotas = Quotas()
    tenant = Tenant("a", most_streams=1)
    quotas.begin(tenant, 1, streams=1)
    quotas.begin(tenant, 1, streams=0)
    with pytest.raises(OverloadedError, match="most_streams") as refused:
        quotas.begin(tenant, 1, streams=1)
    assert refused.value.reason == "tenant_streams"
    quotas.end(tenant, streams=1)
    quotas.begin(tenant, 1, streams=1)
    quotas.check()


@given(st.lists(st.floats(0, 30), max_size=60))
def test_never_more_than_two_minutes_worth_in_any_minute(waits: list[float]) -> None:
    clock = Clock()
    quotas = Quotas(clock=clock)
    tenant = Tenant("a", requests_per_minute=5)
    began: list[float] = []
    for wait in waits:
        clock.now += wait
        try:
            quotas.begin(tenant, 1, streams=0)
        except OverloadedError:
            continue
        began.append(clock.now)
    for start in began:
        assert sum(start <= at < start + 60 for at in began) <= 10


def test_a_limit_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[tenants.a]\nkeys = ["sha256:{"0" * 64}"]\ntokens_per_minute = 0\n', "utf-8")
    with pytest.raises(ConfigError, match="tokens_per_minute must be a whole number from 1"):
        keys_of((), (), file)


def key_file(**tenants: str) -> str:
    lines = []
    for name, limits in tenants.items():
        digest = hashlib.sha256(f"{name}-1".encode()).hexdigest()
        lines += [f"[tenants.{name}]", f'keys = ["sha256:{digest}"]', limits]
    return "\n".join(lines)


def test_limits_and_keys_of_a_running_server(start: Callable[..., Any], tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(
        key_file(
            slow="requests_per_minute = 2",
            terse="tokens_per_minute = 20",
            one="most_streams = 1",
            small="most_cached_tokens = 64",
        ),
        "utf-8",
    )
    served = start(
        "--port", "0", "--pool-tokens", "8192", "--calibration-seconds", "0",
        "--api-keys-file", str(keys),
    ).wait_until_ready()  # fmt: skip

    def ask(key: str, **more: Any) -> httpx.Response:
        body = {
            "messages": [{"role": "user", "content": "hi there " * 60}],
            "max_tokens": 1,
            **more,
        }
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(
            served.url + CHAT, json=body, headers=headers, timeout=60, trust_env=False
        )

    def refused_by(answer: httpx.Response) -> str:
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        code: str = answer.json()["error"]["code"]
        return code

    assert [ask("slow-1").status_code for _ in range(2)] == [200, 200]
    assert refused_by(ask("slow-1")) == "tenant_requests"
    assert ask("terse-1").status_code == 200
    assert refused_by(ask("terse-1")) == "tenant_tokens"
    with httpx.stream(
        "POST", served.url + CHAT, timeout=60, trust_env=False,
        headers={"authorization": "Bearer one-1"},
        json={"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2000,
              "ignore_eos": True, "stream": True},
    ) as running:  # fmt: skip
        assert running.status_code == 200
        assert refused_by(ask("one-1", stream=True)) == "tenant_streams"
        assert ask("one-1").status_code == 200

    for _ in range(3):  # what is over the limit goes when a request has ended
        assert ask("small-1").json()["usage"]["prompt_tokens_details"]["cached_tokens"] <= 64

    assert ask("new-1").status_code == 401
    keys.write_text(key_file(new=""), "utf-8")
    served.signal(signal.SIGHUP)
    served.wait_for("the keys were read again")
    assert ask("new-1").status_code == 200
    assert ask("one-1").status_code == 401
    keys.write_text("no toml", "utf-8")
    served.signal(signal.SIGHUP)
    served.wait_for("the keys stay as they were")
    assert ask("new-1").status_code == 200
    assert served.process.poll() is None
