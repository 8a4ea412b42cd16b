"""Calls that name no prompt: what their bodies show of a miss, with the bundled server."""

from __future__ import annotations

import uuid

import openai
import pytest
from stemfirst import instrument, ledger
from stemfirst.plain import compared, runs_of_body
from stemfirst.savings import Savings, savings_of

RULES = "Be kind and brief, and name the article. " * 20


@pytest.fixture
def client(server):
    key = f"sk-{uuid.uuid4()}"
    with instrument(openai.OpenAI(base_url=server.base_url, api_key=key)) as made:
        yield made


def ask(client, *messages: str) -> Savings:
    roles = ("system", "user", "assistant")
    given = [
        {"role": roles[i if i < 2 else 1 + i % 2], "content": text}
        for i, text in enumerate(messages)
    ]
    return savings_of(
        client.chat.completions.create(model="stemfirst-demo", messages=given, max_tokens=1)
    )


@pytest.mark.needs_server
def test_a_clock_in_plain_messages_is_told_with_its_rule(client):
    mark = uuid.uuid4()
    with ledger() as book:
        told = [
            str(ask(client, f"{mark} It is 9:00:0{second}. {RULES}", f"Question {second}?"))
            for second in range(2)
        ]
    assert "read again" not in told[0]
    assert 'puts "9:00:01." (was "9:00:00.")' in told[1] or '"9:00:01"' in told[1]
    assert "before the rest of message 0 (system) (SF101 clock-in-prefix)" in told[1]
    assert [item.calls for item in book.misses()] == [1]


@pytest.mark.needs_server
def test_plain_questions_and_conversations_that_go_on_are_new(client):
    # Other tests' rules behind another id would rightly be told as read again.
    system = f"{uuid.uuid4()} " + " ".join(str(uuid.uuid4()) for _ in range(20))
    told = [
        ask(client, system, "Where is it?"),
        ask(client, system, "When does it come?" * 9),
        ask(client, system, "Where is it?", "There.", "And when does it come? " * 9),
    ]
    assert "read again" not in " ".join(map(str, told))
    assert "were new behind what was cached" in str(told[1])


def test_what_is_no_request_is_not_compared():
    for body in (None, [], {}, {"messages": 3}, {"messages": [3]}):
        assert runs_of_body(body) == ()
    assert compared(Savings(), ()) == Savings()
