"""The clients against the bundled server: what is hinted is used, and what is said is true."""

import asyncio
import uuid
from collections.abc import Iterator

import pytest
from stemfirst import (
    AsyncClient,
    Client,
    Conversation,
    Prompt,
    assistant,
    hole,
    ledger,
    request,
    session,
    static,
    system,
    tenant,
    user,
)
from stemfirst.savings import savings_of

pytestmark = pytest.mark.needs_server

TOOL = {
    "name": "search",
    "description": "Search the help centre.",
    "parameters": {"type": "object", "properties": {"limit": {"maximum": 2**63 - 1}}},
}


@pytest.fixture
def client(server) -> Iterator[Client]:
    with Client(base_url=server.base_url, api_key="sk-test", max_retries=0) as running:
        yield running


def policy(**options) -> Prompt:
    """A prompt that no other test has sent."""
    text = f"{uuid.uuid4()} You are the agent of a shop. " + "Be kind and brief. " * 60
    return Prompt(static(text, name="policy"), **options)


def test_the_server_is_recognised_and_names_its_model(client):
    capabilities = client.capabilities()
    assert capabilities.model == "stemfirst-demo"
    assert capabilities.page == 16
    assert "segments" in capabilities.features


def test_a_second_call_is_served_from_the_cache_by_tier(client):
    asked = policy(tools=[TOOL]).then(tenant("Plan: gold"), request(hole("question")))
    cold = client.ask(asked, question="Where?", max_tokens=1).savings
    warm = client.ask(asked, question="When?", max_tokens=1).savings
    assert cold.cached_tokens == 0
    # Other prompts may begin with the same digits.
    assert cold.missed.reason in ("first_seen", "prompt_changed")
    assert warm.cached_tokens % 16 == 0
    assert warm.cached_tokens > 0.9 * warm.prompt_tokens
    assert warm.tiers["static"].cached_tokens == warm.tiers["static"].prompt_tokens > 200
    assert warm.tiers["request"].cached_tokens == 0
    assert "noise" in warm.notice


def test_milliseconds_and_money_come_together_or_not_at_all(client):
    asked = policy().then(request("Where?"))
    for _ in range(2):
        saved = client.ask(asked, max_tokens=1).savings
    assert saved.time.prefill > 0
    if saved.prefill_ms_saved is None:  # a busy machine gave no fit yet
        assert saved.cost is None
        assert saved.unpriced
    else:
        assert saved.prefill_ms_saved.lo <= saved.prefill_ms_saved.est <= saved.prefill_ms_saved.hi
        assert saved.cost.without_cache > saved.cost.actual > 0


def test_a_miss_names_the_segment_and_the_line_that_changed(client):
    asked = policy()
    for plan in ("gold", "free"):
        line = 1 + test_a_miss_names_the_segment_and_the_line_that_changed.__code__.co_firstlineno
        changed = asked.then(tenant(f"Plan: {plan}", name="plan"), request("Where? " * 20))
        saved = client.ask(changed, max_tokens=1).savings
    assert (saved.missed.segment, saved.missed.tier.label) == ("plan", "tenant")
    assert (saved.missed.origin.path, saved.missed.origin.line) == (__file__, line + 3)
    start = len(asked.render().segments[-1].text)
    assert start < saved.missed.at.byte <= start + len("\n\nPlan: ")
    assert "were new with this tenant" in str(saved)
    window = saved.explain().splitlines()
    assert f"test_with_server.py:{line + 3}" in window[-4]
    assert "gold" in window[-3]
    assert "free" in window[-2]
    assert window[-2][window[-1].index("^") :].startswith("free")


def test_a_new_epoch_is_not_told_as_a_history_that_slid(client):
    told = []
    for compacts in (False, True):
        start = policy()
        talk = Conversation(start)
        for question in ("Where?", "When?"):
            turn = talk.turn(request(question))
            talk.add(turn, client.ask(turn, max_tokens=4))
        if compacts:
            talk.compact([{"role": "user", "content": "They asked where and when."}])
        else:
            talk = Conversation(start, talk.messages[2:])
        told.append(client.ask(talk.turn(request("Why?")), max_tokens=1).savings.missed)
    assert [missed is not None and missed.why is not None for missed in told] == [True, False]


