"""Anthropic's shape: everything in its place, and breakpoints where a later request can share."""

import pytest
from stemfirst import Prompt, PromptError, hole, request, session, static, system, tenant, user

EPHEMERAL = {"type": "ephemeral"}
CALL = {
    "role": "assistant",
    "content": "Let me look.",
    "tool_calls": [
        {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"q": "a"}'}},
        {"id": "t2", "type": "function", "function": {"name": "f", "arguments": ""}},
    ],
}


def text(value: str, *, is_marked: bool = False) -> dict:
    block = {"type": "text", "text": value}
    return {**block, "cache_control": EPHEMERAL} if is_marked else block


def test_each_shared_tier_ends_with_a_breakpoint():
    prompt = Prompt(
        static("You are helpful."),
        static("Be kind."),
        tenant("Plan: gold"),
        session([{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Ulm"}]),
        request(hole("question")),
        tools=[{"name": "f", "description": "d", "parameters": {"type": "object"}}],
    )
    assert prompt.render(question="Why?").anthropic() == {
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "system": [
            text("You are helpful.\n\nBe kind.", is_marked=True),
            text("\n\nPlan: gold", is_marked=True),
        ],
        "messages": [
            {"role": "user", "content": [text("Where?")]},
            {"role": "assistant", "content": [text("Ulm", is_marked=True)]},
            {"role": "user", "content": [text("Why?")]},
        ],
    }


def test_tools_without_a_system_prompt_end_with_the_breakpoint():
    shape = Prompt(request("q"), tools=[{"name": "f"}, {"name": "g"}]).render().anthropic()
    assert shape["tools"] == [
        {"name": "f", "input_schema": {"type": "object", "properties": {}}},
        {
            "name": "g",
            "input_schema": {"type": "object", "properties": {}},
            "cache_control": EPHEMERAL,
        },
    ]
    assert "system" not in shape


def test_tool_calls_and_their_results_find_their_places():
    history = [
        {"role": "user", "content": "q"},
        CALL,
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
        {"role": "tool", "tool_call_id": "t2", "content": "two"},
    ]
    _, called, results = Prompt(session(history)).render().anthropic()["messages"]
    assert called["content"][1:] == [
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"q": "a"}},
        {"type": "tool_use", "id": "t2", "name": "f", "input": {}},
    ]
    assert results == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [text("one")]},
            {
                "type": "tool_result",
                "tool_use_id": "t2",
                "content": [text("two")],
                "cache_control": EPHEMERAL,
            },
        ],
    }


def test_images_keep_their_source():
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    prompt = Prompt(session([{"role": "user", "content": parts}]))
    _, linked, inline = prompt.render().anthropic()["messages"][0]["content"]
    assert linked["source"] == {"type": "url", "url": "https://example.org/a.png"}
    assert inline["source"] == {"type": "base64", "media_type": "image/png", "data": "AAAA"}


def test_blank_text_makes_no_block_and_loses_no_byte():
    prompt = Prompt(system(static("\n"), tenant("a"), separator=""), user(request("q")))
    assert prompt.render().anthropic()["system"] == [text("\na", is_marked=True)]
    trailing = Prompt(system(static("a"), tenant(" "), separator=""), user(request("q")))
    assert trailing.render().anthropic()["system"] == [text("a ", is_marked=True)]


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], "at the front"),
        ([{"role": "critic", "content": "a"}], "critic"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "input_audio"),
        ([{**CALL, "tool_calls": [{"id": "t", "function": {"arguments": "{"}}]}], "no JSON"),
        ([{"role": "user", "content": " \n"}], r"message 0 \(user\) is blank"),
    ],
    ids=["late system text", "unknown role", "audio", "spoilt arguments", "blanks alone"],
)
def test_what_has_no_counterpart_is_refused(history, message):
    with pytest.raises(PromptError, match=message):
        Prompt(session(history)).render().anthropic()


def test_anthropics_own_package_accepts_the_shape():
    anthropic = pytest.importorskip("anthropic", reason="pip install anthropic")
    from pydantic import TypeAdapter

    prompt = Prompt(
        static("You are helpful."),
        session([{"role": "user", "content": "q"}, CALL]),
        tools=[{"name": "f", "parameters": {"type": "object"}}],
    )
    shape = prompt.render().anthropic()
    for message in shape["messages"]:
        TypeAdapter(anthropic.types.MessageParam).validate_python(message)
    for block in shape["system"]:
        TypeAdapter(anthropic.types.TextBlockParam).validate_python(block)
    for item in shape["tools"]:
        TypeAdapter(anthropic.types.ToolParam).validate_python(item)
