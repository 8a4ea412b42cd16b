"""The clients: plain with strangers, open with our own server, and never in the app's way."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import openai
import pytest
from stemfirst import AsyncClient, Client, Prompt, hole, ledger, request, session, static, tenant
from stemfirst.asking import affinity_of
from stemfirst.chain import ChainKey
from stemfirst.errors import ClientError, MissingValueError, PromptError
from stemfirst.ledgers import Status
from stemfirst.savings import Savings, savings_of
from stemfirst.wire import hint_from_json, links_of, prefix_from_header, prompt_hint

OURS = {"wire": 1, "model": "stemfirst-demo", "page": 16, "features": ["segments"]}
REPORT = {
    "v": 1,
    "prompt_tokens": 2_000,
    "cached_tokens": 1_536,
    "computed_tokens": 464,
    "time": {
        "queue": 0.1,
        "prefill": 40.0,
        "load": 0.0,
        "ttft": 42.0,
        "decode": 9.0,
        "tpot": 3.0,
        "prefill_ms_saved": {"est": 120.0, "lo": 110.0, "hi": 131.0, "n": 40, "error": 0.03},
    },
    "missed": {
        "tokens": 464,
        "reason": "diverged",
        "at": {"token": 1_540, "path": ["messages", 1, "content"], "byte": 3, "segment": "s2"},
    },
    "cost": {"actual": 0.0001, "without_cache": 0.0004, "saved": 0.0003, "basis": "GPU hour"},
    "notice": "noise",
}


def prompt() -> Prompt:
    return Prompt(static("You are helpful."), tenant("Plan: gold")).then(request(hole("question")))


opened = ExitStack()


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    opened.close()


def client_of(peer, **options) -> Client:
    return opened.enter_context(Client(base_url=peer.url, api_key="sk-test", **options))


async def with_async_client(peer, work):
    async with AsyncClient(base_url=peer.url, api_key="sk-test") as client:
        return await work(client)


# A server that is not ours.


def test_ask_sends_the_rendered_prompt_and_returns_the_text(peer):
    answer = client_of(peer).ask(prompt(), model="m", question="Where?", temperature=0)
    assert answer.text == "Hello!"
    assert str(answer) == "Hello!"
    assert answer.raw.choices[0].finish_reason == "stop"
    assert answer.message == {"role": "assistant", "content": "Hello!"}
    (post,) = peer.posts
    assert post.path == "/v1/chat/completions"
    assert post.body == {
        "model": "m",
        "temperature": 0,
        "messages": [
            {"role": "system", "content": "You are helpful.\n\nPlan: gold"},
            {"role": "user", "content": "Where?"},
        ],
    }


def test_a_server_that_is_not_ours_gets_no_field_and_no_header_of_ours(peer):
    client_of(peer).ask(prompt(), model="m", question="Where?", session_id="s-1")
    (post,) = peer.posts
    assert "stemfirst" not in post.body
    assert not [name for name in post.headers if "stemfirst" in name or name == "x-session-id"]


@pytest.mark.parametrize(
    "answer",
    [
        "<html>welcome</html>",
        {"wire": 2},
        {"v": 1},
        {"wire": True},
        {"hello": "world"},
        {"wire": "1"},
        {},
    ],
    ids=str,
)
def test_an_answer_that_only_looks_like_ours_means_plain_behaviour(peer, answer):
    peer.capabilities = answer
    client = client_of(peer)
    client.ask(prompt(), model="m", question="Where?")
    assert client.capabilities() is None
    assert "stemfirst" not in peer.posts[0].body


def test_savings_come_from_the_usage_of_any_server(peer):
    saved = client_of(peer).ask(prompt(), model="m", question="?").savings
    assert (saved.prompt_tokens, saved.cached_tokens, saved.computed_tokens) == (2_000, 1_536, 464)
    assert saved.hit_ratio == 0.768
    assert saved.cost is None
    assert "127.0.0.1" in saved.unpriced


def test_what_a_server_does_not_report_is_none_and_not_zero(peer):
    peer.usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    saved = client_of(peer).ask(prompt(), model="m", question="?").savings
    assert saved.prompt_tokens == 10
    assert saved.cached_tokens is None
    assert saved.hit_ratio is None


def test_a_plain_request_is_sent_byte_for_byte_as_the_openai_package_sends_it(peer):
    messages = [{"role": "user", "content": "hi"}]
    with openai.OpenAI(base_url=peer.url, api_key="sk-test") as theirs:
        theirs.chat.completions.create(model="m", messages=messages, seed=1)
    client_of(peer).chat.completions.create(model="m", messages=messages, seed=1)
    expected, sent = peer.posts
    assert sent.body == expected.body
    assert sent.headers.keys() == expected.headers.keys()
    assert sent.headers["user-agent"] == expected.headers["user-agent"]
    assert not peer.probes


def test_a_plain_response_carries_savings_beside_its_fields(peer):
    completion = client_of(peer).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}]
    )
    assert completion.savings.cached_tokens == 1_536
    assert savings_of(completion) is completion.savings
    assert "savings" not in completion.model_dump()
    assert "savings" not in completion.to_json()
    assert type(completion) is openai.types.chat.ChatCompletion
    assert completion.model_copy().savings == completion.savings


def test_raw_and_streaming_responses_carry_savings_when_they_are_parsed(peer):
    client = client_of(peer)
    ask = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    with ledger() as book:
        raw = client.chat.completions.with_raw_response.create(**ask)
        assert raw.headers["content-type"] == "application/json"
        assert savings_of(raw.parse()).cached_tokens == 1_536
        with client.chat.completions.with_streaming_response.create(**ask) as response:
            assert savings_of(response.parse()).cached_tokens == 1_536
    assert (book.requests, book.cached_tokens) == (2, 3_072)


def test_structured_output_keeps_its_savings(peer):
    import pydantic

    class Place(pydantic.BaseModel):
        city: str

    peer.pieces = ('{"city": "Ulm"}',)
    with ledger() as book:
        parsed = client_of(peer).chat.completions.parse(
            model="m", messages=[{"role": "user", "content": "hi"}], response_format=Place
        )
    assert parsed.choices[0].message.parsed == Place(city="Ulm")
    assert savings_of(parsed).cached_tokens == book.cached_tokens == 1_536


def test_ask_gives_an_answer_of_the_type_that_was_asked_for(peer):
    import pydantic

    class Place(pydantic.BaseModel):
        city: str

    peer.pieces = ('{"city":', ' "Ulm"}')
    with Client(base_url=peer.url, api_key="sk-test") as client:
        answer = client.ask(Prompt(request("Where?")), model="m", response_format=Place)
        plain = client.ask(Prompt(request("Where?")), model="m")
    assert answer.parsed == Place(city="Ulm")
    assert peer.posts[0].body["response_format"]["type"] == "json_schema"
    assert answer.message == {"role": "assistant", "content": '{"city": "Ulm"}'}
    assert answer.savings.cached_tokens == 1_536
    assert plain.parsed is None


def test_a_stream_of_a_type_is_asked_for_by_its_schema(peer):
    import pydantic

    class Place(pydantic.BaseModel):
        city: str

    peer.pieces = ('{"city":', ' "Ulm"}')
    with (
        Client(base_url=peer.url, api_key="sk-test") as client,
        client.stream(Prompt(request("Where?")), model="m", response_format=Place) as stream,
    ):
        assert Place.model_validate_json("".join(stream)) == Place(city="Ulm")
    assert peer.posts[0].body["response_format"]["type"] == "json_schema"


def test_the_responses_api_is_watched_too(peer):
    client = client_of(peer)
    with ledger() as book:
        response = client.responses.create(model="m", input="hi")
        stream = client.responses.create(model="m", input="hi", stream=True)
        kinds = [event.type for event in stream]
        cut = client.responses.create(model="m", input="hi", stream=True)
        next(iter(cut))
        cut.close()
    assert response.output_text == "Hello!"
    assert savings_of(response).cached_tokens == stream.savings.cached_tokens == 1_536
    assert kinds[-1] == "response.completed"
    assert [entry.status.value for entry in book.entries] == ["complete", "complete", "cut off"]


def test_errors_and_retries_are_those_of_the_openai_package(peer):
    peer.failures = [503, 429]
    with ledger() as book:
        answer = client_of(peer, max_retries=2).ask(prompt(), model="m", question="?")
    assert answer.text == "Hello!"
    assert len(peer.posts) == 3
    assert book.requests == 1
    peer.failures = [400]
    with ledger() as book, pytest.raises(openai.BadRequestError, match="try again"):
        client_of(peer).ask(prompt(), model="m", question="?")
    assert book.totals.failed == 1


# Our own server.


def test_our_server_gets_the_segments_and_the_chain(peer):
    peer.capabilities = OURS
    client_of(peer).ask(prompt(), question="Where?")
    (post,) = peer.posts
    assert post.body["model"] == "stemfirst-demo"
    hint = hint_from_json(post.body["stemfirst"])
    assert [(item.tier.label, item.at) for item in hint.segments] == [
        ("static", ("messages", 0, "content")),
        ("tenant", ("messages", 0, "content")),
        ("request", ("messages", 1, "content")),
    ]
    prefix = prefix_from_header(post.headers["x-stemfirst-prefix"])
    assert prefix.key_id == hint.key_id == ChainKey.derive("sk-test").id
    assert len(prefix.links) == 3
    assert post.headers["x-session-id"] == prefix.links[1]


def test_source_paths_and_the_key_stay_at_home(peer):
    peer.capabilities = OURS
    client_of(peer).ask(prompt(), question="Where?")
    (post,) = peer.posts
    hints = {name: value for name, value in post.headers.items() if name.startswith("x-")}
    assert "test_client" not in f"{post.body}{hints}"
    assert "sk-test" not in f"{post.body}{hints}"


def test_the_apps_own_headers_and_body_fields_are_never_overwritten(peer):
    peer.capabilities = OURS
    client = client_of(peer, default_headers={"X-Session-Id": "mine"})
    client.ask(
        prompt(),
        question="?",
        session_id="ignored",
        extra_headers={"X-Stemfirst-Prefix": "mine too"},
        extra_body={"stemfirst": {"v": 0}, "cache_salt": "a"},
    )
    (post,) = peer.posts
    assert post.headers["x-session-id"] == "mine"
    assert post.headers["x-stemfirst-prefix"] == "mine too"
    assert post.body["stemfirst"] == {"v": 0}
    assert post.body["cache_salt"] == "a"


def test_a_session_id_becomes_the_affinity_header(peer):
    peer.capabilities = OURS
    client_of(peer).ask(prompt(), question="?", session_id="conversation-7")
    assert peer.posts[0].headers["x-session-id"] == "conversation-7"


def test_the_report_is_mapped_back_to_the_line_that_built_the_segment(peer):
    peer.capabilities = OURS
    peer.report = REPORT
    saved = client_of(peer).ask(prompt(), question="?").savings
    assert saved.missed.tier.label == "request"
    assert saved.missed.origin.path == __file__
    assert saved.missed.origin.line == prompt.__code__.co_firstlineno + 1
    assert saved.prefill_ms_saved.est == 120.0
    assert saved.cost.saved == 0.0003
    assert saved.notice == "noise"
    assert "464 were new with this request" in str(saved)


def test_a_change_before_the_requests_own_text_is_said_with_its_line(peer):
    peer.capabilities = OURS
    place = {**REPORT["missed"]["at"], "segment": "s1"}
    peer.report = {**REPORT, "missed": {**REPORT["missed"], "at": place}}
    saved = client_of(peer).ask(prompt(), question="?").savings
    assert saved.missed.tier.label == "tenant"
    line = prompt.__code__.co_firstlineno + 1
    assert "464 were read again, because diverged at token 1,540 in tenant text" in str(saved)
    assert f"(`tests/sdk/test_client.py:{line}`)" in str(saved)


def test_a_plain_request_after_a_prompt_is_not_mapped_to_that_prompt(peer):
    peer.capabilities = OURS
    peer.report = REPORT
    client = client_of(peer)
    client.ask(prompt(), question="?")
    plain = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
    assert savings_of(plain).missed.at.segment == "s2"
    assert savings_of(plain).missed.origin is None


@pytest.mark.parametrize(
    "report",
    [{"v": 1}, {"v": 9}, {**REPORT, "time": None}, {**REPORT, "prompt_tokens": "many"}, "x"],
    ids=["empty", "later version", "no times", "a word for a number", "a string"],
)
def test_a_report_that_cannot_be_read_leaves_the_usage(peer, report):
    peer.report = report
    saved = client_of(peer).ask(prompt(), model="m", question="?").savings
    assert saved.cached_tokens == 1_536
    assert saved.time is None


def test_a_server_is_asked_once_whether_it_is_ours(peer):
    client = client_of(peer)
    for _ in range(3):
        client.ask(prompt(), model="m", question="?")
    client.with_options(timeout=5).ask(prompt(), model="m", question="?")
    client.copy(max_retries=0).ask(prompt(), model="m", question="?")
    assert len(peer.probes) == 1


def test_with_options_keeps_the_kind_of_client_and_what_it_knows(peer):
    peer.capabilities = OURS
    client = client_of(peer)
    client.ask(prompt(), question="?")
    copied = client.with_options(timeout=5)
    assert type(copied) is Client
    assert copied.timeout == 5
    copied.ask(prompt(), question="?")
    assert "stemfirst" in peer.posts[1].body
    assert len(peer.probes) == 1


def test_a_copy_for_another_server_asks_that_server(peer):
    peer.capabilities = OURS
    with type(peer)() as stranger:
        client = client_of(peer)
        client.ask(prompt(), question="?")
        client.with_options(base_url=stranger.url).ask(prompt(), model="m", question="?")
        assert len(stranger.probes) == 1
        assert "stemfirst" not in stranger.posts[0].body


def test_a_failed_call_says_so_of_no_stream(peer):
    peer.failures = [400]
    with ledger() as book, pytest.raises(openai.BadRequestError):
        client_of(peer).ask(prompt(), model="m", question="?")
    assert "stream" not in str(book.entries[0].savings)
    assert "the call ended before its usage came" in str(book.entries[0].savings)


def test_a_model_must_be_named_where_the_server_names_none(peer):
    with pytest.raises(ClientError, match="which model"):
        client_of(peer).ask(prompt(), question="?")


# Arguments.


def test_a_missing_value_is_named(peer):
    with pytest.raises(MissingValueError, match="question"):
        client_of(peer).ask(prompt(), model="m", temperature=0)
    assert not peer.seen


def test_an_unknown_option_is_refused_as_by_the_openai_package(peer):
    with pytest.raises(TypeError, match="temprature"):
        client_of(peer).ask(prompt(), model="m", question="?", temprature=0)


def test_a_misspelt_value_is_told_with_the_holes(peer):
    with pytest.raises(TypeError, match=r"'questoin' is no option .* has the holes? .*question.*"):
        client_of(peer).ask(prompt(), model="m", questoin="?")
    assert not peer.seen


def test_a_hole_named_like_an_option_gets_its_value_from_values(peer):
    asked = Prompt(static("You are helpful.")).then(request(hole("user")))
    with pytest.raises(ClientError, match="values="):
        client_of(peer).ask(asked, model="m", user="Ann")
    client_of(peer).ask(asked, model="m", values={"user": "Ann"})
    assert peer.posts[0].body["messages"][1]["content"] == "Ann"


@pytest.mark.parametrize("name", ["messages", "tools", "stream"])
def test_what_belongs_elsewhere_is_refused_with_the_place(peer, name):
    with pytest.raises(ClientError):
        client_of(peer).ask(prompt(), model="m", question="?", **{name: []})


def test_a_rendered_prompt_can_be_sent(peer):
    rendered = prompt().render(question="Where?")
    assert client_of(peer).ask(rendered, model="m").text == "Hello!"
    with pytest.raises(ClientError, match="rendered already"):
        client_of(peer).ask(rendered, model="m", values={"question": "?"})


def test_a_turn_goes_back_into_the_history_as_it_was(peer):
    client = client_of(peer)
    policy = Prompt(static("You are helpful."))
    history = [{"role": "user", "content": "Where?"}]
    answer = client.ask(policy.then(session(history)), model="m")
    history.append(answer.message)
    client.ask(policy.then(session(history), request("And why?")), model="m")
    first, second = peer.posts
    assert second.body["messages"][: len(first.body["messages"])] == first.body["messages"]
    assert second.body["messages"][2:] == [
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "And why?"},
    ]


# Streams.


def test_a_stream_gives_text_as_it_comes_and_savings_at_its_end(peer):
    peer.capabilities = OURS
    peer.report = REPORT
    with client_of(peer).stream(prompt(), question="?") as answer:
        pieces = iter(answer)
        assert next(pieces) == "Hel"
        assert not answer.savings.is_complete
        assert list(pieces) == ["lo", "!"]
    assert answer.text == "Hello!"
    assert answer.savings.is_complete
    assert answer.savings.missed.origin.path == __file__


def test_a_stream_asks_for_usage_unless_the_caller_said_otherwise(peer):
    client = client_of(peer)
    list(client.stream(prompt(), model="m", question="?"))
    silent = client.stream(
        prompt(), model="m", question="?", stream_options={"include_usage": False}
    )
    list(silent)
    assert peer.posts[0].body["stream_options"] == {"include_usage": True}
    assert silent.savings.is_complete
    assert silent.savings.prompt_tokens is None


def test_a_plain_stream_is_still_the_openai_packages_stream(peer):
    stream = client_of(peer).chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    assert isinstance(stream, openai.Stream)
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello!"
    assert stream.savings.cached_tokens == 1_536


def test_the_openai_packages_stream_helper_still_works(peer):
    with (
        ledger() as book,
        client_of(peer).chat.completions.stream(
            model="m",
            messages=[{"role": "user", "content": "hi"}],
            stream_options={"include_usage": True},
        ) as stream,
    ):
        events = [event.type for event in stream]
    assert events.count("content.delta") == 3
    assert book.cached_tokens == 1_536


def test_a_loop_that_stops_at_the_last_chunk_counts_as_complete(peer):
    with ledger() as book:
        for chunk in client_of(peer).stream(prompt(), model="m", question="?").raw:
            if chunk.usage:
                break
    assert book.totals.incomplete == 0
    assert book.cached_tokens == 1_536


def test_a_stream_that_the_reader_leaves_is_marked_incomplete(peer):
    with ledger() as book:
        with client_of(peer).stream(prompt(), model="m", question="?") as answer:
            for _ in answer:
                break
        assert answer.text == "Hel"
        assert not answer.savings.is_complete
    assert [entry.status for entry in book.entries] == [Status.CUT_OFF]
    assert book.totals.incomplete == 1
    assert "incomplete" in str(book)


def test_a_stream_dropped_without_a_word_is_marked_incomplete(peer):
    with ledger() as book:
        dropped = client_of(peer).stream(prompt(), model="m", question="?")
        next(iter(dropped))
    assert book.totals.incomplete == 1


def test_a_stream_that_ends_before_the_model_has_finished_is_marked(peer):
    peer.cut_after, peer.ends_politely = 2, True
    answer = client_of(peer).stream(prompt(), model="m", question="?")
    assert list(answer) == ["Hel", "lo"]
    assert not answer.savings.is_complete


def test_a_stream_that_breaks_gives_its_partial_text_and_is_marked(peer):
    peer.cut_after = 2
    with ledger() as book:
        answer = client_of(peer).stream(prompt(), model="m", question="?")
        with pytest.raises(openai.APIConnectionError):
            list(answer)
    assert answer.text == "Hello"
    assert not answer.savings.is_complete
    assert book.totals.incomplete == 1
    assert "ended before its usage came" in str(answer.savings)


# The async client; what differs from the sync one.


def test_the_async_client_asks_and_streams_too(peer):
    peer.capabilities = OURS
    peer.report = REPORT

    async def work(client):
        with ledger() as book:
            answer = await client.ask(prompt(), question="?")
            async with client.stream(prompt(), question="?") as stream:
                pieces = [piece async for piece in stream]
            copied = client.with_options(timeout=3)
            await copied.ask(prompt(), question="?")
        return answer, pieces, stream, book

    answer, pieces, stream, book = asyncio.run(with_async_client(peer, work))
    assert answer.text == stream.text == "".join(pieces) == "Hello!"
    assert answer.savings.missed.origin == stream.savings.missed.origin
    assert book.requests == 3
    assert book.cached_tokens == 3 * 1_536
    assert len(peer.probes) == 1
    assert all("stemfirst" in post.body for post in peer.posts)


@pytest.mark.parametrize("how", ["awaited", "awaited and entered", "entered", "read at once"])
def test_an_async_stream_is_used_as_one_likes_and_sent_once(peer, how):
    async def work(client):
        stream = client.stream(prompt(), model="m", question="?")
        assert not peer.posts
        with pytest.raises(ClientError, match="has not begun"):
            _ = stream.raw
        if how == "awaited":
            stream = await stream
        if how == "awaited and entered":
            async with await stream as stream:
                pass
        elif how == "entered":
            async with stream:
                return "".join([piece async for piece in stream])
        else:
            return "".join([piece async for piece in stream])
        return "Hello!"

    assert asyncio.run(with_async_client(peer, work)) == "Hello!"
    assert len(peer.posts) == 1


def test_half_a_surrogate_pair_is_named_before_it_is_sent(peer):
    asked = Prompt(static("ok"), request(hole("question"), name="question"))
    client = client_of(peer)
    with pytest.raises(PromptError, match=r"question \(built at .*\.py:\d+\) holds half"):
        client.ask(asked, model="m", question="a\ud83d")

    async def work(client):
        await client.stream(asked, model="m", question="a\ud83d")

    with pytest.raises(PromptError, match=r"'\\ud83d' at character 1"):
        asyncio.run(with_async_client(peer, work))
    assert not peer.posts


def test_a_cancelled_stream_is_marked_incomplete(peer):
    peer.cut_after, peer.stalls = 2, True

    async def work(client):
        with ledger() as book:
            stream = await client.stream(prompt(), model="m", question="?")

            async def read():
                async for _ in stream:
                    if stream.text == "Hello":
                        reading.set()

            reading = asyncio.Event()
            task = asyncio.create_task(read())
            await reading.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return stream, book

    stream, book = asyncio.run(with_async_client(peer, work))
    assert stream.text == "Hello"
    assert not stream.savings.is_complete
    assert book.totals.incomplete == 1


def test_tasks_that_share_a_client_keep_their_prompts_apart(peer):
    peer.capabilities = OURS
    peer.report = REPORT

    async def work(client):
        asked = [Prompt(static("a"), static("b"), request(f"q{i}", name=f"n{i}")) for i in range(9)]
        answers = await asyncio.gather(*(client.ask(item) for item in asked))
        return [answer.savings.missed.segment for answer in answers]

    assert asyncio.run(with_async_client(peer, work)) == [f"n{i}" for i in range(9)]


def test_threads_may_share_a_client(peer):
    peer.capabilities = OURS
    peer.report = REPORT
    client = client_of(peer)
    names: dict[int, str] = {}
    book = ledger()

    def work(number):
        with book:
            asked = Prompt(static("a"), static("b"), request("q", name=f"n{number}"))
            names[number] = client.ask(asked).savings.missed.segment

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == {number: f"n{number}" for number in range(8)}
    assert book.requests == 8


# Affinity.


def affinity(asked: Prompt, key: str = "k", **values: str) -> str:
    chain_key = ChainKey.derive(key)
    hint = prompt_hint(asked.render(values), chain_key)
    return affinity_of(hint, links_of(hint, chain_key))


def test_requests_of_one_tenant_stay_together():
    assert affinity(prompt(), question="a") == affinity(prompt(), question="b")
    other = Prompt(static("You are helpful."), tenant("Plan: free")).then(request("a"))
    assert affinity(other) != affinity(prompt(), question="a")


def test_a_conversation_stays_where_it_began():
    policy = Prompt(static("You are helpful."))
    first = policy.then(session([{"role": "user", "content": "Where?"}]))
    later = policy.then(
        session([{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Ulm"}]),
        request("Why?"),
    )
    assert affinity(first) == affinity(later)
    assert affinity(first) != affinity(policy.then(session([{"role": "user", "content": "Who?"}])))


def test_the_affinity_differs_between_keys():
    assert affinity(prompt(), "k", question="a") != affinity(prompt(), "other", question="a")


def test_the_savings_of_a_call_can_be_compared():
    assert Savings() == Savings()


# Event loops.


def test_event_loops_share_a_client(peer):
    """A connection that is kept alive belongs to its loop; each loop gets its own."""
    client = AsyncClient(base_url=peer.url, api_key="sk-test", max_retries=0)

    async def ask() -> str:
        return (await client.ask(prompt(), model="m", question="?")).text

    with closing(asyncio.new_event_loop()) as first, closing(asyncio.new_event_loop()) as second:
        texts = [loop.run_until_complete(ask()) for loop in (first, second, first, second)]
        second.run_until_complete(client.close())
        texts.append(first.run_until_complete(ask()))
        texts.append(second.run_until_complete(ask()))
        second.run_until_complete(client.close())
        first.run_until_complete(client.close())
        assert client.is_closed()
    assert len(set(texts)) == 1


def test_threads_with_a_loop_each_share_a_client(peer):
    client = AsyncClient(base_url=peer.url, api_key="sk-test", max_retries=0)
    answered: list[str] = []

    async def ask() -> None:
        answers = [await client.ask(prompt(), model="m", question="?") for _ in range(3)]
        answered.extend(answer.text for answer in answers)
        await client.close()

    threads = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answered) == 12
