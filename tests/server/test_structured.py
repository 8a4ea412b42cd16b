"""Forced calls and JSON that fits a schema, as the official clients ask for them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import httpx
import openai
import pytest
from pydantic import BaseModel, Field

MODEL = "stemfirst-demo"
CHAT = "/v1/chat/completions"

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}},
    {
        "type": "function",
        "function": {
            "name": "set_unit",
            "parameters": {
                "type": "object",
                "properties": {"unit": {"enum": ["C", "F"]}},
                "required": ["unit"],
            },
        },
    },
]
BROKEN_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": 3}}}
ASKED: list[Any] = [{"role": "user", "content": "How is the weather?"}]


class Trip(BaseModel):
    """What the model must write."""

    kind: Literal["train", "plane"]
    hours: int = Field(ge=0, le=99)
    stops: list[Literal["a", "b"]] = Field(max_length=3)


@pytest.fixture
def claude(server: Any) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0) as made:
        yield made


def check_call(name: str, arguments: Any) -> None:
    if name == "get_weather":
        assert set(arguments) == {"city", "days"}
        assert len(arguments["city"]) <= 8
        assert 1 <= arguments["days"] <= 9
    else:
        assert name == "set_unit"
        assert arguments["unit"] in ("C", "F")


@pytest.mark.parametrize(("temperature", "is_parallel"), [(1.5, True), (0, False)])
def test_a_required_call_is_made_and_fits_its_schema(
    client: openai.OpenAI, temperature: float, is_parallel: bool
) -> None:
    done = client.chat.completions.create(
        model=MODEL, messages=ASKED, tools=TOOLS[1:] if is_parallel else TOOLS,
        tool_choice="required", n=2, seed=1,
        parallel_tool_calls=is_parallel, temperature=temperature, max_tokens=1500,
    )  # fmt: skip
    for choice in done.choices:
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        calls = choice.message.tool_calls or []
        assert 1 <= len(calls) <= (16 if is_parallel else 1)
        for call in calls:
            assert call.type == "function"
            check_call(call.function.name, json.loads(call.function.arguments))
        assert len({call.id for call in calls}) == len(calls)


def test_a_named_function_is_the_one_that_is_called(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(
        model=MODEL, messages=ASKED, tools=TOOLS, max_tokens=200, parallel_tool_calls=False,
        tool_choice={"type": "function", "function": {"name": "set_unit"}},
    )  # fmt: skip
    (call,) = done.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "set_unit"


def test_a_stream_tells_the_same_calls(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": MODEL, "messages": ASKED, "tools": TOOLS[1:], "tool_choice": "required",
        "temperature": 0, "max_tokens": 1000,
    }  # fmt: skip
    whole = client.chat.completions.create(**asked).choices[0]
    with client.chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        told = stream.get_final_completion().choices[0]
    assert told.finish_reason == whole.finish_reason == "tool_calls"
    assert not told.message.content

    def plain(calls: Any) -> list[tuple[str, str]]:
        return [(call.function.name, call.function.arguments) for call in calls]

    assert plain(told.message.tool_calls) == plain(whole.message.tool_calls)


def test_a_call_and_its_result_go_back_into_the_conversation(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(
        model=MODEL, messages=ASKED, tools=TOOLS, tool_choice="required", max_tokens=300,
        parallel_tool_calls=False, temperature=0,
    )  # fmt: skip
    message = first.choices[0].message
    (call,) = message.tool_calls or []
    again = [
        *ASKED,
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Rain."},
    ]
    second = client.chat.completions.create(
        model=MODEL, messages=again, tools=TOOLS, tool_choice="none", max_tokens=4
    )
    assert second.choices[0].message.tool_calls is None
    details = second.usage and second.usage.prompt_tokens_details
    assert details is not None
    # Nearly all that was read and written before: the call reads as it was written.
    assert (details.cached_tokens or 0) >= (first.usage.total_tokens if first.usage else 0) - 32


@pytest.mark.parametrize("is_streamed", [False, True])
def test_parse_returns_the_pydantic_model(client: openai.OpenAI, is_streamed: bool) -> None:
    asked: dict[str, Any] = {
        "model": MODEL, "messages": ASKED, "response_format": Trip, "max_tokens": 200, "seed": 3,
    }  # fmt: skip
    if is_streamed:
        with client.chat.completions.stream(**asked) as stream:
            parsed = stream.get_final_completion().choices[0].message.parsed
    else:
        parsed = client.chat.completions.parse(**asked).choices[0].message.parsed
    assert isinstance(parsed, Trip)


def test_many_formats_in_one_batch_do_not_touch_one_another(server: Any) -> None:
    words = [f"w{index}" for index in range(4)]

    async def ask_all() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
            return await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model=MODEL, messages=ASKED, max_tokens=24, n=2, logprobs=True,
                        top_logprobs=2, response_format={
                            "type": "json_schema",
                            "json_schema": {"name": "w", "schema": {"const": word}},
                        },
                    )
                    for word in words
                ),
                client.chat.completions.create(model=MODEL, messages=ASKED, max_tokens=24),
            )  # fmt: skip

    *made, free = asyncio.run(ask_all())
    for word, done in zip(words, made, strict=True):
        for choice in done.choices:
            assert json.loads(choice.message.content) == word
            assert choice.finish_reason == "stop"
            spelled = "".join(token.token for token in choice.logprobs.content)
            assert spelled.startswith(choice.message.content)
    assert free.choices[0].finish_reason == "length"


def test_json_object_is_an_object(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(
        model=MODEL, messages=ASKED, response_format={"type": "json_object"}, max_tokens=64,
        temperature=0,
    )  # fmt: skip
    assert (done.choices[0].message.content or "").startswith("{")


def test_tools_and_a_format_leave_the_model_the_choice(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(
        model=MODEL, messages=ASKED, tools=TOOLS[1:], max_tokens=600, seed=5,
        response_format={"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA}},
    )  # fmt: skip
    message = done.choices[0].message
    for call in message.tool_calls or []:
        assert call.type == "function"
        check_call(call.function.name, json.loads(call.function.arguments))
    if not message.tool_calls:
        check_call("get_weather", json.loads(message.content or ""))


def test_responses_call_tools_and_keep_to_formats(client: openai.OpenAI) -> None:
    tools: list[Any] = [
        {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": True}
    ]
    done = client.responses.create(
        model=MODEL, input="Weather?", tools=tools, tool_choice="required",
        parallel_tool_calls=False, max_output_tokens=300,
    )  # fmt: skip
    (item,) = done.output
    assert item.type == "function_call"
    check_call(item.name, json.loads(item.arguments))
    with client.responses.stream(
        model=MODEL, input="Weather?", tools=tools, tool_choice="required",
        parallel_tool_calls=False, max_output_tokens=300,
    ) as stream:  # fmt: skip
        kinds = [event.type for event in stream]
        (told,) = stream.get_final_response().output
    assert told.type == "function_call"
    check_call(told.name, json.loads(told.arguments))
    assert "response.function_call_arguments.done" in kinds
    assert "response.output_text.delta" not in kinds
    parsed = client.responses.parse(
        model=MODEL, input="Where to?", text_format=Trip, max_output_tokens=300
    )
    assert isinstance(parsed.output_parsed, Trip)


def test_messages_hold_blocks_of_tool_use(claude: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 300,
        "messages": ASKED,
        "tools": [{"name": "get_weather", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }
    done = claude.messages.create(**asked)
    (block,) = done.content
    assert done.stop_reason == "tool_use"
    assert block.type == "tool_use"
    check_call(block.name, block.input)
    with claude.messages.stream(**asked) as stream:
        told = stream.get_final_message()
    (block,) = told.content
    assert told.stop_reason == "tool_use"
    assert block.type == "tool_use"
    check_call(block.name, block.input)
    text = claude.messages.create(
        model=MODEL, max_tokens=300, messages=ASKED,
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    )  # fmt: skip
    assert text.content[0].type == "text"
    check_call("get_weather", json.loads(text.content[0].text))


@pytest.mark.parametrize(
    ("route", "more", "parameter"),
    [
        (CHAT, {"response_format": {"type": "xml"}}, "response_format.type"),
        (
            CHAT,
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema",
        ),
        (
            CHAT,
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "t"}}}},
            "response_format.json_schema.schema",
        ),
        (CHAT, {"tool_choice": "required"}, "tool_choice"),
        (CHAT, {"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        (
            CHAT,
            {"tools": [BROKEN_TOOL], "tool_choice": "required"},
            "tools[0].function.parameters",
        ),
        (
            "/v1/responses",
            {"text": {"format": {"type": "json_schema", "schema": {"type": "objct"}}}},
            "text.format.schema",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_enforced_is_400_with_the_part(
    http: httpx.Client, route: str, more: dict[str, Any], parameter: str
) -> None:
    prompt = {"messages": ASKED} if route == CHAT else {"input": "Hi"}
    answer = http.post(route, json=prompt | more)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == parameter
    assert "\n" not in answer.json()["error"]["message"]


LARK = 'start: "in " /[1-9]/ " days"'
GBNF = 'root ::= "in " [1-9] " days"'


@pytest.mark.parametrize(
    ("asked", "pattern"),
    [
        ({"structured_outputs": {"choice": ["yes/no", 'a "word"']}}, r'yes/no|a "word"'),
        ({"structured_outputs": {"regex": "[a-c]{2}/[0-9]"}}, "[a-c]{2}/[0-9]"),
        ({"structured_outputs": {"regex": "a\\/b"}}, "a/b"),
        ({"structured_outputs": {"grammar": LARK}}, "in [1-9] days"),
        ({"structured_outputs": {"grammar": GBNF}}, "in [1-9] days"),
        ({"guided_choice": ["left", "right"]}, "left|right"),
        ({"guided_regex": "x{3}"}, "xxx"),
    ],
    ids=["choice", "regex", "escaped", "lark", "gbnf", "guided choice", "guided regex"],
)
@pytest.mark.parametrize("route", [CHAT, "/v1/completions"])
def test_vllms_structured_outputs_are_kept_to(
    http: httpx.Client, asked: dict[str, Any], pattern: str, route: str
) -> None:
    prompt = {"messages": ASKED} if route == CHAT else {"prompt": "So:"}
    answer = http.post(route, json=prompt | asked | {"max_tokens": 40})
    assert answer.status_code == 200, answer.text
    choice = answer.json()["choices"][0]
    text = choice["text"] if route != CHAT else choice["message"]["content"]
    assert re.fullmatch(pattern, text), text
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "asked",
    [
        {"structured_outputs": {"json": SCHEMA, "regex": None}},
        {"structured_outputs": {"json": json.dumps(SCHEMA)}},
        {"guided_json": SCHEMA},
    ],
    ids=["schema", "its text", "guided"],
)
def test_vllms_schemas_are_kept_to(http: httpx.Client, asked: dict[str, Any]) -> None:
    answer = http.post(CHAT, json={"messages": ASKED, "max_tokens": 60} | asked)
    found = json.loads(answer.json()["choices"][0]["message"]["content"])
    assert set(found) == {"city", "days"}


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": ["a"], "regex": "a"}}, "structured_outputs"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "(?=a)b["}}, "structured_outputs.regex"),
        ({"structured_outputs": {"grammar": "root ::= ("}}, "structured_outputs.grammar"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_regex"),
        (
            {"guided_regex": "a", "response_format": {"type": "json_object"}},
            "guided_regex",
        ),
    ],
)
def test_what_makes_no_format_is_400_with_the_part_too(
    http: httpx.Client, asked: dict[str, Any], parameter: str
) -> None:
    answer = http.post(CHAT, json={"messages": ASKED, "max_tokens": 4} | asked)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == parameter
    assert "start:" not in answer.json()["error"]["message"], "our grammar is nobody's business"


ENDLESS: dict[str, Any] = {
    "itself": {"$ref": "#"},
    "in a circle": {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "lists of itself": {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    "in two circles": {
        "$defs": {
            "a": {"anyOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]},
            "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]},
        },
        "$ref": "#/$defs/a",
    },
    "within an object": {
        "type": "object",
        "properties": {"x": {"type": "array", "items": {"$ref": "#/properties/x"}, "minItems": 1}},
        "required": ["x"],
    },
}


@pytest.mark.parametrize("schema", ENDLESS.values(), ids=ENDLESS)
def test_a_schema_without_an_end_is_400_and_no_fault_of_ours(
    http: httpx.Client, schema: dict[str, Any]
) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"messages": ASKED, "response_format": asked, "max_tokens": 200}
    answer = http.post(CHAT, json=body)
    # What only nests as deep as the answer is long may also be cut.
    if answer.status_code == 200:
        assert answer.json()["choices"][0]["finish_reason"] == "length"
        return
    assert answer.status_code == 400, answer.text
    assert "state" not in answer.json()["error"]["message"].lower()


def test_a_fault_in_a_schema_is_placed(http: httpx.Client) -> None:
    inner = {"type": "object", "properties": {"age": {"type": "nope"}}}
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "person": inner}}
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = http.post(CHAT, json={"messages": ASKED, "response_format": asked})
    message = answer.json()["error"]["message"]
    assert "/properties/person/properties/age" in message
    assert "nope" in message
    assert "%json" not in message
