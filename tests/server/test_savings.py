"""The cost model against timings whose truth is known, and the report that is made of it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stemfirst_server.engine.request import RequestReport
from stemfirst_server.savings.calibration import calibrate, points
from stemfirst_server.savings.costmodel import CostModel, SavedTime, Unestimated
from stemfirst_server.savings.law import FEWEST_SAMPLES, Fit, Sample, fit_law
from stemfirst_server.savings.report import Price, build_report, reason_of

A, B, C, D = 3.0, 0.3, 0.00002, 0.002
CHUNK = 512


def truth(context: int, new: int) -> float:
    """A machine's milliseconds for one chunk."""
    return A + B * new + C * new * (context + new / 2) + D * context


def true_prefill(context: int, new: int) -> float:
    """A machine's milliseconds for a prefill in chunks: the slow obvious way."""
    total = 0.0
    while new > 0:
        step = min(CHUNK, new)
        total += truth(context, step)
        context, new = context + step, new - step
    return total


def calibrated(measure: Callable[[int, int], float] = truth, *, context: int = 8192) -> CostModel:
    model = CostModel(CHUNK)
    model.calibrate(calibrate(measure, context_tokens=context, chunk_tokens=CHUNK, budget_s=60))
    return model


def test_the_law_is_found_where_measurements_are_exact() -> None:
    fit = calibrated().fit
    assert fit is not None
    assert (fit.a, fit.b, fit.c, fit.d) == pytest.approx((A, B, C, D), rel=1e-6)
    assert fit.error < 1e-9


def test_each_fit_is_told_with_the_depth_at_which_attention_costs_as_much_as_the_rest() -> None:
    told: list[Fit] = []
    model = CostModel(CHUNK, on_fit=told.append)
    model.calibrate(calibrate(truth, context_tokens=8192, chunk_tokens=CHUNK, budget_s=60))
    assert [fit.even_tokens for fit in told] == pytest.approx([B / C], rel=1e-6)
    flat = fit_law([Sample(c, n, 1.0 + n) for c in (0, 512, 4096) for n in (16, 64, 512)])
    assert flat is not None
    assert flat.even_tokens > 1e6


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 400))
def test_what_was_saved_is_the_difference_of_two_prefills(pages: int, new: int) -> None:
    cached = pages * 16
    saved = calibrated().saved(cached, new)
    assert isinstance(saved, SavedTime)
    assert saved.ms == pytest.approx(true_prefill(0, cached + new) - true_prefill(cached, new))
    assert saved.low <= saved.ms <= saved.high


def test_intervals_hold_the_truth_in_nine_of_ten_cases_on_a_noisy_machine() -> None:
    held = 0
    for seed in range(40):
        noise = random.Random(seed)
        model = calibrated(lambda context, new, n=noise: truth(context, new) * n.uniform(0.85, 1.2))
        saved = model.saved(4096, 100)
        assert isinstance(saved, SavedTime)
        held += saved.low <= true_prefill(0, 4196) - true_prefill(4096, 100) <= saved.high
    assert held >= 36


def test_a_few_measurements_that_were_disturbed_do_not_bend_the_law() -> None:
    noise = random.Random(1)
    model = calibrated(
        lambda context, new: truth(context, new) * (6.0 if noise.random() < 0.15 else 1.0)
    )
    for context, new in ((0, 4196), (4096, 100)):
        assert model.prefill_ms(context, new) == pytest.approx(true_prefill(context, new), rel=0.1)


def test_nothing_is_claimed_before_enough_samples_or_outside_their_range() -> None:
    model = CostModel(CHUNK)
    assert model.saved(1024, 16) is Unestimated.TOO_FEW
    model.calibrate([Sample(0, size, truth(0, size)) for size in range(1, FEWEST_SAMPLES)])
    assert model.saved(1024, 16) is Unestimated.TOO_FEW
    model = calibrated(context=4096)
    assert isinstance(model.saved(3984, 112), SavedTime)
    assert model.saved(4000, 112) is Unestimated.OUTSIDE
    assert model.prefill_ms(0, 4096) is not None
    assert model.prefill_ms(0, 40_960) is None


