"""What is new is not told as read again: with the bundled server, and what it names mapped back."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import anthropic
import openai
import pytest
from stemfirst import (
    Client,
    Conversation,
    Prompt,
    hole,
    instrument,
    ledger,
    request,
    static,
    tenant,
)
from stemfirst.calls import sending
from stemfirst.places import placed_in
from stemfirst.savings import savings_of
from stemfirst.wire import MissPlace


@pytest.fixture
def client(server) -> Iterator[Client]:
    with Client(base_url=server.base_url, api_key=f"sk-{uuid.uuid4()}", max_retries=0) as running:
        yield running


def policy(name: str) -> Prompt:
    """A prompt that no other test has sent, with a place for a tenant."""
    text = f"{uuid.uuid4()} You are the agent of a shop. " + "Be kind and brief. " * 60
    return Prompt(static(text, name=name), tenant(hole("plan")), request(hole("question")))


@pytest.mark.needs_server
def test_what_was_never_sent_is_read_for_the_first_time_whatever_else_is_cached(client):
    client.ask(policy("other"), plan="gold", question="Where?", max_tokens=1)
    saved = client.ask(policy("new"), plan="gold", question="Where?", max_tokens=1).savings
    assert saved.cached_tokens == 0
    assert not saved.missed.is_avoidable
    assert "were read for the first time" in str(saved)


@pytest.mark.needs_server
@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
def test_a_named_prompt_of_another_client_has_its_own_text_known(server, api):
    asked, key = policy(f"named {api}"), f"sk-{uuid.uuid4()}"
    root = server.base_url.removesuffix("/v1")
    plain = instrument(openai.OpenAI(base_url=server.base_url, api_key=key))
    claude = instrument(anthropic.Anthropic(base_url=root, api_key=key))
    model = "stemfirst-demo"
    with plain, claude:
        for question in ("Where is the parcel? " * 9, "When does it come, then? " * 9):
            rendered = asked.render(plan="gold", question=question)
            with sending(rendered):
                if api == "chat":
                    made = plain.chat.completions.create(
                        model=model, max_tokens=1, **rendered.openai()
                    )
                elif api == "responses":
                    made = plain.responses.create(
                        model=model, max_output_tokens=1, **rendered.responses()
                    )
                else:
                    made = claude.messages.create(model=model, max_tokens=1, **rendered.anthropic())
    saved = savings_of(made)
    assert saved.cached_tokens > 200
    assert saved.missed, saved
    assert saved.missed.tier.label == "request"
    assert "were new with this request" in str(saved)


@pytest.mark.needs_server
def test_a_stream_of_anthropics_client_carries_the_servers_report(server):
    root = server.base_url.removesuffix("/v1")
    options = {"model": "stemfirst-demo", "max_tokens": 2}
    with instrument(anthropic.Anthropic(base_url=root, api_key="sk-test")) as claude:
        for _ in range(2):
            asked = claude.messages.create(
                **options, messages=[{"role": "user", "content": "Hello " * 90}], stream=True
            )
            assert list(asked)
    assert asked.savings.time is not None
    assert asked.savings.cached_tokens > 0


@pytest.mark.needs_server
def test_turns_that_only_append_are_never_told_as_changed(client):
    talk = Conversation(Prompt(static(f"{uuid.uuid4()} Be kind. " * 30, name="talk")))
    for question in ("Hello, one.", "And two?", "And three?", "And four?"):
        turn = talk.turn(request(question))
        answer = client.ask(turn, max_tokens=5)
        talk.add(turn, answer)
        assert "read again" not in str(answer.savings)
    other = Conversation(talk.prompt)
    turn = other.turn(request("Somebody else asks."))
    first = client.ask(turn, max_tokens=5)
    other.add(turn, first)
    second = client.ask(other.turn(request("And again?")), max_tokens=1)
    assert "read again" not in f"{first.savings} {second.savings}"


def test_the_same_words_in_two_messages_are_told_apart_by_their_place():
    prompt = Prompt.from_messages(
        [{"role": role, "content": "yes"} for role in ("user", "assistant", "user")]
    )
    rendered = prompt.render()
    body = rendered.anthropic()
    found = placed_in(rendered, MissPlace(9, ("messages", 2, "content", 0, "text"), 1), body)
    assert (found.path, found.byte, found.segment) == (("messages", 2, "content"), 1, "s2")


def test_a_place_that_is_nowhere_in_the_prompt_stays_as_it_was_told():
    rendered = Prompt(request("yes")).render()
    place = MissPlace(9, ("messages", 7, "content"), 1)
    assert placed_in(rendered, place, rendered.openai()) == place


@pytest.mark.needs_server
def test_a_compacted_history_is_no_slide_for_the_process_that_takes_it_over(client, tmp_path):
    from stemfirst import calls

    start = Prompt(static(f"{uuid.uuid4()} Be kind. " * 40, name=f"taken {uuid.uuid4()}"))
    with ledger(memory=tmp_path):
        talk = Conversation(start)
        for question in ("Where is it?", "When is it?"):
            turn = talk.turn(request(question))
            talk.add(turn, client.ask(turn, max_tokens=4))
        talk.compact([{"role": "user", "content": "They asked where and when."}])
        stored = talk.to_json()
        calls._sent_before.clear()  # as a new process has it
        calls._new_epochs.clear()
        again = Conversation.from_json(start, stored)
        saved = client.ask(again.turn(request("Why?")), max_tokens=1).savings
    assert saved.missed is None or saved.missed.why is None


def test_calls_of_threads_that_entered_no_ledger_are_said_to_be_missing(peer):
    with Client(base_url=peer.url, api_key="k", max_retries=0) as client, ledger("T") as book:

        def work() -> None:
            client.ask(Prompt(request("a")), model="m")

        for target in (work, work, book(work)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert (book.requests, book.uncounted) == (1, 2)
    for shown in (str(book), book._repr_html_()):
        assert "2 calls of other threads are not counted" in shown
    with ledger("alone") as alone:
        pass
    work_alone = threading.Thread(target=lambda: client.is_closed())
    work_alone.start()
    work_alone.join()
    assert alone.uncounted == 0
