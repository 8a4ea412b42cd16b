"""Each provider's shape: accepted by the provider's own package, marked by its own rules."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst import (
    Prompt,
    PromptError,
    file,
    hole,
    image,
    request,
    session,
    static,
    tenant,
    tool,
    user,
)

LONG = "Be kind, be brief, and never promise a date. " * 60  # 2,700 bytes
PNG = b"\x89PNG\r\n"
TOOL = {
    "name": "search",
    "description": "Search the shop.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
}
TURNS = [
    {"role": "user", "content": "Where is it?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "search", "arguments": '{"q":1}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "t1", "content": "In Ulm."},
    {"role": "assistant", "content": "In Ulm."},
]


def support(question: str = "And now?", *, long: str = LONG):
    prompt = Prompt(
        static(long),
        tenant("Plan: gold. " + long),
        session(TURNS),
        request(hole("question")),
        tools=[TOOL],
    )
    return prompt.render(question=question)


def pictures():
    parts = user(request("What is this?"), request(image(PNG, media_type="image/png")))
    return Prompt(static("You see."), parts).render()


def papers():
    terms = file(b"%PDF-1.7", media_type="application/pdf", filename="terms.pdf")
    return Prompt(user(tenant(terms), request("Sum it up."))).render()


def marked(shape: object, key: str) -> list[str]:
    """Return the text of every block that carries a mark, in order."""
    found = []
    if isinstance(shape, dict):
        if key in shape:
            found.append(str(shape.get("text") or shape.get("name") or shape.get("type")))
        for value in shape.values():
            found += marked(value, key)
    elif isinstance(shape, list):
        for value in shape:
            found += marked(value, key)
    return found


# OpenAI's chat completions


def test_without_a_model_chat_gets_messages_and_tools_only():
    assert support().openai().keys() == {"messages", "tools"}


def test_breakpoints_end_the_text_that_other_requests_share():
    shape = support().openai(model="gpt-5.6-sol")
    ends = marked(shape, "prompt_cache_breakpoint")
    assert ends == [LONG, "\n\nPlan: gold. " + LONG]
    assert "prompt_cache_key" not in shape  # from that model on it routes nothing
    assert shape["messages"][1]["content"] == "Where is it?"  # unmarked texts stay texts


def test_marks_change_no_byte_of_the_text():
    plain, marks = support().openai(), support().openai(model="gpt-6.1-sol")
    for before, after in zip(plain["messages"], marks["messages"], strict=True):
        text = after["content"]
        if isinstance(text, list):
            text = "".join(part["text"] for part in text)
        assert text == before["content"]


def test_a_prefix_below_the_minimum_gets_no_breakpoint_unless_asked():
    short = support(long="Be kind.")
    assert not marked(short.openai(model="gpt-6-sol"), "prompt_cache_breakpoint")
    assert len(marked(short.openai(model="gpt-6-sol", breakpoints=True), "mode")) == 2


def test_older_models_are_routed_by_a_key_of_the_shared_text():
    one, other = support("a"), support("b")
    key = one.openai(model="gpt-4o")["prompt_cache_key"]
    assert key == other.openai(model="gpt-4o")["prompt_cache_key"]
    assert key != support(long="Be brief. ").openai(model="gpt-4o")["prompt_cache_key"]
    assert one.openai(model="gpt-4o", cache_key="mine")["prompt_cache_key"] == "mine"


def test_lifetimes_go_where_each_generation_takes_them():
    new = support().openai(model="gpt-5.6-sol", ttl={"static": "12h"})
    first, second = new["messages"][0]["content"]
    assert first["prompt_cache_breakpoint"] == {"mode": "explicit", "ttl": "12h"}
    assert second["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert support().openai(model="gpt-5.1", ttl="24h")["prompt_cache_retention"] == "24h"


def test_models_that_are_not_openais_get_nothing_of_openais():
    for model in ("qwen3-32b", "gpt-oss-120b", "meta-llama/Llama-4"):
        assert support().openai(model=model).keys() == {"messages", "tools"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "gpt-4o", "breakpoints": True}, "takes no cache breakpoints"),
        ({"model": "gpt-4o", "ttl": "24h"}, "in_memory"),
        ({"model": "gpt-5.5", "ttl": "in_memory"}, "'24h'"),
        ({"model": "gpt-5.6-sol", "ttl": "5m"}, "30m or 12h"),
        ({"model": "gpt-5.6-sol", "ttl": {"session": "30m"}}, "static, tenant"),
        ({"model": "gpt-5.6-sol", "ttl": "30m", "breakpoints": False}, "belongs to a breakpoint"),
        ({"ttl": "24h"}, "an unnamed model takes no lifetime"),
        ({"model": "qwen3-32b", "breakpoints": True}, "qwen3-32b takes no cache breakpoints"),
    ],
    ids=str,
)
def test_what_a_model_of_openai_lacks_is_an_error_when_asked_for(options, message):
    with pytest.raises(PromptError, match=message):
        support().openai(**options)


@pytest.mark.parametrize("rendered", [support, pictures, papers])
def test_openais_package_accepts_the_shapes(rendered):
    pytest.importorskip("openai", reason='pip install "stemfirst[client]"')
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
    from openai.types.responses import ResponseInputItemParam, ToolParam
    from pydantic import TypeAdapter

    chat = rendered().openai(model="gpt-5.6-sol", breakpoints=True)
    TypeAdapter(list[ChatCompletionMessageParam]).validate_python(chat["messages"])
    TypeAdapter(list[ChatCompletionToolParam]).validate_python(chat.get("tools", []))
    new = rendered().responses(model="gpt-5.6-sol", breakpoints=True)
    TypeAdapter(list[ResponseInputItemParam]).validate_python(new["input"])
    TypeAdapter(list[ToolParam]).validate_python(new.get("tools", []))


# OpenAI's Responses API


def test_the_responses_api_gets_items_with_marks_on_input_parts_only():
    shape = support().responses(model="gpt-5.6-sol", ttl="12h")
    assert [item["type"] for item in shape["input"]] == [
        *("message", "message", "function_call", "function_call_output", "message", "message")
    ]
    assert len(marked(shape, "prompt_cache_breakpoint")) == 2
    assert shape["tools"][0]["name"] == "search"
    assert shape["tools"][0]["strict"] is False
    assert shape["input"][1]["content"] == "Where is it?"


# Anthropic


def test_long_sessions_get_a_second_mark_within_reach_of_a_lookup():
    turns = [{"role": "user", "content": f"turn {number}"} for number in range(40)]
    shape = Prompt(static(LONG), session(turns), request("q")).render().anthropic()
    assert marked(shape, "cache_control") == ["turn 24", "turn 39", LONG]


def test_a_claude_model_gets_no_mark_below_its_minimum():
    shape = support()
    assert len(marked(shape.anthropic(model="claude-opus-5-5"), "cache_control")) == 4 - 1
    ends = marked(shape.anthropic(model="claude-haiku-4-5"), "cache_control")
    assert LONG not in ends  # 1,350 tokens at most, and that model caches from 4,096 on
    forced = shape.anthropic(model="claude-haiku-4-5", breakpoints=True)
    assert len(marked(forced, "cache_control")) == 3
    assert not marked(shape.anthropic(breakpoints=False), "cache_control")


def test_an_hour_may_be_asked_for_by_tier_in_falling_order():
    shape = support().anthropic(ttl={"static": "1h"})
    assert shape["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert shape["system"][1]["cache_control"] == {"type": "ephemeral"}
    with pytest.raises(PromptError, match="longer lifetimes before shorter"):
        support().anthropic(ttl={"session": "1h"})
    with pytest.raises(PromptError, match="5m or 1h, got ttl='24h'"):
        support().anthropic(ttl="24h")


def test_late_system_text_goes_to_models_that_take_it():
    prompt = Prompt(session([*TURNS[:1], {"role": "system", "content": "Be brief."}])).render()
    assert prompt.anthropic(model="claude-opus-5")["messages"][1]["role"] == "system"
    with pytest.raises(PromptError, match="at the front only"):
        prompt.anthropic(model="claude-sonnet-4-5")


def test_files_become_documents():
    block = papers().anthropic()["messages"][0]["content"][0]
    assert block["source"]["media_type"] == "application/pdf"
    assert block["title"] == "terms.pdf"
    assert block["cache_control"] == {"type": "ephemeral"}


# Bedrock


def bedrock_accepts(shape: dict, model: str) -> None:
    botocore = pytest.importorskip("botocore.loaders", reason="pip install botocore")
    from botocore.model import ServiceModel
    from botocore.validate import ParamValidator

    api = botocore.Loader().load_service_model("bedrock-runtime", "service-2")
    operation = ServiceModel(api, "bedrock-runtime").operation_model("Converse")
    report = ParamValidator().validate({"modelId": model, **shape}, operation.input_shape)
    assert not report.has_errors(), report.generate_report()


CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.mark.parametrize("rendered", [support, pictures, papers])
@pytest.mark.parametrize("model", [CLAUDE, "amazon.nova-pro-v1:0", "meta.llama3-70b"])
def test_botocores_model_of_converse_accepts_the_shapes(rendered, model):
    bedrock_accepts(rendered().bedrock(model=model), model)


def test_cache_points_stand_behind_what_they_end():
    shape = support().bedrock(model=CLAUDE, ttl={"static": "1h"})
    kinds = [next(iter(block)) for block in shape["system"]]
    assert kinds == ["text", "cachePoint", "text", "cachePoint"]
    assert shape["system"][1]["cachePoint"] == {"type": "default", "ttl": "1h"}
    assert shape["messages"][-2]["content"][-1] == {"cachePoint": {"type": "default"}}
    bedrock_accepts(shape, CLAUDE)


def test_bedrock_models_without_cache_points_get_none():
    assert "cachePoint" not in json.dumps(support().bedrock(model="meta.llama3-70b"))
    assert "cachePoint" not in json.dumps(support().bedrock())
    for options in ({"breakpoints": True}, {"ttl": "1h"}):
        with pytest.raises(PromptError, match=r"meta\.llama3-70b takes no"):
            support().bedrock(model="meta.llama3-70b", **options)


def test_nova_takes_no_mark_on_tools():
    only_tools = Prompt(request("q"), tools=[{**TOOL, "description": LONG}]).render()
    assert "cachePoint" not in json.dumps(only_tools.bedrock(model="amazon.nova-pro-v1:0"))
    assert "cachePoint" in json.dumps(only_tools.bedrock(model=CLAUDE, breakpoints=True))


def test_bedrock_fetches_no_pictures():
    prompt = Prompt(user(request("?"), request(image("https://example.org/a.png"))))
    with pytest.raises(PromptError, match="give the image's bytes"):
        prompt.render().bedrock(model=CLAUDE)


# Gemini


@pytest.mark.parametrize("rendered", [support, pictures, papers])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_googles_package_accepts_the_shapes(rendered):
    pytest.importorskip("google.genai", reason="pip install google-genai")
    from google.genai import types

    shape = rendered().gemini()
    for content in shape["contents"]:
        types.Content.model_validate(content)
    types.GenerateContentConfig.model_validate(shape.get("config", {}))
    kept = rendered().gemini_cache()
    types.CreateCachedContentConfig.model_validate(kept["config"])


def test_an_explicit_cache_and_its_requests_share_the_prompt_between_them():
    rendered = support()
    kept = rendered.gemini_cache(ttl="600s")["config"]
    rest = rendered.gemini(cached_content="cachedContents/1")
    assert kept["system_instruction"]["parts"][0]["text"].startswith(LONG)
    assert kept["tools"][0]["function_declarations"][0]["name"] == "search"
    assert rest["config"] == {"cached_content": "cachedContents/1"}
    whole = rendered.gemini()
    assert rest["contents"] == whole["contents"]
    assert whole["contents"][2]["parts"][0]["function_response"]["name"] == "search"


def test_a_lifetime_is_no_part_of_a_request_to_gemini():
    with pytest.raises(PromptError, match="gemini_cache"):
        support().gemini(ttl="600s")
    with pytest.raises(PromptError, match="got '1h'"):
        support().gemini_cache(ttl="1h")
    with pytest.raises(PromptError, match="no static or tenant text"):
        Prompt(request("q")).render().gemini_cache()


def test_a_cache_key_is_refused_where_none_is_taken():
    rendered = support()
    for method, provider in ((rendered.anthropic, "Anthropic"), (rendered.bedrock, "Bedrock")):
        with pytest.raises(PromptError, match=f"{provider} takes no cache key, got cache_key='x'"):
            method(model="claude-sonnet-4-5", cache_key="x")
    with pytest.raises(PromptError, match="Gemini takes no cache key"):
        rendered.gemini(cache_key="x")
    with pytest.raises(PromptError, match="Gemini takes no cache breakpoints"):
        rendered.gemini(breakpoints=True)
    for method in (rendered.openai, rendered.responses):
        with pytest.raises(PromptError, match="got cache_key=''"):
            method(model="gpt-4o", cache_key="")
    for never in ("0s", "-5s", "0.0s"):
        with pytest.raises(PromptError, match="above 0"):
            rendered.gemini_cache(ttl=never)


# litellm


def test_litellm_gets_the_dialect_of_its_route():
    claude = support().litellm(model="anthropic/claude-opus-5-5")
    assert len(marked(claude, "cache_control")) == 3
    assert "prompt_cache_key" in support().litellm(model="openai/gpt-4o")
    assert len(marked(support().litellm(model="gpt-5.6-sol"), "prompt_cache_breakpoint")) == 2
    for model in ("gemini/gemini-3-flash", "groq/llama-3", "ollama/qwen3"):
        assert support().litellm(model=model) == support().openai()


def test_what_a_route_of_litellm_lacks_is_an_error_when_asked_for():
    with pytest.raises(PromptError, match="takes no cache breakpoints"):
        support().litellm(model="groq/llama-3", breakpoints=True)
    with pytest.raises(PromptError, match="takes no cache key"):
        support().litellm(model="anthropic/claude-opus-5-5", cache_key="k")


# What goes in


def test_pictures_and_files_can_have_any_tier_and_keep_the_messages_order():
    shape = papers().openai()["messages"]
    assert [part["type"] for part in shape[0]["content"]] == ["file", "text"]
    loose = Prompt(static("a"), static(image("https://example.org/a.png")), request("b")).render()
    assert [part["type"] for part in loose.messages[0]["content"]] == ["text", "image_url"]


def test_unknown_media_types_and_missing_files_are_refused(tmp_path):
    with pytest.raises(PromptError, match="media_type="):
        image(b"data")
    with pytest.raises(PromptError, match="the image is NoneType, which has no bytes"):
        image(None)
    with pytest.raises(PromptError, match="cannot read the file"):
        file(tmp_path / "none.pdf")


def test_existing_messages_get_the_tiers_of_their_places():
    prompt = Prompt.from_messages([{"role": "system", "content": "a"}, *TURNS, TURNS[0]])
    tiers = [segment.tier.label for segment in prompt.render().segments]
    assert tiers == ["static", "session", "session", "session", "request"]
    assert prompt.render().messages == [{"role": "system", "content": "a"}, *TURNS, TURNS[0]]


def test_a_pydantic_model_is_a_tool():
    pydantic = pytest.importorskip("pydantic")

    class Search(pydantic.BaseModel):
        """Search the shop."""

        query: str

    definition = json.loads(tool(Search).json)["function"]
    assert (definition["name"], definition["description"]) == ("Search", "Search the shop.")
    assert definition["parameters"]["required"] == ["query"]


def test_a_notebook_shows_segments_by_tier_and_escapes_them():
    prompt = Prompt(static("<b>policy</b>"), request(hole("q")))
    assert "&lt;b&gt;policy" in prompt._repr_html_()
    assert "{q}" in prompt._repr_html_()
    assert "&lt;script&gt;" in prompt.render(q="<script>")._repr_html_()


# What every shape has in common

words = st.text(st.sampled_from("ab \n é"), max_size=6)
layouts = st.lists(
    st.tuples(st.sampled_from([static, tenant, request]), words.filter(str.strip)), max_size=6
).map(lambda parts: sorted(parts, key=lambda part: [static, tenant, request].index(part[0])))


def texts_of(shape: object) -> str:
    """Return all text of a request, in order."""
    if isinstance(shape, dict):
        parts = [shape["text"]] if isinstance(shape.get("text"), str) else []
        inner = [shape[key] for key in ("system", "config", "system_instruction") if key in shape]
        inner += [
            shape[key] for key in ("messages", "input", "contents", "content") if key in shape
        ]
        inner += [shape["parts"]] if "parts" in shape else []
        return "".join([*parts, *map(texts_of, inner)])
    if isinstance(shape, list):
        return "".join(map(texts_of, shape))
    return shape if isinstance(shape, str) else ""


@given(layouts, st.booleans())
def test_no_shape_loses_or_moves_a_byte_of_text(layout, has_marks):
    prompt = Prompt(*(make(text) for make, text in layout)).render()
    whole = "".join(message["content"] for message in prompt.messages)
    marks = True if has_marks else None
    shapes = {
        "openai": prompt.openai(model="gpt-5.6-sol", breakpoints=marks),
        "responses": prompt.responses(model="gpt-5.6-sol", breakpoints=marks),
        "anthropic": prompt.anthropic(breakpoints=marks),
        "bedrock": prompt.bedrock(model=CLAUDE, breakpoints=marks),
        "litellm": prompt.litellm(model="anthropic/claude-opus-5-5", breakpoints=marks),
    }
    gemini = prompt.gemini()
    shapes["gemini"] = {**gemini.pop("config", {}), **gemini}
    for name, shape in shapes.items():
        assert texts_of(shape) == whole, name
