"""The demo's arithmetic: sums, percentiles, and the prediction from source."""

from __future__ import annotations

import pytest

pytest.importorskip("rich")

from stemfirst.demo.comparison import Call, gain, percentile, predicted_tokens, totals
from stemfirst.demo.display import estimated, rows, seconds, times


def call(kind: str = "agent", prompt: int = 100, cached: int = 0, ttft: float = 10.0) -> Call:
    return Call(kind, prompt, cached, ttft, 2.0, ttft, (1.0, 0.5, 2.0))


def test_totals_add_tokens_times_and_money() -> None:
    sums = totals([call(cached=20, ttft=10.0), call(prompt=300, cached=80, ttft=30.0)])
    assert (sums.prompt_tokens, sums.cached_tokens, sums.calls) == (400, 100, 2)
    assert sums.hit_ratio == 0.25
    assert sums.prefill_ms == 40.0
    assert sums.saved_ms == (2.0, 1.0, 4.0)


def test_what_no_call_reported_is_unknown_not_zero() -> None:
    sums = totals([Call("agent", 10, 0, 1.0, None, 1.0, None)])
    assert sums.tpot_ms is None
    assert sums.saved_ms is None
    assert totals([call(), Call("agent", 10, 0, 1.0, None, 1.0, None)]).saved_ms == (1.0, 0.5, 2.0)


def test_what_is_estimated_and_what_is_measured_speak_of_the_same_calls() -> None:
    before = [Call("agent", 100, 0, 9.0, 2.0, took, (0.0, 0.0, 0.0)) for took in (90.0, 80.0, 70.0)]
    after = [
        Call("agent", 100, 64, 9.0, 2.0, 10.0, (75.0, 60.0, 90.0)),
        Call("agent", 100, 64, 9.0, 2.0, 20.0, None, "outside the measured range"),
        Call("agent", 100, 64, 9.0, 2.0, 10.0, (55.0, 40.0, 70.0)),
    ]
    won = gain(before, after)
    assert (won.pairs, won.of) == (2, 3)
    assert (won.low_ms, won.estimated_ms, won.high_ms) == (100.0, 130.0, 160.0)
    assert won.measured_ms == (90 - 10) + (70 - 10)
    assert won.unestimated == ("outside the measured range",)
    assert estimated(totals(after)) == "0.1 s (2 calls)"
    assert estimated(totals(before)) == "0.0 s"


def test_an_interval_of_a_difference_holds_both_errors() -> None:
    before = [Call("agent", 100, 16, 9.0, 2.0, 50.0, (10.0, 5.0, 15.0))]
    after = [Call("agent", 100, 64, 9.0, 2.0, 20.0, (40.0, 30.0, 50.0))]
    won = gain(before, after)
    assert (won.low_ms, won.estimated_ms, won.high_ms) == (15.0, 30.0, 45.0)


def test_few_cached_tokens_need_no_estimate_to_be_counted() -> None:
    """A page of a long prompt saves too little to be told from nothing; it saves a page at most."""
    scattered = "the samples scatter too much to tell a gain from a loss"
    before = [Call("agent", 1616, 16, 9.0, 2.0, 1000.0, None, scattered)]
    after = [Call("agent", 1616, 1600, 9.0, 2.0, 20.0, (980.0, 900.0, 1060.0))]
    won = gain(before, after)
    assert (won.pairs, won.of) == (1, 1)
    assert (won.estimated_ms, won.low_ms, won.high_ms) == (975.0, 890.0, 1060.0)
    assert won.measured_ms == 980.0
    many = [Call("agent", 1616, 800, 9.0, 2.0, 500.0, None, scattered)]
    assert gain(many, after).pairs == 0


def test_percentiles_stay_within_the_values() -> None:
    assert percentile([7.0], 95) == 7.0
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile([1.0, 2.0], 95) <= 2.0


def test_the_first_call_of_a_kind_forfeits_nothing() -> None:
    before, after = {"agent": 2000, "triage": 300}, {"agent": 0, "triage": 0}
    assert predicted_tokens([call("agent")], before, after) == 0
    calls = [call("agent"), call("agent"), call("agent"), call("triage"), call("triage")]
    assert predicted_tokens(calls, before, after) == 2 * 2000 + 300


def test_what_is_still_forfeited_after_the_fix_is_not_won_back() -> None:
    calls = [call("agent"), call("agent")]
    assert predicted_tokens(calls, {"agent": 2000}, {"agent": 500}) == 1500


def test_changes_read_as_more_or_less() -> None:
    assert times(30.0, 10.0) == "3.0x less"
    assert times(10.0, 30.0) == "3.0x more"
    assert seconds(None) == "-"
    assert seconds((1500.0, 1000.0, 2000.0)) == "1.5 s"


def test_money_is_prefill_time_at_the_stated_price() -> None:
    hour = totals([Call("agent", 10, 0, 1.0, None, 3_600_000.0, None)])
    label, (before, after), _ = rows(hour, hour, 2.5)[-1]
    assert "$2.50 a GPU hour" in label
    assert before == after == "$2.5000"
