"""A long prefix is sent once and named afterwards; a name that nobody knows costs one more try."""

from __future__ import annotations

import asyncio
import json
import uuid

import openai
import pydantic
import pytest
from stemfirst import AsyncClient, Client, Prompt, hole, ledger, record, request, session, static
from stemfirst.chain import ChainKey
from stemfirst.conversation import Conversation
from stemfirst.references import LEAST_BYTES, MOST_UNKNOWN, prefixes_of

OURS = {"wire": 1, "model": "m", "features": ["segments", "prefix_refs"]}
TOOL = {"name": "search", "description": "Search.", "parameters": {"type": "object"}}
POLICY = Prompt(static("You are kind. " * 500, name="policy"), request(hole("q")), tools=[TOOL])


@pytest.fixture
def holding(peer):
    peer.capabilities, peer.held = OURS, {}
    return peer


@pytest.fixture
def client(holding):
    with Client(base_url=holding.url, api_key="sk", max_retries=2) as running:
        yield running


def size(seen) -> int:
    return len(json.dumps(seen.body))


def full(prompt: Prompt, **values) -> tuple:
    rendered = prompt.render(values)
    return rendered.messages, rendered.tools or None


def bodies(peer) -> list[tuple]:
    return [(body["messages"], body.get("tools")) for body in peer.whole]


def test_a_prefix_that_was_held_is_named(client, holding):
    for question in "abc":
        assert client.ask(POLICY, q=question).text
    assert [bool(item.body["stemfirst"].get("put")) for item in holding.posts] == [
        True,
        False,
        False,
    ]
    assert size(holding.posts[1]) < 1_000 < 7_000 < size(holding.posts[0])
    assert bodies(holding) == [full(POLICY, q=question) for question in "abc"]
    assert {item["at"][1] for item in holding.posts[1].body["stemfirst"]["segs"]} == {1}


def test_a_server_that_forgot_is_sent_everything_once(client, holding):
    client.ask(POLICY, q="a")
    holding.held.clear()
    with ledger() as book:
        answer = client.ask(POLICY, q="b")
    assert answer.savings.is_complete
    assert (book.requests, book.totals.failed) == (1, 0)
    assert len(holding.posts) == 3
    assert bodies(holding)[-1] == full(POLICY, q="b")
    client.ask(POLICY, q="c")  # held again
    assert size(holding.posts[-1]) < 1_000


def test_a_second_refusal_reaches_the_caller(client, holding):
    client.ask(POLICY, q="a")
    holding.held.clear()
    holding.failures = [409, 409, 409, 409]
    with ledger() as book, pytest.raises(openai.ConflictError):
        client.with_options(max_retries=0).ask(POLICY, q="b")
    assert (book.requests, book.totals.failed) == (1, 1)


def test_retries_of_the_package_go_on_as_they_do(client, holding):
    client.ask(POLICY, q="a")
    holding.failures = [503, 429]
    assert client.ask(POLICY, q="b").text
    assert [size(item) < 1_000 for item in holding.posts] == [False, True, True, True]


def test_streams_name_prefixes_too(client, holding):
    texts = []
    for question in "ab":
        with client.stream(POLICY, q=question) as stream:
            texts.append("".join(stream))
    holding.held.clear()
    with client.stream(POLICY, q="c") as stream:
        texts.append("".join(stream))
    assert texts == ["Hello!"] * 3
    assert bodies(holding) == [full(POLICY, q=question) for question in "abc"]
    assert size(holding.posts[1]) < 1_000


def test_an_event_loop_does_too(holding):
    async def work() -> None:
        async with AsyncClient(base_url=holding.url, api_key="sk") as client:
            await client.ask(POLICY, q="a")
            await asyncio.gather(*(client.ask(POLICY, q=question) for question in "bcd"))
            holding.held.clear()
            await client.ask(POLICY, q="e")

    asyncio.run(work())
    assert sorted(bodies(holding)[i][0][1]["content"] for i in range(5)) == list("abcde")
    assert sum(size(item) < 1_000 for item in holding.posts) == 4


class Place(pydantic.BaseModel):
    """What a structured answer is to be."""

    city: str


def test_structured_answers_name_prefixes_too(client, holding):
    bare = Prompt(static("You are kind. " * 500), request(hole("q")))
    holding.pieces = ('{"city": "Ulm"}',)
    for question in "ab":
        assert client.ask(bare, q=question, response_format=Place).parsed == Place(city="Ulm")
    holding.held.clear()
    assert client.ask(bare, q="c", response_format=Place).parsed == Place(city="Ulm")
    schema = {"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": "object"}}}
    client.ask(bare, q="d", response_format=schema)
    assert [size(item) < 1_500 for item in holding.posts] == [False, True, True, False, True]
    assert bodies(holding) == [full(bare, q=question) for question in "abcd"]


def test_structured_answers_of_a_prompt_with_tools_are_sent_whole(client, holding):
    """The openai package reads them by the tools in the call."""
    strict = Prompt(
        static("You are kind. " * 500),
        request(hole("q")),
        tools=[openai.pydantic_function_tool(Place)],
    )
    holding.pieces = ('{"city": "Ulm"}',)
    for question in "ab":
        assert client.ask(strict, q=question, response_format=Place).parsed == Place(city="Ulm")
    assert all("tools" in item.body for item in holding.posts)


