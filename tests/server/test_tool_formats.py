"""Calls as model families write them: read from text in pieces, and written under a grammar."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.model.demo import demo_model_folder
from stemfirst_server.tokens.grammar import Grammars
from stemfirst_server.tokens.template import ChatTemplate
from stemfirst_server.tools.calls import Mode, Tool, ToolUse, tool_use
from stemfirst_server.tools.families import FORMATS, format_of, format_taught
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer

WEATHER = Tool(
    "get_weather",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 6}, "days": {"$ref": "#/$defs/d"}},
        "required": ["city", "days"],
        "$defs": {"d": {"type": "integer", "minimum": 1, "maximum": 9}},
    },
    "tools[0].function.parameters",
)
UNIT = Tool(
    "set_unit",
    {"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]},
    "tools[1].function.parameters",
)
TOOLS = (WEATHER, UNIT)
END = 2
PARIS = {"city": "Paris", "days": 3}

WRITTEN: dict[str, tuple[str, str, str, list[tuple[str, dict[str, Any]]]]] = {
    "hermes": (
        "hermes",
        'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": '
        '{"city": "Paris", "days": 3}}\n</tool_call>\n<tool_call>\n'
        '{"name": "set_unit", "arguments": {"unit": "C"}}\n</tool_call>',
        "Let me see.",
        [("get_weather", PARIS), ("set_unit", {"unit": "C"})],
    ),
    "hermes, cut before the end tag": (
        "hermes",
        '<tool_call>{"name": "set_unit", "arguments": {"unit": "C"}}',
        "",
        [("set_unit", {"unit": "C"})],
    ),
    "hermes, no JSON": (
        "hermes",
        "<tool_call>oh</tool_call> well",
        "<tool_call>oh</tool_call> well",
        [],
    ),
    "qwen3-coder": (
        "qwen3_coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
        "",
        [("get_weather", PARIS)],
    ),
    "llama3": (
        "llama3_json",
        '{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}',
        "",
        [("get_weather", PARIS)],
    ),
    "llama3, tagged, two": (
        "llama3_json",
        '<|python_tag|>{"name": "set_unit", "parameters": {"unit": "C"}}; '
        '{"name": "set_unit", "parameters": {"unit": "F"}}',
        "",
        [("set_unit", {"unit": "C"}), ("set_unit", {"unit": "F"})],
    ),
    "llama3, an object that is no call": ("llama3_json", '{"a": 1}', '{"a": 1}', []),
    "llama3, an object later on": ("llama3_json", 'It is {"name": "x"}', 'It is {"name": "x"}', []),
    "mistral, a list": (
        "mistral",
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}, '
        '{"name": "set_unit", "arguments": {"unit": "C"}}]',
        "",
        [("get_weather", PARIS), ("set_unit", {"unit": "C"})],
    ),
    "mistral, args": (
        "mistral_args",
        'Yes.[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "days": 3}[TOOL_CALLS]set_unit[ARGS]'
        '{"unit": "C"}',
        "Yes.",
        [("get_weather", PARIS), ("set_unit", {"unit": "C"})],
    ),
    "deepseek v3": (
        "deepseek_v3",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"city": "Paris", "days": 3}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function'
        '<｜tool▁sep｜>set_unit\n```json\n{"unit": "C"}\n```<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜>",
        "",
        [("get_weather", PARIS), ("set_unit", {"unit": "C"})],
    ),
    "harmony, a call": (
        "openai",
        "<|channel|>analysis<|message|>They ask for weather.<|end|><|start|>assistant<|channel|>"
        "commentary to=functions.get_weather <|constrain|>json<|message|>"
        '{"city": "Paris", "days": 3}<|call|>',
        "",
        [("get_weather", PARIS)],
    ),
    "harmony, a call that the end token ended": (
        "openai",
        "<|channel|>commentary to=functions.set_unit<|message|>{\"unit\": \"C\"}",
        "",
        [("set_unit", {"unit": "C"})],
    ),
    "harmony, an answer": (
        "openai",
        "<|channel|>analysis<|message|>Hm < hm.<|end|><|start|>assistant<|channel|>final<|message|>"
        "It is <|sunny| today.",
        "It is <|sunny| today.",
        [],
    ),
    "harmony, no header": ("openai", '{"a": 1}', '{"a": 1}', []),
    "deepseek v3.1": (
        "deepseek_v31",
        "Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
        '{"city": "Paris", "days": 3}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "Hm.",
        [("get_weather", PARIS)],
    ),
}  # fmt: skip


def read(name: str, pieces: list[str], **more: Any) -> tuple[str, list[tuple[str, Any]]]:
    reader = FORMATS[name].reader(ToolUse(TOOLS, **more))
    readings = [reader.feed(piece) for piece in pieces] + [reader.finish()]
    calls = [call for reading in readings for call in reading.calls]
    return "".join(reading.text for reading in readings), [
        (call.name, json.loads(call.arguments)) for call in calls
    ]


@pytest.mark.parametrize("case", WRITTEN.values(), ids=WRITTEN.keys())
def test_calls_are_read_in_the_familys_spelling(
    case: tuple[str, str, str, list[tuple[str, Any]]],
) -> None:
    name, raw, text, calls = case
    assert read(name, [raw]) == (text, calls)


@given(st.sampled_from(list(WRITTEN.values())), st.randoms())
@settings(deadline=None)
def test_pieces_read_the_same_wherever_they_are_cut(case: Any, chance: random.Random) -> None:
    name, raw, text, calls = case
    pieces = []
    while raw:
        size = chance.randint(1, 9)
        pieces.append(raw[:size])
        raw = raw[size:]
    assert read(name, pieces) == (text, calls)


@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(st.sampled_from(["<tool", "_call>", "{", "}", " ", "\n", "a", "[TOOL_", "<"])),
)
@settings(deadline=None)
def test_text_without_calls_is_shown_whole(name: str, pieces: list[str]) -> None:
    assert read(name, pieces) == ("".join(pieces), [])


def test_one_call_is_told_where_only_one_is_wanted() -> None:
    name, raw, _, calls = WRITTEN["hermes"]
    assert read(name, [raw], is_parallel=False)[1] == calls[:1]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("<tool_call>", "hermes"),
        ("<tool_call> <function=x>", "qwen3_coder"),
        ("<|python_tag|>", "llama3_json"),
        ('{"name": function name, "parameters": dictionary}', "llama3_json"),
        ("[TOOL_CALLS] [AVAILABLE_TOOLS]", "mistral"),
        ("[TOOL_CALLS] [ARGS]", "mistral_args"),
        ("<｜tool▁calls▁begin｜> ```json", "deepseek_v3"),
        ("<｜tool▁calls▁begin｜>", "deepseek_v31"),
        ("<|start|>assistant<|channel|>final<|message|>", "openai"),
        ("nothing of the sort", None),
    ],
)
def test_a_template_tells_its_format(template: str, name: str | None) -> None:
    assert format_of(template) is (FORMATS[name] if name else None)


_TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
_CALLS = "{% for c in m.tool_calls or [] %}"
_ENDS = "{% endfor %}<|im_end|>\n{% endfor %}"
_JSON = '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
TAUGHT = {
    "hermes": "<tool_call>\n" + _JSON + "\n</tool_call>",
    "qwen3_coder": "<tool_call>\n<function={{ c.function.name }}>\n"
    "{% for k, v in c.function.arguments.items() %}<parameter={{ k }}>\n{{ v }}\n</parameter>\n"
    "{% endfor %}</function>\n</tool_call>",
    "llama3_json": '{"name": "{{ c.function.name }}", '
    '"parameters": {{ c.function.arguments | tojson }}}',
    "mistral": "[TOOL_CALLS][" + _JSON + "]",
    "mistral_args": "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}",
    "deepseek_v31": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{{ c.function.name }}<｜tool▁sep｜>"
    "{{ c.function.arguments | tojson }}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
}


@pytest.mark.parametrize("name", TAUGHT)
def test_a_template_shows_its_format_by_writing_a_call(name: str) -> None:
    """Whatever else its source mentions: here, the marks of every other family."""
    tokenizer = AutoTokenizer.from_pretrained(demo_model_folder())
    others = "{# <tool_call> <function= [TOOL_CALLS] [ARGS] tool▁calls▁begin <|python_tag|> #}"
    tokenizer.chat_template = others + _TURNS + _CALLS + TAUGHT[name] + _ENDS
    taught = format_taught(ChatTemplate(tokenizer), ("<|im_start|>", "<|im_end|>"))
    assert taught is FORMATS[name]


def test_a_template_that_writes_no_call_is_told_by_its_marks() -> None:
    tokenizer = AutoTokenizer.from_pretrained(demo_model_folder())
    control = ("<|im_start|>", "<|im_end|>")
    tokenizer.chat_template = _TURNS + "<|im_end|>\n{% endfor %}"
    assert format_taught(ChatTemplate(tokenizer), control) is None
    tokenizer.chat_template = "{# <tool_call> #}" + _TURNS + "<|im_end|>\n{% endfor %}"
    assert format_taught(ChatTemplate(tokenizer), control) is FORMATS["hermes"]
    tokenizer.chat_template = "{{ raise_exception('no') }}[TOOL_CALLS]"
    assert format_taught(ChatTemplate(tokenizer), control) is FORMATS["mistral"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The demo's, with every family's control tokens."""
    made = Tokenizer.from_file(str(demo_model_folder() / "tokenizer.json"))
    names = {token for form in FORMATS.values() for token in form.tokens}
    made.add_special_tokens([AddedToken(name, special=True) for name in sorted(names)])
    return made


