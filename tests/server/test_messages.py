"""Anthropic's own client against the server: whole, streamed, with tools, and refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from stemfirst import instrument
from stemfirst.savings import savings_of

MODEL = "stemfirst-demo"
TOOL = {
    "name": "find_order",
    "description": "Find an order by its number.",
    "input_schema": {"type": "object", "properties": {"number": {"type": "string"}}},
}
HISTORY: list[Any] = [
    {"role": "user", "content": "Where is order 7?"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "I should look.", "signature": "x"},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "t1", "name": "find_order", "input": {"number": "7"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "t1",
                "content": [{"type": "text", "text": "on its way"}],
            },
            {"type": "text", "text": "And order 8?"},
        ],
    },
]


@pytest.fixture
def claude(server: Any) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=server.url, api_key="test-key", max_retries=0, timeout=60
    ) as made:
        yield made


def test_a_message_is_answered_and_counted(claude: anthropic.Anthropic, policy: str) -> None:
    asked: Any = {
        "model": MODEL,
        "max_tokens": 5,
        "system": [{"type": "text", "text": policy, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "May I return it?"}],
        "extra_body": {"temperature": 0},
    }
    cold, warm = claude.messages.create(**asked), claude.messages.create(**asked)
    assert cold.id != warm.id
    assert cold.id.startswith("msg_")
    assert cold._request_id, "the client looks for the header request-id"
    assert (cold.type, cold.role, cold.model) == ("message", "assistant", MODEL)
    assert cold.content[0].type == warm.content[0].type == "text"
    assert cold.content[0].text == warm.content[0].text
    assert cold.stop_reason in ("max_tokens", "end_turn")
    assert cold.usage.output_tokens <= 5
    assert cold.usage.cache_read_input_tokens == 0
    assert warm.usage.cache_read_input_tokens
    assert warm.usage.cache_read_input_tokens % 16 == 0
    counted = claude.messages.count_tokens(
        model=MODEL, system=asked["system"], messages=asked["messages"]
    )
    for usage in (cold.usage, warm.usage):
        kinds = (
            usage.input_tokens,
            usage.cache_creation_input_tokens or 0,
            usage.cache_read_input_tokens or 0,
        )
        assert min(kinds) >= 0
        assert sum(kinds) == counted.input_tokens


def test_a_stream_tells_the_same_as_the_whole_message(
    claude: anthropic.Anthropic, policy: str
) -> None:
    asked: Any = {
        "model": MODEL,
        "max_tokens": 12,
        "system": policy,
        "messages": [{"role": "user", "content": "Hello"}],
        "extra_body": {"temperature": 0},
    }
    whole = claude.messages.create(**asked)
    with claude.messages.stream(**asked) as stream:
        events = [event.type for event in stream]
        told = stream.get_final_message()
    assert told.content[0].type == whole.content[0].type == "text"
    assert told.content[0].text == whole.content[0].text
    assert told.stop_reason == whole.stop_reason
    assert told.usage.output_tokens == whole.usage.output_tokens
    assert told.usage.cache_read_input_tokens
    total = (
        told.usage.input_tokens
        + told.usage.cache_read_input_tokens
        + (told.usage.cache_creation_input_tokens or 0)
    )
    before = whole.usage.input_tokens + (whole.usage.cache_creation_input_tokens or 0)
    assert total == before + (whole.usage.cache_read_input_tokens or 0)
    assert events[0] == "message_start"
    assert events[-1] == "message_stop"


def test_a_stream_that_is_left_early_reports_nothing_that_it_cannot_know(
    claude: anthropic.Anthropic, policy: str
) -> None:
    asked: Any = {
        "model": MODEL,
        "max_tokens": 12,
        "system": policy,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    claude.messages.create(**asked)
    with instrument(claude).messages.stream(**asked) as stream:
        next(iter(stream.text_stream))
        stream.close()
        left = savings_of(stream)
    assert left.cached_tokens is None
    assert left.prompt_tokens
    assert not left.is_complete


def test_the_same_conversation_has_the_same_tokens_as_in_openais_shape(
    claude: anthropic.Anthropic, client: openai.OpenAI
) -> None:
    """Tools, calls and results arrive where the chat template expects them."""
    call = {"name": "find_order", "arguments": '{"number": "7"}'}
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is order 7?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [{"id": "t1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "on its way"},
        {"role": "user", "content": "And order 8?"},
    ]
    function: Any = {
        "name": TOOL["name"],
        "description": TOOL["description"],
        "parameters": TOOL["input_schema"],
    }
    for _ in range(2):
        chat = client.chat.completions.create(
            model=MODEL,
            messages=messages,
            tools=[{"type": "function", "function": function}],
            max_tokens=1,
        )
    message = claude.messages.create(
        model=MODEL, system="Be brief.", messages=HISTORY, tools=[TOOL], max_tokens=1  # type: ignore[list-item]
    )  # fmt: skip
    assert chat.usage
    assert chat.usage.prompt_tokens_details
    assert message.usage.cache_read_input_tokens == chat.usage.prompt_tokens_details.cached_tokens
    assert message.usage.cache_read_input_tokens
    rest = message.usage.input_tokens + (message.usage.cache_creation_input_tokens or 0)
    assert rest + message.usage.cache_read_input_tokens == chat.usage.prompt_tokens


def test_an_answer_that_was_begun_is_continued(
    claude: anthropic.Anthropic, client: openai.OpenAI
) -> None:
    begun: list[Any] = [
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "A colour is"},
    ]
    answer = claude.messages.create(
        model=MODEL, max_tokens=4, messages=begun, extra_body={"temperature": 0}
    )
    same = client.chat.completions.create(
        model=MODEL,
        messages=begun,
        max_tokens=4,
        temperature=0,
        extra_body={"add_generation_prompt": False, "continue_final_message": True},
    )
    assert answer.content[0].type == "text"
    assert answer.content[0].text == same.choices[0].message.content


def test_a_stop_sequence_is_named(claude: anthropic.Anthropic) -> None:
    asked: Any = {
        "model": MODEL,
        "max_tokens": 30,
        "messages": [{"role": "user", "content": "Talk."}],
        "extra_body": {"temperature": 0},
    }
    text = claude.messages.create(**asked).content[0].text
    stop = text[len(text) // 2 : len(text) // 2 + 2]
    answer = claude.messages.create(**asked, stop_sequences=["never said", stop])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
    assert answer.content[0].type == "text"
    assert answer.content[0].text == text.partition(stop)[0]


def test_a_miss_is_located_in_the_body_that_was_sent(http: httpx.Client, policy: str) -> None:
    def report(system: str) -> Any:
        body = {
            "max_tokens": 1,
            "system": [{"type": "text", "text": policy}, {"type": "text", "text": system}],
            "messages": [{"role": "user", "content": "Hi"}],
        }
        return http.post("/v1/messages", json=body).json()["stemfirst"]

    report("Today is Monday the first of May, and it rains over the whole of the country.")
    at = report("Today is Friday the third of May, and it rains over the whole of the country.")
    assert at["missed"]["at"]["path"] == ["system", 1, "text"]
    assert 7 <= at["missed"]["at"]["byte"] <= 9


BAD: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no max_tokens": ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens is missing"),
    "max_tokens of zero": ({"max_tokens": 0}, 400, "invalid_request_error", "at least 1"),
    "unknown model": ({"model": "claude-none"}, 404, "not_found_error", "not served here"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        400,
        "invalid_request_error",
        r"messages\[0\].content\[0\] of type 'image'",
    ),
    "a tool of theirs": (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        400,
        "invalid_request_error",
        r"tools\[0\]",
    ),
    "forced tool": ({"tool_choice": {"type": "any"}}, 400, "invalid_request_error", "tool_choice"),
    "a result of no call": (
        {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
        400,
        "invalid_request_error",
        "tool_use_id",
    ),
    "content is a number": (
        {"messages": [{"role": "user", "content": 7}]},
        400,
        "invalid_request_error",
        r"messages\[0\].content",
    ),
    "unknown role": (
        {"messages": [{"role": "wizard", "content": "hi"}]},
        400,
        "invalid_request_error",
        "role",
    ),
    "system is a number": ({"system": 7}, 400, "invalid_request_error", "system"),
    "no messages": ({"messages": []}, 400, "invalid_request_error", "at least one"),
    "too long": ({"max_tokens": 10**6}, 400, "invalid_request_error", "maximum context length"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_raises_the_clients_own_error(claude: anthropic.Anthropic, name: str) -> None:
    fields, status, kind, words = BAD[name]
    body = {
        "model": MODEL,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "hi"}],
    } | fields
    with pytest.raises(anthropic.APIStatusError, match=words) as caught:
        claude.post("/v1/messages", body=body, cast_to=anthropic.types.Message)
    assert caught.value.status_code == status
    assert caught.value.type == kind
