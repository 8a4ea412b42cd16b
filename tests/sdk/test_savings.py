"""A call's savings, and the sentence that says them."""

import os

import pytest
from stemfirst import Prompt, hole, ledger, request, static, tenant
from stemfirst.causes import CLOCK, Cause
from stemfirst.prompt import Origin
from stemfirst.savings import Missed, Savings, money, savings_of, shown
from stemfirst.tiers import Tier
from stemfirst.wire import Cost, Estimate, Miss, MissPlace, Report, Times, report_to_json


def times(estimate: Estimate | None) -> Times:
    return Times(0.0, 10.0, 0.0, 11.0, 5.0, 1.0, estimate)


def saved(**changes) -> Savings:
    given = {
        "model": "m",
        "prompt_tokens": 5_938,
        "cached_tokens": 4_096,
        "time": times(Estimate(61.2, 54.8, 68.3, 40, 0.02)),
        "cost": Cost(0.0008, 0.0012, 0.0004, "GPU hour"),
        "missed": Missed(
            1_842,
            "prompt_changed",
            MissPlace(4_100, ("messages", 0, "content"), 77, "s3"),
            "request text",
            None,
            Origin(os.path.join(os.getcwd(), "agent.py"), 42),
        ),
    }
    return Savings(**{**given, **changes})


SENTENCES = {
    "a miss with its line": (
        saved(),
        "4,096 of 5,938 prompt tokens came from the cache (69 %), saving about 61 ms of prefill "
        "[55 to 68] and $0.00040; 1,842 were read again, because the prompt changed at token "
        "4,100 in request text (`agent.py:42`).",
    ),
    "a miss with its price and its rule": (
        saved(
            missed=Missed(
                1_842,
                "prompt_changed",
                MissPlace(4_100, ("messages", 0, "content"), 77, "s3"),
                "clock",
                Tier.STATIC,
                Origin(os.path.join(os.getcwd(), "agent.py"), 42),
                ms=Estimate(61.2, 54.8, 68.3, 40, 0.02),
                cost=0.0004,
                why=Cause(CLOCK, "14:30:59", "14:31:07", hole="now", behind="the policy"),
            )
        ),
        "4,096 of 5,938 prompt tokens came from the cache (69 %), saving about 61 ms of prefill "
        "[55 to 68] and $0.00040; 1,842 were read again, 61 ms [55 to 68], $0.00040, because "
        "`agent.py:42` puts `{now}` before the policy (SF101 clock-in-prefix); try `stemfirst "
        "fix agent.py`.",
    ),
    "a miss without a known line": (
        saved(missed=Missed(1_842, "prompt_changed", MissPlace(7, ("messages", 0, "content")))),
        "4,096 of 5,938 prompt tokens came from the cache (69 %), saving about 61 ms of prefill "
        "[55 to 68] and $0.00040; 1,842 were read again, because the prompt changed at token 7 "
        "(messages.0.content).",
    ),
    "a first call": (
        saved(cached_tokens=0, time=times(None), cost=None, missed=Missed(5_938, "first_seen")),
        "0 of 5,938 prompt tokens came from the cache (0 %); 5,938 were read for the first time.",
    ),
    "a question that is new": (
        saved(missed=Missed(17, "prompt_changed", None, "request text", Tier.REQUEST), time=None),
        "4,096 of 5,938 prompt tokens came from the cache (69 %), saving $0.00040; "
        "17 were new with this request.",
    ),
    "a provider that reports tokens only": (
        Savings(prompt_tokens=10, cached_tokens=5),
        "5 of 10 prompt tokens came from the cache (50 %).",
    ),
    "a provider that reports no cached tokens": (
        Savings(prompt_tokens=1_000),
        "The provider did not report how many of 1,000 prompt tokens were cached.",
    ),
    "nothing": (Savings(), "Nothing was reported about the prompt's tokens."),
    "a stream cut off": (
        Savings(is_complete=False),
        "Nothing was reported about the prompt's tokens: the call ended before its usage came.",
    ),
    "a loss": (
        saved(time=times(Estimate(-3, -5, -1, 40)), cost=None, missed=None),
        "4,096 of 5,938 prompt tokens came from the cache (69 %), "
        "saving about -3 ms of prefill [-5 to -1].",
    ),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_savings_are_said_in_a_sentence(name):
    savings, sentence = SENTENCES[name]
    assert str(savings) == sentence


def test_a_whole_prompt_from_the_cache_has_the_ratio_one():
    assert Savings(prompt_tokens=8, cached_tokens=8).hit_ratio == 1.0


@pytest.mark.parametrize("tokens", [(None, None), (None, 3), (8, None), (0, 0)], ids=str)
def test_a_ratio_without_its_parts_is_none(tokens):
    prompt, cached = tokens
    assert Savings(prompt_tokens=prompt, cached_tokens=cached).hit_ratio is None


def test_hosted_models_are_priced_by_the_table_with_its_date():
    response = {
        "model": "gpt-5.6-sol",
        "usage": {
            "prompt_tokens": 10_000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 8_000, "cache_write_tokens": 1_000},
        },
    }
    hosted = Savings.of(response, provider="https://api.openai.com/v1/")
    assert hosted.cost is not None
    assert "2026-" in hosted.cost.basis
    assert hosted.unpriced is None