@pytest.mark.parametrize("is_parallel", [True, False])
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_a_grammar_lets_through_is_read_as_calls_that_fit_their_schemas(
    name: str, is_parallel: bool, tokenizer: Tokenizer
) -> None:
    form = FORMATS[name]
    grammars = Grammars(tokenizer, [END])
    asked = ToolUse(TOOLS, Mode.REQUIRED, is_parallel)
    grammar = grammars.of_lark(form.grammar(asked, grammars.text), "tools")
    seen = set()
    for seed in range(6):
        chance = np.random.default_rng(seed)
        state = grammar.begin()
        output: list[int] = []
        while not state.is_complete:
            token = int(chance.choice(np.flatnonzero(state.allowed())))
            state.accept(token)
            output.append(token)
            assert len(output) < 4000
        shown = [token for token in output if token != END]
        text, calls = read(name, [tokenizer.decode(shown, skip_special_tokens=False)])
        assert text == ""
        assert 1 <= len(calls) <= (16 if is_parallel else 1)
        for called, arguments in calls:
            seen.add(called)
            if called == "get_weather":
                assert set(arguments) == {"city", "days"}
                assert isinstance(arguments["city"], str)
                assert 1 <= arguments["days"] <= 9
            else:
                assert arguments["unit"] in ("C", "F")
    assert seen == {"get_weather", "set_unit"}


