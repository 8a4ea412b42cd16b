"""Of those that wait, the more urgent goes first; nobody can be made to wait for long."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import (
    Event,
    FinishEvent,
    GenerationRequest,
    SamplingParams,
    token_array,
)


@pytest.mark.parametrize(("first", "second"), [(5, -5), (-5, 5), (0, 0)])
def test_the_more_urgent_of_two_that_wait_goes_first(
    start_engine: Callable[..., Engine], first: int, second: int
) -> None:
    engine = start_engine(max_running=1)
    order: list[str] = []
    ended = threading.Semaphore(0)
    began = threading.Event()

    def submit(name: str, priority: int, most: int) -> None:
        def on_event(event: Event) -> None:
            began.set()
            if isinstance(event, FinishEvent):
                order.append(name)
                ended.release()

        params = SamplingParams(max_tokens=most, temperature=0.0, ignore_eos=True)
        ids = token_array([ord(name[0])] * 20)
        engine.submit(GenerationRequest(name, ids, params, priority=priority), on_event)

    submit("running", 0, 300)
    assert began.wait(60)
    submit("a", first, 1)
    submit("b", second, 1)
    for _ in range(3):
        assert ended.acquire(timeout=60)
    expected = ["a", "b"] if first <= second else ["b", "a"]
    assert order == ["running", *expected]
