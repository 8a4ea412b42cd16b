"""The prompt model: immutable, in order, and rendered so that each byte has its segment."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst import (
    Hole,
    InversionError,
    MissingValueError,
    Prompt,
    PromptError,
    Rendered,
    Segment,
    Tier,
    assistant,
    hole,
    request,
    session,
    static,
    system,
    tenant,
    tool,
    user,
    volatile,
)

texts = st.text(st.sampled_from('ab \n{}"\\é🙂'), max_size=6)
tiers = st.sampled_from(Tier)
contents = texts | st.just(Hole("x"))
loose = st.builds(Segment, tiers, contents)
groups = st.lists(loose, max_size=4).map(lambda items: sorted(items, key=lambda item: item.tier))
messages_of_history = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "tool"]),
            "content": st.none()
            | texts
            | st.lists(
                st.fixed_dictionaries({"type": st.just("text"), "text": texts})
                | st.fixed_dictionaries({"type": st.just("image_url"), "image_url": texts}),
                max_size=3,
            ),
        },
        optional={"name": texts, "tool_calls": st.lists(st.dictionaries(texts, texts), max_size=1)},
    ),
    max_size=3,
)
RANKED = st.lists(st.lists(loose, min_size=1, max_size=3), max_size=3)


def in_order(parts):
    return sorted(parts, key=lambda item: item.tier)


def value_at(body, path):
    for step in path:
        body = body[step]
    return body


@st.composite
def prompts(draw):
    before = in_order(draw(groups))
    history = draw(messages_of_history) if all(s.tier <= Tier.SESSION for s in before) else []
    last = before[-1].tier if before else Tier.STATIC
    if history:
        last = max(last, Tier.SESSION)
    after = [item for item in in_order(draw(groups)) if item.tier >= last]
    return Prompt(*before, session(history), *after, tools=draw(tools))


tools = st.lists(st.sampled_from("fgh"), unique=True, max_size=2).map(
    lambda names: [tool({"name": name, "parameters": {"b": 1, "a": 2}}) for name in names]
)


def rendered(prompt: Prompt, value: str = "v") -> Rendered:
    asks = any(
        isinstance(segment.content, Hole)
        for message in prompt.messages
        for segment in message.segments
    )
    return prompt.render({"x": value} if asks else {})


@given(prompts(), texts)
def test_the_segments_tile_every_string_that_is_sent(prompt, value):
    sent = rendered(prompt, value)
    body = sent.openai()
    joined: dict[tuple, str] = {}
    for segment in sent.segments:
        joined[segment.at] = joined.get(segment.at, "") + segment.text
    for path, text in joined.items():
        found = value_at(body, path)
        assert text == found if isinstance(found, str) else json.loads(text) == found
    strings = {
        ("messages", index, "content")
        for index, message in enumerate(body["messages"])
        if isinstance(message["content"], str)
    }
    assert strings <= joined.keys()


@given(prompts(), texts)
def test_ids_are_unique_and_tools_come_first(prompt, value):
    segments = rendered(prompt, value).segments
    assert len({segment.id for segment in segments}) == len(segments)
    kinds = [segment.is_tool for segment in segments]
    assert kinds == sorted(kinds, reverse=True)


@given(messages_of_history)
def test_a_history_is_sent_as_it_was_given(history):
    sent = Prompt(static("a"), session(history)).render().messages[1:]
    assert sent == history


@given(prompts(), st.lists(st.builds(Segment, st.just(Tier.VOLATILE), texts), max_size=2))
def test_a_longer_prompt_begins_with_the_shorter(prompt, more):
    short, long = rendered(prompt), rendered(prompt.then(*more))
    assert [(s.at, s.text) for s in long.segments[: len(short.segments)]] == [
        (s.at, s.text) for s in short.segments
    ]


@given(prompts())
def test_a_prompt_is_a_value(prompt):
    twin = Prompt(*prompt.messages, tools=prompt.tools)
    assert twin == prompt
    assert hash(twin) == hash(prompt)
    with pytest.raises(AttributeError):
        prompt.messages = ()


@given(st.lists(loose, min_size=2, max_size=5))
def test_an_inversion_is_refused_and_nothing_else(parts):
    message = system(*parts)
    if in_order(parts) == parts:
        Prompt(message)
    else:
        with pytest.raises(InversionError):
            Prompt(message)


def test_an_inversion_shows_the_order_to_write():
    with pytest.raises(InversionError) as caught:
        Prompt(
            system(request("Where?", name="question"), static("You are helpful.", name="policy"))
        )
    text = str(caught.value)
    assert "now:   request(question) · static(policy)" in text
    assert "write: static(policy) · request(question)" in text
    assert "test_prompt.py" in text


def test_then_refuses_a_more_stable_part():
    with pytest.raises(InversionError):
        Prompt(static("a"), request("b")).then(tenant("c"))


def test_loose_segments_gather_into_a_system_and_a_user_message():
    prompt = Prompt(static("a"), tenant("b"), request("c"), volatile("d"))
    assert prompt.render().messages == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "c\n\nd"},
    ]


def test_messages_keep_their_roles():
    prompt = Prompt(
        system(static("a")), user(session("q")), assistant(session("r")), user(request("s"))
    )
    assert [message["role"] for message in prompt.render().messages] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


def test_an_origin_is_the_line_that_built_the_part():
    def search(query: str) -> str:
        """Search."""

    line = test_an_origin_is_the_line_that_built_the_part.__code__.co_firstlineno
    prompt = Prompt(static("a"), session([{"role": "user", "content": "q"}]), tools=[search])
    origins = {(item.origin.path, item.origin.line - line) for item in prompt.render().segments}
    assert origins == {(__file__, 5)}


# Holes.


def test_a_hole_takes_any_value_as_its_text():
    prompt = Prompt(static("a"), request(hole("n")))
    assert prompt.render(n=3).messages[1]["content"] == "3"
    assert prompt.render({"n": "{n}"}).messages[1]["content"] == "{n}"


def test_a_missing_value_is_named_with_its_place():
    with pytest.raises(MissingValueError, match=r"request hole 'n'.*test_prompt\.py") as caught:
        Prompt(static("a"), request(hole("n"))).render()
    assert "render(n=...)" in str(caught.value)


def test_a_value_that_would_be_sent_as_none_or_as_bytes_is_refused():
    prompt = Prompt(static("a"), request(hole("n")))
    with pytest.raises(MissingValueError, match=r"the request hole 'n'.* got None"):
        prompt.render(n=None)
    with pytest.raises(PromptError, match="got bytes"):
        prompt.render(n=b"x")
    assert prompt.render(n=0).messages[-1]["content"] == "0"


def test_a_value_without_a_hole_is_refused():
    with pytest.raises(PromptError, match="no hole is called 'm'"):
        Prompt(static("a"), request(hole("n"))).render(n=1, m=2)


# What bad input gets.


@pytest.mark.parametrize(
    "make",
    [
        lambda: Prompt("text"),
        lambda: Prompt(static("a"), ["b"]),
        lambda: static(3),
        lambda: request(None),
        lambda: session([{"content": "a"}]),
        lambda: session([{"role": "user", "content": 3}]),
        lambda: tool({}),
        lambda: tool({"name": "f", "default": float("nan")}),
        lambda: tool({"name": "f", "default": object()}),
        lambda: Prompt(static("a"), tools=[tool({"name": "f"}), tool({"name": "f"})]),
    ],
    ids=[
        "a string",
        "a list of strings",
        "a number",
        "None",
        "no role",
        "a number as content",
        "a tool without a name",
        "a tool with NaN",
        "a tool with an object",
        "two tools of one name",
    ],
)
def test_bad_input_is_refused(make):
    with pytest.raises(PromptError):
        make()


def test_a_tool_needs_named_parameters():
    def run(*args: str) -> str:
        """Run."""

    with pytest.raises(PromptError, match=r"\*args"):
        tool(run)


# Tools.


def test_a_function_becomes_a_tool():
    def search(query: str, limit: int = 5) -> str:
        """Search the help
        centre.

        More for readers of the code.
        """

    assert json.loads(tool(search).json) == {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Search the help centre.",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string"},
                    "limit": {"type": "integer", "default": 5},
                },
                "required": ["query"],
            },
        },
    }


def test_parameters_may_be_called_as_one_likes():
    def save(json: str, copy: int = 1, schema: str = "", model_name: str = "", fields: int = 0):
        """Save it."""

    made = Prompt(static("a"), tools=[save]).render().tools[0]["function"]["parameters"]
    assert list(made["properties"]) == ["json", "copy", "schema", "model_name", "fields"]
    assert made["required"] == ["json"]


@pytest.mark.parametrize("part", ["", b"", "x"])
def test_bare_text_is_no_part_of_a_prompt(part):
    with pytest.raises(PromptError, match="wrap text in"):
        Prompt(part)


def test_a_tools_keys_stay_in_the_authors_order():
    definition = {"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": 2}}}
    sent = Prompt(static("a"), tools=[definition]).render().tools[0]
    assert json.dumps(sent) == json.dumps(definition)


def test_what_was_rendered_is_not_shared():
    sent = Prompt(static("a"), tools=[{"name": "f"}]).render()
    sent.messages[0]["content"] = "changed"
    sent.tools[0]["function"]["name"] = "changed"
    assert sent.messages[0]["content"] == "a"
    assert sent.tools[0]["function"]["name"] == "f"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a", "b"}, "got a set, whose order differs by process: pass sorted"),
        (frozenset("ab"), "got a set"),
        (object(), "whose address differs by process"),
        (lambda: 1, "whose address differs by process"),
        (iter([1]), "whose address differs by process"),
    ],
    ids=["set", "frozenset", "object", "function", "iterator"],
)
def test_a_value_whose_text_differs_by_process_is_refused(value, message):
    with pytest.raises(PromptError, match=message):
        Prompt(tenant(hole("x"))).render(x=value)


def test_text_that_looks_like_an_address_is_text():
    asked = Prompt(request(hole("x")))
    assert asked.render(x="Segfault at 0x0").messages[0]["content"] == "Segfault at 0x0"
    assert asked.render(x=3).messages[0]["content"] == "3"
