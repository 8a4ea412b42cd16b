"""The pytest plugin and its assertions, and development mode."""

import itertools
import textwrap
import warnings

import pytest
from stemfirst import Prompt, hole, request, static, tenant
from stemfirst.drift import StaticChangedWarning, watching
from stemfirst.savings import Savings
from stemfirst.testing import assert_cache_hit, assert_prefix_stable
from stemfirst.tiers import Tier

pytest_plugins = ("pytester",)

_CLOCK = itertools.count()


def ticking() -> Prompt:
    return Prompt(static(f"It is {next(_CLOCK)} o'clock. Be kind."), static("Be brief. " * 9))


def test_a_clock_in_static_text_is_shown_with_both_texts():
    with pytest.raises(AssertionError, match="static prefix differs") as caught:
        assert_prefix_stable(ticking)
    message = str(caught.value)
    assert "o'clock" in message
    assert "^" in message
    assert "test_testing.py" in message
    assert "92 bytes of stable text stand behind it" in message


def test_values_of_requests_leave_a_good_prompt_stable():
    good = Prompt(static("Be kind."), tenant(hole("plan")), request(hole("q")))
    values = [{"plan": "gold", "q": "a"}, {"plan": "free", "q": "b"}]
    assert_prefix_stable(good, vary=values)
    with pytest.raises(AssertionError, match="tenant prefix differs"):
        assert_prefix_stable(good, vary=values, tier=Tier.TENANT)


def test_static_text_that_only_some_requests_have_is_a_difference():
    def prompt(*, is_admin: bool) -> Prompt:
        more = [static("You may delete.")] if is_admin else []
        return Prompt(static("Be kind."), *more, request("q"))

    with pytest.raises(AssertionError, match="static prefix differs"):
        assert_prefix_stable(prompt, vary=[{"is_admin": False}, {"is_admin": True}])


def test_a_comparison_needs_something_to_compare():
    with pytest.raises(ValueError, match="two renderings"):
        assert_prefix_stable(ticking, vary=[{}])
    with pytest.raises(ValueError, match="no static text"):
        assert_prefix_stable(Prompt(request("a")))


def test_a_hit_is_judged_by_share_or_by_tokens():
    warm = Savings(prompt_tokens=100, cached_tokens=80)
    assert_cache_hit(warm)
    assert_cache_hit(warm, within_tokens=20)
    for wanted in ({"at_least": 0.9}, {"within_tokens": 19}):
        with pytest.raises(AssertionError, match="80 of 100 prompt tokens came from the cache"):
            assert_cache_hit(warm, **wanted)
    with pytest.raises(AssertionError, match="reported no cached tokens"):
        assert_cache_hit(Savings(prompt_tokens=100))


def test_the_plugin_is_there_without_an_import_and_stays_light(pytester):
    pytester.makepyfile(
        textwrap.dedent("""
            import sys

            def test_it_is_light():
                heavy = {"torch", "openai", "pydantic", "xxhash", "stemfirst.server_process"}
                assert not heavy & set(sys.modules)
        """)
    )
    options = ("-p", "no:cacheprovider", "-p", "no:anyio", "-p", "no:langsmith_plugin")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=1)
    offered = pytester.runpytest_subprocess(*options, "--fixtures")
    offered.stdout.fnmatch_lines(["stemfirst_server*session scope*", "*bundled server*"])


def test_development_mode_notices_static_text_that_changes():
    with watching():
        ticking().render()
        with pytest.warns(StaticChangedWarning, match="called static") as caught:
            ticking().render()
        assert "^" in str(caught[0].message)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ticking().render()  # told once


def test_development_mode_accepts_several_texts_of_one_line():
    def prompt() -> Prompt:
        return Prompt(*(static(text) for text in ("a", "b", "c")), request("q"))

    with watching(), warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            prompt().render()


def test_development_mode_is_off_unless_it_is_asked_for():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            ticking().render()
