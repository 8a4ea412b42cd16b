"""Existing clients of the packages openai and anthropic: watched, and otherwise as they were."""

import asyncio

import openai
import pytest
from stemfirst import Client, Prompt, instrument, ledger, process_ledger, request, sending, static
from stemfirst.entered import unrecorded
from stemfirst.errors import ClientError
from stemfirst.savings import savings_of

anthropic = pytest.importorskip("anthropic", reason="pip install anthropic")

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def plain(peer):
    with openai.OpenAI(base_url=peer.url, api_key="sk-test", max_retries=1) as client:
        yield client


@pytest.fixture
def claude(peer):
    url = peer.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="sk-test", max_retries=1) as client:
        yield client


def test_the_copy_sends_what_the_client_sends(peer, plain):
    arguments = {"model": "gpt-4o", "messages": MESSAGES, "extra_headers": {"x-app": "mine"}}
    plain.chat.completions.create(**arguments)
    instrument(plain).chat.completions.create(**arguments)
    first, second = peer.posts
    assert first.body == second.body
    changing = {"x-stainless-raw-response", "idempotency-key"}
    assert {k: v for k, v in first.headers.items() if k not in changing} == {
        k: v for k, v in second.headers.items() if k not in changing
    }
    assert not peer.probes


def test_the_client_itself_stays_as_it_was(plain):
    kind, method = type(plain), openai.OpenAI.request
    copied = instrument(plain)
    assert type(plain) is kind is openai.OpenAI
    assert openai.OpenAI.request is method
    assert isinstance(copied, openai.OpenAI)
    with ledger() as book:
        plain.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert book.requests == 0


def test_answers_carry_savings_and_are_counted(plain):
    with ledger() as book:
        completion = instrument(plain).chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert completion.savings.cached_tokens == 1_536
    assert (book.requests, book.cached_tokens) == (1, 1_536)
    assert "savings" not in completion.model_dump()


def test_streams_and_raw_responses_are_watched(plain):
    copied = instrument(plain)
    with ledger() as book:
        options = {"model": "gpt-4o", "messages": MESSAGES}
        stream = copied.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
        assert sum(1 for _ in stream) == 5
        raw = copied.chat.completions.with_raw_response.create(**options).parse()
        copied.responses.create(model="gpt-4o", input="Hello")
    assert savings_of(stream).cached_tokens == raw.savings.cached_tokens == 1_536
    assert (book.requests, book.totals.incomplete) == (3, 0)


def test_a_subclass_with_a_constructor_of_its_own_keeps_its_state(peer):
    class Tagged(openai.OpenAI):
        def __init__(self, *, tag: str, url: str) -> None:
            self.tag = tag
            super().__init__(base_url=url, api_key="sk-test")

    with Tagged(tag="shop", url=peer.url) as client:
        client.note = "kept"
        assert client.chat.completions  # made once, and bound to this client
        copied = instrument(client)
        assert (type(copied).__name__, copied.tag, copied.note) == ("Tagged", "shop", "kept")
        with ledger() as book:
            copied.chat.completions.create(model="gpt-4o", messages=MESSAGES)
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert book.requests == 1


def test_copies_of_the_copy_are_watched_too(plain):
    copied = instrument(instrument(plain)).with_options(max_retries=0)
    with ledger() as book:
        copied.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert book.requests == 1


def test_anthropics_answers_are_counted_with_what_was_read_and_written(claude):
    with ledger() as book:
        message = instrument(claude).messages.create(
            model="claude-opus-5-5", max_tokens=8, messages=MESSAGES
        )
    saved = message.savings
    assert (saved.prompt_tokens, saved.cached_tokens, saved.written_tokens) == (2_000, 1_536, 400)
    assert saved.output_tokens == 3
    assert book.cached_tokens == 1_536