def test_an_interval_that_cannot_tell_a_gain_from_a_loss_is_not_given() -> None:
    noise = random.Random(7)
    model = calibrated(lambda context, new: truth(context, new) * noise.choice([0.4, 1.0, 3.0]))
    fit = model.fit
    assert fit is not None
    assert fit.spread > 0.5
    assert model.saved(16, 4000) is Unestimated.TOO_UNCERTAIN
    assert isinstance(model.avoided(16, 0, 4000), SavedTime), "nothing is nothing on any machine"
    told = [model.saved(cached, 4096 - cached) for cached in range(16, 4096, 240)]
    assert Unestimated.TOO_UNCERTAIN in told
    assert all(isinstance(saved, Unestimated) or saved.low * saved.high > 0 for saved in told)


def test_a_small_saving_on_a_quiet_machine_is_told_although_it_may_be_none() -> None:
    noise = random.Random(7)
    model = calibrated(lambda context, new: truth(context, new) * noise.uniform(0.97, 1.03))
    saved = model.saved(16, 4000)
    assert isinstance(saved, SavedTime)
    assert saved.low < 0 < saved.high < 0.05 * true_prefill(0, 4016)


def test_nothing_cached_saved_nothing() -> None:
    saved = calibrated().saved(0, 1000)
    assert isinstance(saved, SavedTime)
    assert (saved.ms, saved.low, saved.high) == (0.0, 0.0, 0.0)


def test_the_law_follows_a_machine_that_changes() -> None:
    model = calibrated()
    for number in range(600):
        context, new = (number % 7) * 512, 64 + number % 449
        model.observe(Sample(context, new, 2 * truth(context, new)))
    predicted = model.prefill_ms(1024, 512)
    assert predicted == pytest.approx(2 * truth(1024, 512), rel=0.1)


def test_a_machine_that_becomes_busy_is_followed_within_a_few_prompts() -> None:
    model = calibrated()
    for number in range(40):
        context = number % 8 * CHUNK
        model.observe(Sample(context, CHUNK, 3 * truth(context, CHUNK)))
    saved = model.saved(2048, 64)
    assert isinstance(saved, SavedTime)
    assert saved.ms == pytest.approx(3 * (true_prefill(0, 2112) - true_prefill(2048, 64)), rel=0.2)
    assert model.pace > 1


def test_chunks_that_are_stalled_count_as_often_as_they_come() -> None:
    """A prompt takes the sum of its chunks: their median would leave the stalls out."""
    noise = random.Random(3)
    model = calibrated()
    for number in range(400):
        context, new = number % 8 * CHUNK, CHUNK
        stall = 4.0 if noise.random() < 0.25 else 1.0
        model.observe(Sample(context, new, stall * truth(context, new)))
    told = model.prefill_ms(0, 4096)
    assert told == pytest.approx(1.75 * true_prefill(0, 4096), rel=0.25)


def test_intervals_hold_the_truth_while_the_machine_wanders() -> None:
    held = told = 0
    for seed in range(12):
        noise = random.Random(seed)
        model = calibrated()
        pace = 1.0
        for _ in range(40):
            pace = min(4.0, max(1.0, pace * noise.uniform(0.8, 1.3)))
            true = 0.0
            for context in range(0, 2048, CHUNK):
                took = pace * truth(context, CHUNK) * noise.uniform(0.9, 1.15)
                model.observe(Sample(context, CHUNK, took))
                true += pace * truth(context, CHUNK)
            saved = model.saved(2048, 64)
            if isinstance(saved, SavedTime):
                told += 1
                held += saved.low <= true <= saved.high
    assert told > 400
    assert held / told > 0.8


def test_short_chunks_alone_say_little_of_the_pace() -> None:
    model = calibrated(lambda context, new: truth(context, new) + random.Random(new).uniform(0, 9))
    before = model.saved(4096, 16)
    noise = random.Random(5)
    for _ in range(60):
        model.observe(Sample(2048, 16, truth(2048, 16) + noise.uniform(0, 30)))
    after = model.saved(4096, 16)
    assert isinstance(before, SavedTime)
    assert isinstance(after, Unestimated) or (
        after.high - after.low > 1.5 * (before.high - before.low)
    )


def test_coefficients_are_never_negative() -> None:
    samples = [Sample(c, n, 50 - n / 100 - c / 1000) for c in (0, 512, 1024) for n in (16, 64, 256)]
    fit = fit_law(samples)
    assert fit is not None
    assert min(fit.a, fit.b, fit.c, fit.d) >= 0


def test_one_point_measured_often_is_no_law() -> None:
    assert fit_law([Sample(0, 512, 160.0)] * 50) is None