def test_a_choice_limits_the_tools() -> None:
    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
        for name in ("a", "b")
    ]
    named = {"type": "function", "function": {"name": "b"}}
    assert tool_use(tools, named).tools[0].name == "b"
    assert tool_use(tools, named).mode is Mode.REQUIRED
    allowed = {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "a"}}],
        },
    }
    assert [tool.name for tool in tool_use(tools, allowed).tools] == ["a"]
    for wrong in ("maybe", {"type": "function", "function": {"name": "c"}}, {"type": "x"}, 3):
        with pytest.raises(InvalidRequestError) as caught:
            tool_use(tools, wrong)
        assert caught.value.parameter == "tool_choice"
    with pytest.raises(InvalidRequestError, match="no tools"):
        tool_use([], "required")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "objct"}, "Invalid type: objct"),
        ({"not": {"type": "string"}}, "not"),
        ({"$ref": "http://example.com/s.json"}, "http://example.com/s.json"),
        ({"type": "string", "pattern": "("}, "regex"),
        ({"type": "string", "description": "x" * 300_000}, "too large"),
    ],
)
def test_a_schema_that_cannot_be_enforced_is_said_with_its_part(
    schema: dict[str, Any], words: str, tokenizer: Tokenizer
) -> None:
    with pytest.raises(InvalidRequestError, match="response_format") as caught:
        Grammars(tokenizer, [END]).of_schema(schema, "response_format.json_schema.schema")
    assert words in str(caught.value)
    assert caught.value.parameter == "response_format.json_schema.schema"
