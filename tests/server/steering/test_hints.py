"""Wishes of a request: heard where they make sense, bounded, never an error."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_server.steering.hints import LONGEST_TTL_S, MOST_PRIORITY, Hints, hints_of

ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())
)


@given(ANYTHING, st.one_of(ANYTHING, st.fixed_dictionaries({"ttl_s": ANYTHING})))
def test_anything_is_read_and_bounded(priority: Any, field: Any) -> None:
    hints = hints_of(priority, field)
    assert -MOST_PRIORITY <= hints.priority <= MOST_PRIORITY
    assert 0 <= hints.ttl_s <= LONGEST_TTL_S


@pytest.mark.parametrize(
    ("priority", "field", "hints"),
    [
        (-3, {"ttl_s": 60}, Hints(-3, 60.0)),
        (10**9, {"ttl_s": 10**9}, Hints(MOST_PRIORITY, LONGEST_TTL_S)),
        ("high", {"ttl_s": "long"}, Hints()),
        (True, {"ttl_s": True}, Hints()),
        (1.5, [], Hints()),
    ],
)
def test_what_makes_sense_is_heard(priority: Any, field: Any, hints: Hints) -> None:
    assert hints_of(priority, field) == hints


def test_a_prompt_with_a_time_to_live_is_pinned(http: httpx.Client, policy: str) -> None:
    body = {
        "messages": [{"role": "user", "content": policy}],
        "max_tokens": 1,
        "priority": "nonsense",
        "stemfirst": {"v": 1, "ttl_s": 300},
    }
    answer = http.post("/v1/chat/completions", json=body).json()
    tokens = answer["usage"]["prompt_tokens"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        listed = http.get("/v1/prefixes").json()["data"]
        own = [prefix for prefix in listed if prefix["tokens"] == tokens]
        if own and own[-1]["is_pinned"]:
            break
    assert own[-1]["is_pinned"]
    assert http.delete(f"/v1/prefixes/{own[-1]['id']}").status_code == 200
