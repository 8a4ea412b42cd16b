"""What a stream adds up to: the message for the history, and the answer of a type."""

import asyncio

import pytest
from pydantic import BaseModel
from stemfirst import AsyncClient, Client, Conversation, Prompt, request, session, static
from stemfirst.errors import ClientError

POLICY = Prompt(static("You are a helpful agent."))
CALL = (
    {"role": "assistant", "content": ""},
    {"tool_calls": [{"index": 0, "id": "call-1", "type": "function",
                     "function": {"name": "find", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"order":'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": " 7}"}}]},
)  # fmt: skip


class Place(BaseModel):
    city: str


@pytest.fixture
def client(peer):
    with Client(base_url=peer.url, api_key="sk-test", max_retries=0) as made:
        yield made


def test_a_conversation_keeps_a_streams_message(client):
    talk = Conversation(POLICY)
    turn = talk.turn(request("Where is it?"))
    with client.stream(turn, model="m") as stream:
        with pytest.raises(ClientError, match="not read to its end"):
            talk.add(turn, stream)
        assert "".join(stream) == "Hello!"
    talk.add(turn, stream)
    assert talk.messages[-1] == {"role": "assistant", "content": "Hello!"}
    assert stream.message == client.ask(turn, model="m").message
    assert stream.parsed is None


def test_a_streams_tool_calls_go_into_the_history(peer, client):
    peer.deltas = CALL
    with client.stream(POLICY.then(request("Where is it?")), model="m") as stream:
        assert list(stream) == []
    called = {"name": "find", "arguments": '{"order": 7}'}
    assert stream.message == {
        "role": "assistant",
        "tool_calls": [{"id": "call-1", "type": "function", "function": called}],
    }
    result = {"role": "tool", "tool_call_id": "call-1", "content": "On its way."}
    again = POLICY.then(session([stream.message, result]), request("When?"))
    peer.deltas = ()
    client.ask(again, model="m")
    sent = peer.posts[-1].body["messages"][1]
    assert sent["tool_calls"] == stream.message["tool_calls"]


def test_a_cut_stream_has_no_message(peer, client):
    peer.cut_after, peer.ends_politely = 2, True
    with client.stream(POLICY.then(request("a")), model="m") as stream:
        assert "".join(stream) == "Hello"
    with pytest.raises(ClientError, match="not read to its end"):
        _ = stream.message


def test_a_stream_of_a_type_is_parsed_at_its_end(peer):
    peer.pieces = ('{"city"', ': "Oslo"}')
    asked = POLICY.then(request("Where?"))

    async def work():
        async with AsyncClient(base_url=peer.url, api_key="sk-test") as client:
            async with client.stream(asked, model="m", response_format=Place) as stream:
                text = "".join([piece async for piece in stream])
            return text, stream

    text, stream = asyncio.run(work())
    assert stream.parsed == Place(city="Oslo")
    assert stream.message == {"role": "assistant", "content": text}
