"""Development mode sees what stands in front of all text: the tools."""

import warnings

import pytest
from stemfirst import Prompt, static
from stemfirst.drift import StaticChangedWarning, watching


@pytest.mark.parametrize(
    ("sets", "what"),
    [
        ((["one", "two"], ["two", "one"]), "another order: two"),
        ((["one"], ["new"]), "changed: new"),
    ],
    ids=["order", "another tool"],
)
def test_development_mode_notices_tools_that_move_or_change(sets, what):
    def ask(names: list[str]) -> None:
        Prompt(static("Be kind."), tools=[{"name": name} for name in names]).render()

    with watching(), warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(sets[0])
        ask(sets[0])
        with pytest.warns(StaticChangedWarning, match=what) as caught:
            ask(sets[1])
        assert "test_drift.py" in str(caught[0].message)
        ask(sets[0])  # told once


def test_prompts_with_names_of_their_own_may_have_other_tools():
    with watching(), warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("search", "orders", "search"):
            Prompt(static("Be kind.", name=name), tools=[{"name": name}]).render()