@pytest.mark.parametrize(
    ("response", "provider", "reason"),
    [
        ({"usage": {"prompt_tokens": 1, "cached_tokens": 0}}, None, "names no model"),
        ({"model": "gpt-4o"}, None, "no usage"),
        ({"model": "gpt-4o", "usage": {"prompt_tokens": 1}}, None, "does not report cached"),
        (
            {"model": "my-llama", "usage": {"prompt_tokens": 1, "cached_tokens": 0}},
            None,
            "my-llama",
        ),
        (
            {"model": "gpt-4o", "usage": {"prompt_tokens": 1, "cached_tokens": 0}},
            "http://localhost:8000/v1/",
            "localhost",
        ),
    ],
    ids=["no model", "no usage", "no cached tokens", "unknown model", "unknown provider"],
)
def test_what_cannot_be_priced_says_why(response, provider, reason):
    unpriced = Savings.of(response, provider=provider)
    assert unpriced.cost is None
    assert reason in unpriced.unpriced


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (0, "$0.00"),
        (12.345, "$12.35"),
        (0.1, "$0.10"),
        (0.05, "$0.050"),
        (0.00012345, "$0.00012"),
        (-0.0004, "-$0.00040"),
        (-2, "-$2.00"),
        (1234.5, "$1,234.50"),
    ],
)
def test_money_is_shown_with_two_significant_digits(dollars, text):
    assert money(dollars) == text


def test_an_origin_below_the_folder_is_shown_relative_to_it():
    assert shown(Origin(os.path.join(os.getcwd(), "a", "b.py"), 3)) == "a/b.py:3"
    assert shown(Origin("/elsewhere/b.py", 3)) == "/elsewhere/b.py:3"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("evicted", "because they had been evicted"),
        ("flushed", "because the cache had been flushed"),
        ("cache_disabled", "because the server's cache is off"),
    ],
)
def test_what_the_server_did_is_not_blamed_on_the_text(reason, words):
    prompt = Prompt(static("Be kind. " * 40, name="policy"), request(hole("q")))
    before, now = prompt.render(q="Where?"), prompt.render(q="When?")
    miss = Miss(96, reason, MissPlace(90, now.segments[1].at, 0))
    report = report_to_json(Report(100, 0, 100, times(None), miss))
    told = Savings.of({"model": "m", "stemfirst": report}, rendered=now, before=before)
    assert told.missed.why is None
    assert told.missed.is_avoidable
    assert words in str(told)
    book = ledger()
    book.add(told)
    assert book.misses()[0].cause.startswith(reason.replace("_", " "))


def test_more_cached_than_there_was_is_told_as_what_it_is():
    saved = Savings(model="m", prompt_tokens=10, cached_tokens=1_024)
    assert str(saved) == (
        "The provider reported 1,024 cached tokens of 10 in the prompt, which cannot be."
    )


def test_savings_of_takes_any_response():
    assert savings_of({"model": "m", "usage": {"prompt_tokens": 3}}).prompt_tokens == 3
    assert savings_of(None) == Savings(unpriced="the response names no model")


@pytest.mark.parametrize(
    ("byte", "code"),
    [(306, "SF101"), (300, "SF101"), (5_000, None), (None, "SF101")],
    ids=["there", "where its token begins", "elsewhere", "not told"],
)
def test_a_cause_is_named_only_where_the_server_says_that_the_prompt_parted(byte, code):
    before, after = (
        Prompt(
            static("x" * 300), tenant(f"at {now}", name="clock"), tenant("y" * 99), request("q")
        ).render()
        for now in ("9:00", "9:01")
    )
    place = MissPlace(70, ("messages", 0, "content"), byte, "s1")
    report = Report(
        100, 60, 40, times(None), missed=Miss(40, "prompt_changed", place, Estimate(3, 2, 4, 9))
    )
    response = {"model": "m", "stemfirst": report_to_json(report)}
    missed = Savings.of(response, rendered=after, before=before).missed
    assert (missed.why and missed.why.rule.code) == code
    assert (missed.difference is None) == (code is None)
    assert missed.is_avoidable == (code is not None)
    if code is not None:
        assert "3 ms [2 to 4]" in str(missed)


def test_what_our_server_could_not_estimate_has_its_reason():
    why = "outside the measured range"
    unknown = Times(0.0, 10.0, 0.0, 11.0, 5.0, 1.0, None, why)
    missed = Miss(40, "prompt_changed", unestimated=why)
    answer = {"stemfirst": report_to_json(Report(100, 60, 40, unknown, missed, unpriced=why))}
    savings = Savings.of(answer)
    assert savings.unestimated == savings.unpriced == savings.missed.unestimated == why
    assert "an unknown time of prefill (outside the measured range)" in str(savings)


def test_a_tenants_own_text_is_new_with_this_tenant_whatever_was_sent_before():
    assert str(Missed(166, "prompt_grew", tier=Tier.TENANT)) == "166 were new with this tenant"
    assert str(Missed(166, "prompt_grew")) == "166 were new behind what was cached"
