"""`audit` and `check --model` judge one model by the same rules."""

import pytest
from stemfirst_lint.audit.provider_rules import rules_for
from stemfirst_lint.audit.records import Api
from stemfirst_lint.hosted import hosted


@pytest.mark.parametrize(
    ("model", "is_first"),
    [
        ("gpt-4o", False),
        ("gpt-4.1", False),
        ("claude-opus-4-5", True),
        ("deepseek-chat", True),
        ("gemini-2.5-flash", True),
    ],
)
def test_tools_stand_at_the_same_place(model: str, is_first: bool) -> None:
    priced = hosted(model)
    if priced is not None:  # of the others `check` says nothing
        assert priced.renders_tools_first is is_first
    assert rules_for(model, None, Api.CHAT).tools_first is is_first