def test_a_copy_of_a_client_knows_what_it_knows(client, holding):
    client.ask(POLICY, q="a")
    client.with_options(timeout=5).ask(POLICY, q="b")
    assert size(holding.posts[-1]) < 1_000


@pytest.mark.parametrize("change", ["key", "salt", "model"])
def test_another_tenant_salt_or_model_starts_anew(client, holding, change):
    client.ask(POLICY, q="a")
    other = client.with_options(api_key="sk-2") if change == "key" else client
    options = {
        "key": {},
        "salt": {"extra_body": {"cache_salt": "x"}},
        "model": {"model": "n"},
    }[change]
    other.ask(POLICY, q="b", **options)
    assert "ref" not in holding.posts[-1].body["stemfirst"]


def test_a_server_that_does_not_acknowledge_is_never_sent_a_name(client, holding):
    holding.held = None
    for question in "abc":
        client.ask(POLICY, q=question)
    assert all("ref" not in item.body["stemfirst"] for item in holding.posts)


def test_a_server_without_the_feature_is_not_asked_to_hold(peer):
    peer.capabilities = {**OURS, "features": ["segments"]}
    with Client(base_url=peer.url, api_key="sk") as client:
        client.ask(POLICY, q="a")
    assert "put" not in peer.posts[0].body["stemfirst"]


def test_a_name_is_not_believed_for_longer_than_it_lives(client, holding):
    holding.ttl_s = 1e-9
    for question in "ab":
        client.ask(POLICY, q=question)
    assert all("put" in item.body["stemfirst"] for item in holding.posts)


def test_a_short_prompt_is_sent_as_it_is(client, holding):
    client.ask(Prompt(static("x" * (LEAST_BYTES - 1)), request("a")))
    assert "put" not in holding.posts[0].body["stemfirst"]


def test_servers_behind_a_balancer_are_left_alone_after_a_few_unknown_names(client, holding):
    for number in range(2 * MOST_UNKNOWN):
        client.ask(POLICY, q=str(number))
        holding.held.clear()
    named = [item for item in holding.posts if "ref" in item.body["stemfirst"]]
    assert len(named) == MOST_UNKNOWN
    assert "put" not in holding.posts[-1].body["stemfirst"]


def test_a_conversation_is_named_as_it_grows(client, holding):
    talk = Conversation(Prompt(static("Rules. " * 200)))
    for number in range(12):
        turn = talk.turn(request(f"{number} " + "why? " * 200))
        answer = client.ask(turn)
        talk.add(turn, answer.message)
    last = turn.render().messages
    assert bodies(holding)[-1][0] == last
    puts = [item for item in holding.posts if "put" in item.body["stemfirst"]]
    assert 1 <= len(puts) < 6
    assert size(holding.posts[-1]) < len(json.dumps(last)) / 2


def test_a_recording_holds_the_whole_request(client, holding, tmp_path):
    file = tmp_path / "calls.jsonl"
    with record(file, text=True):
        for question in "ab":
            client.ask(POLICY, q=question)
    lines = [json.loads(line)["request"] for line in file.read_text().splitlines()]
    assert [line["messages"][0]["role"] for line in lines] == ["system", "system"]
    assert all(line["tools"] for line in lines)


def test_equal_text_has_one_mark_and_other_text_another():
    key = ChainKey.derive("sk")

    def marks(*history):
        prompt = Prompt(static("x" * 5_000), session(history), request("q"))
        return [item.mark for item in prefixes_of(prompt.render(), key)]

    one = {"role": "user", "content": "a"}
    assert marks(one) == marks(dict(one))
    assert marks(one)[0] == marks()[0]
    changes = (
        {"role": "assistant"},
        {"name": "x"},
        {"content": "b"},
        {"content": [{"type": "text", "text": "a"}]},
        {"content": None},
    )
    others = [{**one, **change} for change in changes]
    assert len({marks(item)[1] for item in [one, *others]}) == 6


@pytest.mark.needs_server
def test_the_bundled_server_answers_a_name_as_it_answers_the_text(server):
    text = f"{uuid.uuid4()} " + "Be kind and brief. " * 400
    asked = Prompt(static(text, name="policy"), request(hole("q")), tools=[TOOL])
    with Client(base_url=server.base_url, api_key=f"sk-{uuid.uuid4()}", max_retries=0) as client:
        if "prefix_refs" not in client.capabilities().features:
            pytest.skip("this server takes no references")
        saved = [
            client.ask(asked, q=q, max_tokens=1).savings for q in ("Where? " * 30, "When? " * 30)
        ]
        named = client._prefixes._known
        assert [item.until_s > 0 for item in named.values()] == [True]
        with Client(base_url=server.base_url, api_key=client.api_key) as plain:
            whole = plain.ask(asked, q="Wherefore? " * 30, max_tokens=1).savings
    assert saved[1].cached_tokens > 0.9 * saved[1].prompt_tokens
    assert saved[1].tiers.keys() == whole.tiers.keys()
    assert saved[1].missed.segment == whole.missed.segment