@given(st.integers(16, 40_000), st.sampled_from([16, 64, 256, 512, 2048]))
def test_calibration_measures_only_what_fits(context_tokens: int, chunk_tokens: int) -> None:
    grid = points(context_tokens, chunk_tokens)
    assert all(context + new <= context_tokens for context, new in grid)
    assert all(0 < new <= chunk_tokens for _, new in grid)
    if context_tokens >= chunk_tokens:
        reach = min(context_tokens, 16_384) - chunk_tokens
        assert max(context for context, new in grid) == max(reach, 0)
        assert max(new for _, new in grid) == chunk_tokens


def test_a_short_budget_still_measures_what_a_fit_needs() -> None:
    samples = list(calibrate(truth, context_tokens=8192, chunk_tokens=512, budget_s=1e-9))
    assert len(samples) == FEWEST_SAMPLES
    assert fit_law(samples) is not None
    assert not list(calibrate(truth, context_tokens=8192, chunk_tokens=512, budget_s=0))


def counted(**changes: object) -> RequestReport:
    values: dict[str, object] = {
        "prompt_tokens": 100,
        "cached_tokens": 64,
        "computed_tokens": 36,
        "cache_write_tokens": 32,
        "output_tokens": 5,
        "divergence_token": 70,
        "is_diverged": True,
        "queue_ms": 1.0,
        "prefill_ms": 20.0,
        "load_ms": 0.0,
        "ttft_ms": 22.0,
        "decode_ms": 40.0,
        "total_ms": 62.0,
        "preemptions": 0,
        "chunks": (),
    }
    return RequestReport(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "prompt_changed"),
        ({"is_diverged": False}, "prompt_grew"),
        ({"cached_tokens": 0, "divergence_token": 0}, "first_seen"),
        ({"cached_tokens": 0, "divergence_token": 9, "is_diverged": False}, "below_page"),
        ({"cached_tokens": 96}, None),
        ({"prompt_tokens": 97, "cached_tokens": 96}, None),
        ({"prompt_tokens": 96, "cached_tokens": 80}, None),
        ({"prompt_tokens": 97, "cached_tokens": 80, "divergence_token": 96}, "prompt_changed"),
    ],
    ids=[
        "changed",
        "grew",
        "first",
        "below a page",
        "rest of the last page",
        "last token",
        "whole pages but the last token",
        "a page short",
    ],
)
def test_the_reason_says_why_tokens_were_computed(
    changes: dict[str, object], reason: str | None
) -> None:
    assert reason_of(counted(**changes), page=16, has_prefix_cache=True) == reason


def test_without_a_cache_that_is_the_reason() -> None:
    assert reason_of(counted(), page=16, has_prefix_cache=False) == "cache_disabled"


def test_money_is_time_at_the_price_and_absent_without_one() -> None:
    saved = SavedTime(50.0, 40.0, 60.0, samples=20, error=0.03)
    fixed = {"reason": None, "place": None, "uses": None, "notice": None}
    report = build_report(counted(), saved, price=Price(3.6), **fixed)  # type: ignore[arg-type]
    assert report.cost is not None
    assert report.cost.actual == pytest.approx(20e-6)
    assert report.cost.saved == pytest.approx(50e-6)
    assert report.cost.without_cache == pytest.approx(70e-6)
    assert report.time.tpot == pytest.approx(10.0)
    free = build_report(counted(), saved, price=None, **fixed)  # type: ignore[arg-type]
    assert free.cost is None
    assert free.unpriced == "the server was started without --gpu-price-per-hour"
    why_not = Unestimated.OUTSIDE
    unknown = build_report(counted(), why_not, price=Price(3.6), **fixed)  # type: ignore[arg-type]
    assert unknown.cost is None
    assert unknown.time.prefill_ms_saved is None
    assert unknown.time.unestimated == unknown.unpriced == "outside the measured range"


def test_time_to_load_from_a_slower_tier_is_taken_off() -> None:
    saved = SavedTime(50.0, 40.0, 60.0, samples=20, error=0.03)
    report = build_report(
        counted(load_ms=70.0),
        saved,
        reason=None,
        place=None,
        uses=None,
        price=Price(3.6),
        notice=None,
    )
    assert report.time.prefill_ms_saved is not None
    assert report.time.prefill_ms_saved.est == pytest.approx(-20.0)
    assert report.cost is not None
    assert report.cost.saved < 0
