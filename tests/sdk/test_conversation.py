"""Append-only conversations, and the order of rows that shares the most."""

import itertools
import json
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst import (
    Conversation,
    HistoryChangedError,
    Prompt,
    PromptError,
    hole,
    order_for_sharing,
    request,
    static,
    tenant,
    volatile,
)

ANSWER = {"role": "assistant", "content": "Here."}


def talk() -> Conversation:
    return Conversation(Prompt(static("Be kind."), tenant("Plan: gold")))


def test_each_turn_begins_with_the_turn_before_byte_for_byte():
    conversation, sent = talk(), []
    for question in ("Where?", "When?", "Why?"):
        turn = conversation.turn(request(question), volatile(f"It is {len(sent)} o'clock."))
        sent.append([json.dumps(message) for message in turn.render().messages])
        conversation.add(turn, ANSWER)
    for before, after in itertools.pairwise(sent):
        assert after[: len(before)] == before
    assert len(conversation.messages) == 6


def test_a_turn_with_holes_is_stored_as_it_was_rendered():
    conversation = talk()
    turn = conversation.turn(request(hole("question"))).render(question="Where?")
    conversation.add(turn, ANSWER)
    assert conversation.messages == [{"role": "user", "content": "Where?"}, ANSWER]


def test_tools_answer_within_their_turn():
    conversation = talk()
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    conversation.add(
        conversation.turn(request("q")),
        {"role": "assistant", "content": None, "tool_calls": [call]},
    )
    conversation.append({"role": "tool", "tool_call_id": "t", "content": "1"})
    conversation.add(conversation.turn(), ANSWER)
    assert [message["role"] for message in conversation.messages] == [
        *("user", "assistant", "tool", "assistant")
    ]


def test_an_edited_turn_is_named_and_both_texts_shown():
    conversation = talk()
    conversation.add(conversation.turn(request("Where is it?")), ANSWER)
    kept = conversation.messages
    kept[0]["content"] = "Where was it?"
    with pytest.raises(HistoryChangedError, match="message 0 is not what was sent") as caught:
        conversation.prove(kept)
    assert "Where is" in str(caught.value)
    assert "Where was" in str(caught.value)
    with pytest.raises(HistoryChangedError, match="message 1 of 2"):
        conversation.prove(conversation.messages[:1])
    conversation.prove([*conversation.messages, ANSWER])


def test_a_turn_from_elsewhere_is_not_stored():
    conversation = talk()
    conversation.add(conversation.turn(request("a")), ANSWER)
    with pytest.raises(HistoryChangedError):
        conversation.add(talk().turn(request("b")), ANSWER)
    other = Prompt(static("Be rude."), tenant("Plan: gold"))
    with pytest.raises(HistoryChangedError, match="message 0"):
        conversation.add(Conversation(other, conversation.messages).turn(request("b")), ANSWER)
    with pytest.raises(PromptError, match=r"build it with turn"):
        Conversation(conversation.turn()).add(Prompt(static("a")))


def test_an_answer_is_stored_as_its_message():
    class Answered:
        message: ClassVar = dict(ANSWER)

    whole, by_hand = talk(), talk()
    for conversation, reply in ((whole, Answered()), (by_hand, ANSWER)):
        conversation.add(conversation.turn(request("a")), reply)
    assert whole.digest == by_hand.digest
    with pytest.raises(PromptError, match=r"a message or an answer that holds one, got str"):
        whole.add(whole.turn(request("b")), "Yes.")


def test_compaction_starts_an_epoch():
    conversation = talk()
    conversation.add(conversation.turn(request("a")), ANSWER)
    conversation.compact([{"role": "user", "content": "We spoke of a."}])
    assert (conversation.epoch, len(conversation.messages)) == (1, 1)
    conversation.add(conversation.turn(request("b")), ANSWER)


def test_a_stored_conversation_is_proven_when_it_comes_back():
    conversation = talk()
    conversation.add(conversation.turn(request("a")), ANSWER)
    state = json.loads(json.dumps(conversation.to_json()))
    again = Conversation.from_json(conversation.prompt, state)
    assert again.messages == conversation.messages
    first, second = (item.turn(request("b")).render() for item in (conversation, again))
    assert first.messages == second.messages
    assert [item.id for item in first.segments] == [item.id for item in second.segments]
    state["messages"][0]["content"] = "b"
    with pytest.raises(HistoryChangedError, match="stored"):
        Conversation.from_json(conversation.prompt, state)
    with pytest.raises(PromptError, match="no stored conversation"):
        Conversation.from_json(conversation.prompt, {})


# Ordering

values = st.sampled_from(["a", "bb" * 20, "ccc" * 20, 1, None])
rows = st.lists(st.dictionaries(st.sampled_from("xyz"), values, max_size=3), max_size=9)


@given(rows)
def test_ordered_rows_are_the_same_rows_and_never_share_less(given_rows):
    ordering = order_for_sharing(given_rows)
    assert sorted(row.index for row in ordering.rows) == list(range(len(given_rows)))
    for row in ordering.rows:
        assert json.loads(row.text) == given_rows[row.index]
    assert ordering.shared_bytes >= ordering.shared_bytes_as_given
    assert 0 <= ordering.gain <= 1


def test_the_field_that_repeats_the_most_text_comes_first():
    terms = ["Long terms of plan gold. " * 40, "Long terms of plan free. " * 40]
    table = [{"id": n, "question": f"q{n}", "terms": terms[n % 2]} for n in range(20)]
    ordering = order_for_sharing(table)
    assert all(row.text.startswith('{"terms"') for row in ordering.rows)
    assert ordering.shared_bytes_as_given < 0.05 * ordering.total_bytes
    assert ordering.shared_bytes > 0.85 * ordering.total_bytes
