"""The demo model's shipped files: reproducible, lossless, and a chat template that keeps order."""

from __future__ import annotations

import itertools
import json
from importlib.resources import as_file, files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stemfirst_server.demo_model.train_tokenizer import train
from tokenizers import Tokenizer
from transformers import AutoTokenizer

SHIPPED = files("stemfirst_server.demo_model")
TOOL = {"type": "function", "function": {"name": "find_order", "parameters": {"type": "object"}}}
SYSTEM = {"role": "system", "content": "You are a support agent."}
USER = {"role": "user", "content": "Where is my order?"}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    with as_file(SHIPPED) as folder:
        return AutoTokenizer.from_pretrained(folder)


def render(tokenizer: Any, messages: list[dict[str, Any]], **options: Any) -> str:
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    return text


def test_the_shipped_tokenizer_is_the_one_that_the_script_trains() -> None:
    shipped = json.loads((SHIPPED / "tokenizer.json").read_text("utf-8"))
    assert json.loads(train().to_str()) == shipped


@settings(deadline=None)
@given(text=st.text())
def test_any_text_comes_back_as_it_went_in(text: str) -> None:
    tokenizer = Tokenizer.from_str((SHIPPED / "tokenizer.json").read_text("utf-8"))
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_a_turn_is_a_prefix_of_the_next(tokenizer: Any) -> None:
    call = {"function": {"name": "find_order", "arguments": '{"id": 7}'}}
    turns = [
        SYSTEM,
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "shipped", "tool_call_id": "1"},
        {"role": "assistant", "content": "It is on its way."},
        {"role": "user", "content": [{"type": "text", "text": "Thanks"}]},
    ]
    texts = [render(tokenizer, turns[:n], tools=[TOOL]) for n in range(1, len(turns) + 1)]
    for shorter, longer in itertools.pairwise(texts):
        assert longer.startswith(shorter)
    assert '<tool_call>\n{"name": "find_order", "arguments": {"id": 7}}\n</tool_call>' in texts[2]


def test_tools_stand_in_the_system_turn_behind_its_text(tokenizer: Any) -> None:
    text = render(tokenizer, [SYSTEM, USER], tools=[TOOL], add_generation_prompt=True)
    assert text.index(SYSTEM["content"]) < text.index("<tools>") < text.index(USER["content"])
    assert text.count("<|im_start|>system") == 1
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    alone = render(tokenizer, [USER], tools=[TOOL])
    assert alone.startswith("<|im_start|>system\n# Tools")


def test_an_unknown_role_is_refused(tokenizer: Any) -> None:
    with pytest.raises(Exception, match="unknown role wizard"):
        render(tokenizer, [{"role": "wizard", "content": "x"}])
