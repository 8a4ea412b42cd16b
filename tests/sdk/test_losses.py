"""What may be called "read again": text that two prompts have, behind the place where they part."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from stemfirst import Prompt, hole, request, session, static, tenant
from stemfirst.chain import ChainKey
from stemfirst.divergence import diverge, runs_of
from stemfirst.earlier import Earlier
from stemfirst.losses import is_lossy
from stemfirst.rendered import Rendered
from stemfirst.savings import Savings
from stemfirst.wire import Miss, MissPlace, Report, Times, report_to_json

POLICY = "Be kind and brief. " * 20
KEY = ChainKey.derive("sk-test")


def turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def clock(now: str) -> Prompt:
    return Prompt(static(f"It is {now}. {POLICY}"), request("q"))


def policy(*parts: object) -> Prompt:
    return Prompt(static(POLICY, name="policy"), *parts)  # type: ignore[arg-type]


def tools(*names: str) -> Prompt:
    return Prompt(static(POLICY), tools=[{"name": name} for name in names])


PAIRS: dict[str, tuple[Prompt, Prompt, bool]] = {
    "a clock before the policy": (clock("9:00"), clock("9:01"), True),
    "another tenant": (policy(tenant("gold")), policy(tenant("free")), False),
    "another tenant before rules for all": (
        policy(tenant("gold"), tenant(POLICY + "!")),
        policy(tenant("free"), tenant(POLICY + "!")),
        True,
    ),
    "tenants whose texts end alike by chance": (
        policy(tenant("gold tents are good.")),
        policy(tenant("free boots are good.")),
        False,
    ),
    "another question": (policy(request("who")), policy(request("why")), False),
    "another conversation": (
        policy(session(turns("hello", "good day")), request("ok")),
        policy(session(turns("hi", "welcome", "thanks")), request("ok")),
        False,
    ),
    "another conversation with the same greeting": (
        policy(session(turns("hello", "good day", "where is it?")), request("ok")),
        policy(session(turns("hello", "welcome", "send it back")), request("ok")),
        False,
    ),
    "a history that slid": (
        policy(session(turns("a", "b", "c", "d")), request("e")),
        policy(session(turns("a", "b", "c", "d", "e", "f")[2:]), request("g")),
        True,
    ),
    "a history whose past was edited": (
        policy(session(turns("a", "long result", "c", "d")), request("e")),
        policy(session(turns("a", "(elided)", "c", "d", "e", "f")), request("g")),
        True,
    ),
    "tools in another order": (tools("a", "b"), tools("b", "a"), True),
    "another text altogether": (
        Prompt(static("You sell tents."), request("q")),
        Prompt(static("We mend boots."), request("q")),
        False,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_only_text_that_both_have_is_read_again(name):
    before, after, expected = PAIRS[name]
    olds, news = runs_of(before.render()), runs_of(after.render())
    found = diverge(olds, news)
    assert found is not None
    assert is_lossy(found, olds, news) == expected


@pytest.mark.parametrize("name", PAIRS)
def test_digests_of_another_process_tell_the_same(name):
    before, after, expected = PAIRS[name]
    kept = Earlier.of(before.render(), KEY, process=1, at_s=0.0)
    found = kept.parted(after.render(), KEY, None)
    assert found is not None
    assert found.is_lossy == expected


def told(
    rendered: Rendered | None, before: Rendered | None, at: Sequence[int | str] | None = None
) -> Savings:
    place = MissPlace(70, tuple(at) if at else None)
    times = Times(0.0, 10.0, 0.0, 11.0, 5.0, 1.0, None)
    report = Report(100, 60, 40, times, missed=Miss(40, "prompt_changed", place))
    answer = {"model": "m", "stemfirst": report_to_json(report)}
    return Savings.of(answer, rendered=rendered, before=before)


def test_a_value_that_fills_a_hole_is_new_whatever_it_ends_with():
    asked = policy(tenant(hole("shop")), request("q"))
    before, after = (asked.render(shop=f"{name}. {POLICY}") for name in ("Tents", "Boots"))
    assert "40 were new with this tenant" in str(told(after, before))


@pytest.mark.parametrize("has_prompt", [True, False], ids=["a prompt of ours", "plain messages"])
def test_what_nothing_was_compared_with_is_no_miss_to_explain(has_prompt):
    saved = told(policy(request("q")).render() if has_prompt else None, None)
    assert "40 were new behind what was cached" in str(saved)
    assert not saved.missed.is_avoidable


def test_another_text_of_the_same_name_is_no_hole():
    one = Prompt(static(POLICY + "Be kind. " * 9, name="policy"), request("q")).render()
    two = Prompt(static(POLICY + "EDITED " + "Be kind. " * 9, name="policy"), request("q")).render()
    missed = told(two, one).missed
    assert not missed.is_avoidable
    assert missed.why is None
    assert "EDITED" in str(missed.difference)
