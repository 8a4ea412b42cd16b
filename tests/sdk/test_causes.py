"""What two texts show of why they differ, and the lint rule that finds such a thing in source."""

from __future__ import annotations

import pytest
from stemfirst import Prompt, hole, request, session, static, tenant
from stemfirst.causes import RULES, cause_of
from stemfirst.divergence import diverge, runs_of
from stemfirst.savings import Missed
from stemfirst.tiers import Tier
from stemfirst_lint.rules import RULES as LINT_RULES

POLICY = " Be kind. " * 20


def cause(before: Prompt, after: Prompt):
    runs = runs_of(after.render())
    found = diverge(runs_of(before.render()), runs)
    assert found is not None
    return cause_of(found, runs)


TEXTS = {
    "a clock": ("It is 14:30:59.", "It is 14:31:07.", "SF101", "14:30:59", "14:31:07"),
    "a clock whose last digit differs": ("at 09:00", "at 09:01", "SF101", "09:00", "09:01"),
    "a stamp": ("t=1763911532.25", "t=1763911538.75", "SF101", "1763911532.25", "1763911538.75"),
    "a day": ("Today: 2026-11-23", "Today: 2026-11-24", "SF102", "2026-11-23", "2026-11-24"),
    "a day in words": ("On Nov 23, 2026", "On Nov 24, 2026", "SF102", "Nov 23", "Nov 24"),
    "a random id": (
        "id 6f1c1f5e-0c43-4c1c-9d8e-0d6f6f7a1b2c.",
        "id 0b9a8c7d-1e2f-4a3b-8c4d-5e6f7a8b9c0d.",
        "SF103",
        "6f1c1f5e-0c43-4c1c-9d8e-0d6f6f7a1b2c",
        "0b9a8c7d-1e2f-4a3b-8c4d-5e6f7a8b9c0d",
    ),
    "an address": ("for ada@example.org", "for bob@example.org", "SF104", None, None),
    "a counter": ("call 41", "call 42", "SF105", "41", "42"),
    "words in another order": ("tags: red, blue", "tags: blue, red", "SF201", "red,", "blue,"),
    "other words": ("plan gold", "plan free", "SF301", "gold", "free"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_changed_names_the_rule(name):
    before, after, code, was, now = TEXTS[name]
    found = cause(Prompt(static(before + POLICY)), Prompt(static(after + POLICY)))
    assert found.rule.code == code
    if was:
        assert (found.was, found.now) == (was, now)


def test_a_hole_is_named_with_the_stable_text_behind_it():
    prompt = Prompt(static(hole("now"), name="clock"), static(POLICY, name="policy"))
    runs = [runs_of(prompt.render(now=now)) for now in ("9:00", "9:01")]
    found = cause_of(diverge(*runs), runs[1])
    assert found.clause("`agent.py:42`") == "`agent.py:42` puts `{now}` before policy"


def test_the_rest_of_the_segment_is_named_before_the_text_behind_it():
    made = [
        Prompt(static(f"Id {number}." + POLICY, name="policy"), tenant("Plan: gold"))
        for number in ("4711x", "0815x")
    ]
    assert cause(*made).behind == "the rest of policy"


def test_text_that_differs_inside_a_segment_stands_before_its_own_rest():
    made = [Prompt(static(f"It is {now}." + POLICY, name="policy")) for now in ("9:00", "9:01")]
    assert cause(*made).clause("`a.py:1`") == (
        '`a.py:1` puts "9:01" (was "9:00") before the rest of policy'
    )


def test_tools_in_another_order_and_a_changed_tool_are_told_apart():
    def tool(name, text="x"):
        return {"name": name, "description": text, "parameters": {"type": "object"}}

    one, two = tool("one"), tool("two")
    swapped = cause(Prompt(request("q"), tools=[one, two]), Prompt(request("q"), tools=[two, one]))
    assert swapped.rule.code == "SF203"
    assert (swapped.was, swapped.now) == ("one", "two")
    changed = [Prompt(request("q"), tools=[tool("one", text)]) for text in ("a", "b")]
    assert cause(*changed).rule.code == "SF108"


def test_a_history_that_lost_its_first_turns_slides():
    turns = [{"role": "user", "content": f"turn {number}"} for number in "abcdef"]
    made = [Prompt(static("x"), session(turns[start:])) for start in (0, 2)]
    assert cause(*made).rule.code == "SF401"


def test_text_of_the_request_has_nothing_stable_behind_it():
    made = [Prompt(static("x"), tenant("t"), request(text)) for text in ("who", "why")]
    assert cause(*made).behind is None


def test_each_rule_is_one_of_the_linters_under_its_name():
    known = {rule.code: rule.name for rule in LINT_RULES}
    assert {rule.code: known.get(rule.code) for rule in RULES} == {
        rule.code: rule.name for rule in RULES
    }


def test_a_tool_that_was_replaced_came_in_no_other_order():
    before, after = (Prompt(static("a"), tools=[{"name": name}]).render() for name in "ab")
    runs = runs_of(after)
    found = diverge(runs_of(before), runs)
    assert found is not None
    assert str(cause_of(found, runs).rule).startswith("SF108")


def test_another_tenants_value_at_the_tenants_place_is_nobodys_fault():
    asked = Prompt(static("Be kind.", name="policy"), tenant(hole("plan")), request("Where?"))
    before, after = (asked.render(plan=plan) for plan in ("gold", "free"))
    runs = runs_of(after)
    found = diverge(runs_of(before), runs)
    assert found is not None
    missed = Missed(17, "prompt_changed", tier=Tier.TENANT, why=cause_of(found, runs))
    assert not missed.is_avoidable
    assert str(missed) == "17 were new with this tenant"
