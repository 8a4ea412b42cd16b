"""Room for so many requests and no more: the law, and a server that is asked too much."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_server.api.admission import Admission
from stemfirst_server.engine.request import (
    Event,
    FinishEvent,
    FinishReason,
    GenerationRequest,
    RequestReport,
    SamplingParams,
    token_array,
)
from stemfirst_server.errors import InvalidRequestError, OverloadedError
from stemfirst_server.tenants import Tenant

REPORT = RequestReport(1, 0, 1, 0, 0, 0, False, 0.0, 0.0, 0.0, None, 0.0, 0.0, 0, ())
CHAT = "/v1/chat/completions"


class Stage:
    """An engine that ends requests when it is told to."""

    def __init__(self) -> None:
        self.running: list[Callable[[Event], None]] = []
        self.breaks = False

    def submit(self, request: GenerationRequest, on_event: Callable[[Event], None]) -> object:
        if self.breaks:
            raise InvalidRequestError("no")
        self.running.append(on_event)
        return None

    def abort(self, request_id: str) -> None:
        raise AssertionError("nothing is aborted here")

    def remember(self, request: GenerationRequest, output: Sequence[int]) -> None:
        raise AssertionError("nothing is written here")

    def end(self, index: int) -> None:
        self.running.pop(index % len(self.running))(FinishEvent(FinishReason.STOP, REPORT))


def request(number: int) -> GenerationRequest:
    return GenerationRequest(f"r{number}", token_array([1]), SamplingParams(), "")


steps = st.one_of(
    st.tuples(st.sampled_from(["ask", "ask and break"]), st.integers(1, 3), st.integers(0, 2)),
    st.tuples(st.just("end"), st.integers(0, 9), st.just(0)),
)


@given(st.lists(steps, max_size=30))
def test_seats_are_never_lost_nor_given_twice(walk: list[tuple[str, int, int]]) -> None:
    tenants = (Tenant("a"), Tenant("b"), Tenant("c", most_requests=2))
    admission, stage = Admission(4), Stage()
    for name, number, tenant in walk:
        if name == "end":
            if stage.running:
                stage.end(number)
        else:
            stage.breaks = name != "ask"
            try:
                with admission.take(number, tenants[tenant]) as seats:
                    for index in range(number):
                        seats.over(stage).submit(request(index), lambda event: None)
            except (OverloadedError, InvalidRequestError):
                pass
        admission.check()
        assert admission.taken == len(stage.running)


def test_a_client_is_told_when_a_seat_will_be_free() -> None:
    now = 0.0
    admission, stage = Admission(1, clock=lambda: now), Stage()

    def refused() -> OverloadedError:
        with pytest.raises(OverloadedError) as caught:
            admission.take(1, Tenant("a"))
        return caught.value

    for _ in range(3):
        with admission.take(1, Tenant("a")) as seats:
            seats.over(stage).submit(request(0), lambda event: None)
        assert refused().reason == "queue_full"
        now += 4.0
        stage.end(0)
    admission.take(1, Tenant("a"))
    now += 4.0
    assert 3 <= refused().retry_after_s <= 5
    now += 10_000.0
    assert refused().retry_after_s == 30


def test_more_than_there_will_ever_be_is_no_reason_to_wait() -> None:
    with pytest.raises(InvalidRequestError, match="send several requests"):
        Admission(4).take(5, Tenant("a"))
    with pytest.raises(InvalidRequestError):
        Admission(4).take(3, Tenant("a", most_requests=2))


def ask(guarded: Any, key: str, **fields: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 40, "ignore_eos": True}
    return httpx.post(
        guarded.url + CHAT,
        json=body | fields,
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )


def test_ten_times_the_load_gets_429_and_those_admitted_are_unharmed(guarded: Any) -> None:
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(guarded, "acme-1"))) for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(done) >= 4
    assert refused
    for answer in refused:
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert answer.json()["error"]["code"] == "queue_full"
    assert all(answer.json()["usage"]["completion_tokens"] == 40 for answer in done)
    metrics = httpx.get(
        guarded.url + "/metrics", headers={"authorization": "Bearer operator-1"}, trust_env=False
    ).text
    counted = [line for line in metrics.splitlines() if 'reason="queue_full"' in line]
    assert any("stemfirst_refused_requests_total" in line for line in counted)
    assert ask(guarded, "acme-1", max_tokens=1).status_code == 200


def test_a_tenants_limit_holds_while_others_are_served(guarded: Any) -> None:
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 4000,
        "ignore_eos": True,
        "stream": True,
    }
    with httpx.stream(
        "POST",
        guarded.url + CHAT,
        json=body,
        headers={"authorization": "Bearer small-1"},
        timeout=60,
        trust_env=False,
    ) as stream:
        lines = stream.iter_lines()  # kept: a closed iterator closes the connection
        next(lines)
        refused = ask(guarded, "small-1", max_tokens=1)
        other = ask(guarded, "globex-1", max_tokens=1)
    assert (refused.status_code, other.status_code) == (429, 200)
    assert refused.json()["error"]["code"] == "tenant_limit"
    deadline = time.monotonic() + 15  # a client that left gives its seat back
    while ask(guarded, "small-1", max_tokens=1).status_code == 429:
        assert time.monotonic() < deadline


def test_more_choices_than_seats_are_refused_for_good(guarded: Any) -> None:
    answer = ask(guarded, "acme-1", n=5)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "n"


def test_a_body_without_a_length_is_bounded_too(guarded: Any) -> None:
    answer = httpx.post(
        guarded.url + CHAT,
        content=(b" " * 2**20 for _ in range(66)),
        headers={"authorization": "Bearer acme-1", "content-type": "application/json"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 413