def test_plain_messages_are_reported_too(client):
    text = policy().render().messages[0]["content"]
    messages = [{"role": "system", "content": text}, {"role": "user", "content": "Where?"}]
    for _ in range(2):
        completion = client.chat.completions.create(
            model="stemfirst-demo", messages=messages, max_tokens=1
        )
    saved = savings_of(completion)
    assert saved.cached_tokens > 0.9 * saved.prompt_tokens
    assert saved.tiers is None


def test_a_stream_reports_the_same_as_a_whole_answer(client):
    asked = policy().then(request("Tell me a story."))
    client.ask(asked, max_tokens=1)
    options = {"max_tokens": 8, "temperature": 0}
    whole = client.ask(asked, **options)
    with client.stream(asked, **options) as stream:
        text = "".join(stream)
    assert text == stream.text == whole.text
    assert stream.savings.is_complete
    for name in ("prompt_tokens", "cached_tokens", "output_tokens", "tiers", "segments", "missed"):
        assert getattr(stream.savings, name) == getattr(whole.savings, name), name


def test_a_conversation_only_pays_for_its_new_turn(client):
    asked, history = policy(), []
    saved = []
    for question in ("Where is my parcel, please?", "And when will it come?", "Thank you!"):
        turn = asked.then(session(history), request(question))
        answer = client.ask(turn, max_tokens=8)
        history += [{"role": "user", "content": question}, answer.message]
        saved.append(answer.savings)
    assert saved[0].cached_tokens < saved[1].cached_tokens < saved[2].cached_tokens
    assert saved[2].tiers["session"].cached_tokens > 0


def test_a_cut_stream_is_marked_and_the_next_call_works(client):
    asked = policy().then(request("Tell me a long story."))
    with ledger() as book:
        with client.stream(asked, max_tokens=400) as stream:
            next(iter(stream))
        assert client.ask(asked, max_tokens=1).savings.is_complete
    assert not stream.savings.is_complete
    assert (book.requests, book.totals.incomplete) == (2, 1)


def test_a_ledger_adds_up_what_the_calls_reported(client):
    asked = policy().then(request(hole("question")))
    with ledger("checkout") as book:
        calls = [client.ask(asked, question=item, max_tokens=1).savings for item in "abc"]
    assert book.prompt_tokens == sum(call.prompt_tokens for call in calls)
    assert book.cached_tokens == sum(call.cached_tokens for call in calls)
    assert book.hit_ratio > 0.6
    assert book.totals.timed == sum(call.prefill_ms_saved is not None for call in calls)


def test_calls_of_an_event_loop_share_their_prefix(server):
    asked = policy().then(request(hole("question")))

    async def work():
        async with AsyncClient(base_url=server.base_url, api_key="sk-test") as client:
            with ledger() as book:
                await client.ask(asked, question="0", max_tokens=1)
                await asyncio.gather(
                    *(client.ask(asked, question=f"{i}", max_tokens=1) for i in range(1, 5))
                )
        return book

    book = asyncio.run(work())
    assert book.requests == 5
    assert book.hit_ratio > 0.7


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(system(static("a"), tenant("é🙂"), separator=" / "), user(request("b"))),
        Prompt(
            static("a"), session([{"role": "user", "content": [{"type": "text", "text": "b"}]}])
        ),
        Prompt(user(static("a")), assistant(static("b")), user(request("c"))),
        Prompt(static("a" * 300), tools=[TOOL]).then(request("b")),
    ],
    ids=["separator", "parts", "few shots", "tools"],
)
def test_the_server_confirms_every_segment_of_any_shape_of_prompt(client, prompt):
    saved = client.ask(prompt, max_tokens=1).savings
    assert saved.segments is not None
    assert saved.segments.keys() == {segment.id for segment in prompt.render().segments}