@pytest.mark.parametrize("way", ["stream", "create"])
def test_anthropics_streams_are_watched_to_their_end(claude, way):
    copied = instrument(claude)
    options = {"model": "claude-opus-5-5", "max_tokens": 8, "messages": MESSAGES}
    with ledger() as book:
        if way == "stream":
            with copied.messages.stream(**options) as stream:
                assert "".join(stream.text_stream) == "Hello!"
                final = stream.get_final_message()
            assert savings_of(final) is book.entries[0].savings
        else:
            kinds = [event.type for event in copied.messages.create(**options, stream=True)]
            assert kinds[-1] == "message_stop"
    saved = book.entries[0].savings
    assert (saved.prompt_tokens, saved.cached_tokens, saved.output_tokens) == (2_000, 1_536, 3)
    assert saved.is_complete
    assert book.totals.incomplete == 0


def test_a_stream_that_is_left_early_is_marked(claude):
    options = {"model": "claude-opus-5-5", "max_tokens": 8, "messages": MESSAGES}
    with ledger() as book, instrument(claude).messages.stream(**options) as stream:
        next(iter(stream))
    assert book.totals.incomplete == 1
    assert not book.entries[0].savings.is_complete


def test_event_loops_are_watched_as_well(peer):
    async def work():
        url = peer.url.removesuffix("/v1")
        async with (
            openai.AsyncOpenAI(base_url=peer.url, api_key="sk") as plain,
            anthropic.AsyncAnthropic(base_url=url, api_key="sk") as claude,
        ):
            with ledger() as book:
                await instrument(plain).chat.completions.create(model="gpt-4o", messages=MESSAGES)
                options = {"model": "claude-opus-5-5", "max_tokens": 8, "messages": MESSAGES}
                async with instrument(claude).messages.stream(**options) as stream:
                    assert await stream.get_final_text() == "Hello!"
        return book

    book = asyncio.run(work())
    assert (book.requests, book.cached_tokens, book.totals.incomplete) == (2, 3_072, 0)


def test_retries_count_as_one_call_and_errors_as_failed(peer, plain):
    copied = instrument(plain)
    peer.failures = [500]
    with ledger() as book:
        copied.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert (book.requests, book.totals.failed) == (1, 0)
    peer.failures = [400]
    with ledger() as book, pytest.raises(openai.BadRequestError):
        copied.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert (book.requests, book.totals.failed) == (1, 1)


def test_a_prompt_that_is_named_is_known_to_the_ledger(claude):
    rendered = Prompt(static("Be kind.", name="policy"), request("Hello")).render()
    with ledger() as book, sending(rendered):
        instrument(claude).messages.create(
            model="claude-opus-5-5", max_tokens=8, **rendered.anthropic()
        )
    assert list(book.by_prompt()) == ["policy"]
    assert book.by_prompt()["policy"].cached_tokens == 1_536


def test_the_process_has_a_ledger_of_its_own(peer, plain):
    everything = process_ledger()
    before = everything.requests
    copied = instrument(plain)
    copied.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    with ledger() as book:
        copied.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    with unrecorded():
        copied.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert (everything.requests - before, book.requests) == (2, 1)
    assert process_ledger() is everything


@pytest.mark.parametrize("platform", ["azure", "vertex"])
def test_clients_of_cloud_platforms_are_watched_too(peer, platform):
    root = peer.url.removesuffix("/v1")
    with ledger() as book:
        if platform == "azure":
            with openai.AzureOpenAI(
                base_url=peer.url, api_key="k", api_version="2024-10-21"
            ) as azure:
                copied = instrument(azure)
                assert type(copied).__module__ == type(azure).__module__
                copied.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        else:
            pytest.importorskip("google.auth", reason="pip install google-auth")
            vertex = anthropic.AnthropicVertex(
                base_url=root, project_id="p", region="eu", access_token="t"
            )
            with vertex, pytest.raises(anthropic.NotFoundError):
                instrument(vertex).messages.create(
                    model="claude-opus-5-5", max_tokens=8, messages=MESSAGES
                )
    assert book.requests == 1


def test_our_own_client_may_be_instrumented_again(peer):
    with Client(base_url=peer.url, api_key="sk") as client, ledger() as book:
        instrument(client).ask(Prompt(request("a")), model="m")
    assert book.requests == 1


@pytest.mark.parametrize("thing", [object(), "client", openai.Stream], ids=repr)
def test_other_things_are_refused_with_the_way_out(thing):
    with pytest.raises(ClientError, match="savings_of"):
        instrument(thing)
