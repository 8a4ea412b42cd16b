"""The pytest plugin and its assertions, and development mode."""

import gc
import importlib
import itertools
import runpy
import subprocess
import sys
import textwrap
import uuid
import warnings

import pytest
from stemfirst import Prompt, hole, rebuilding, request, static, tenant
from stemfirst.drift import LockChangedWarning, StaticChangedWarning, watching
from stemfirst.savings import Savings
from stemfirst.server_process import ServerProcess, ServerStartError
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


GOOD = Prompt(static("Be kind."), tenant(hole("plan")), request(hole("q")))
TICKING = Prompt(static(f"It is {uuid.uuid4()} o'clock. Be kind."), request(hole("q")))


def test_values_of_requests_leave_a_good_prompt_stable():
    good = GOOD
    values = [{"plan": "gold", "q": "a"}, {"plan": "free", "q": "b"}]
    assert_prefix_stable(good, vary=values)
    with pytest.raises(AssertionError, match="tenant prefix differs"):
        assert_prefix_stable(good, vary=values, tier=Tier.TENANT)


def test_a_prompt_that_a_module_built_is_built_again_in_another_process():
    with pytest.raises(AssertionError, match="differs in a new process") as caught:
        assert_prefix_stable(TICKING, vary=[{"q": "a"}, {"q": "b"}])
    assert "SF103 nonce-in-prefix" in str(caught.value)


def test_a_module_that_takes_too_long_to_import_is_told(tmp_path, monkeypatch):
    path = tmp_path / "slow_prompts.py"
    path.write_text(
        "import pathlib, time\n"
        "from stemfirst import Prompt, static\n"
        "seen = pathlib.Path(__file__).with_suffix('.seen')\n"
        "if seen.exists():\n"
        "    time.sleep(600)  # as one that waits for a network\n"
        "seen.touch()\n"
        "SLOW = Prompt(static('Be kind.'))\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(rebuilding, "LONGEST_S", 2.0)
    module = importlib.import_module("slow_prompts")
    monkeypatch.setitem(sys.modules, "slow_prompts", module)
    with pytest.raises(ValueError, match=r"SLOW cannot be built anew .* longer than 2 s"):
        rebuilding.built_anew(module.SLOW)


def test_a_built_prompt_that_nothing_can_vary_is_not_called_stable():
    local = Prompt(static("Be kind."), request(hole("q")))
    with pytest.raises(ValueError, match="pass a function that builds it"):
        assert_prefix_stable(local, vary=[{"q": "a"}, {"q": "b"}])


def test_a_share_beyond_the_whole_is_refused():
    with pytest.raises(ValueError, match=r"share of the prompt from 0 to 1, got 80"):
        assert_cache_hit(Savings(prompt_tokens=100, cached_tokens=80), at_least=80)


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


async def _awaited(**values: object) -> Prompt:
    return Prompt(static("a"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (Prompt(static("a"), request("b")).render(), "got Rendered"),
        (_awaited, "the function is async"),
        (lambda **values: [{"role": "user", "content": "a"}], "Prompt.from_messages"),
    ],
)
def test_what_is_no_prompt_is_refused_by_name(what, message):
    with pytest.raises(TypeError, match=message):
        assert_prefix_stable(what, vary=({"n": n} for n in range(2)))


def test_a_failing_assertion_shows_the_tests_own_line(pytester):
    pytester.makepyfile(
        """
        import uuid
        from stemfirst import Prompt, static
        from stemfirst.testing import assert_prefix_stable

        def test_x():
            assert_prefix_stable(lambda: Prompt(static(f"{uuid.uuid4()} stays")))
        """
    )
    shown = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    shown.assert_outcomes(failed=1)
    assert "stemfirst/testing.py" not in shown.stdout.str().replace("\\", "/")
    shown.stdout.fnmatch_lines(["*the static prefix differs*"])


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


@pytest.fixture
def pinned(tmp_path, monkeypatch):
    """A project whose prompts are pinned by `stemfirst lock`, and its prompt as it stands there."""
    rules = "Be brief and kind in every answer.\n\nName the paragraph that you rely on.\n\n"
    more = "Never promise a refund that the policy of the shop does not grant."
    source = f'POLICY_PROMPT = """You are the support agent of a shop.\n\n{rules}{more}"""\n'
    source += (
        "def ask(client, question):\n    client.create(messages=[{'role': 'system', 'content':"
    )
    source += " POLICY_PROMPT}, {'role': 'user', 'content': question}])\n"
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "prompts.py").write_text(source)
    command = [sys.executable, "-m", "stemfirst.cli", "lock", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Locked 1 stable prefix" in done.stdout
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path / "src")
    return runpy.run_path(str(tmp_path / "prompts.py"))["POLICY_PROMPT"]


def test_development_mode_is_quiet_while_the_lock_stands(pinned):
    with warnings.catch_warnings(), watching():
        warnings.simplefilter("error")
        Prompt(static(pinned)).render()
        Prompt(static(pinned + " And end politely."), request("q")).render()
        Prompt(static("Another prompt that nobody pinned.")).render()


def test_development_mode_names_the_paragraph_that_left_the_lock(pinned):
    changed = pinned.replace("kind", "curt")
    with watching():
        with pytest.warns(LockChangedWarning, match=r"prompts\.py::POLICY_PROMPT.*paragraph 2"):
            Prompt(static("x"), static(changed, name="policy")).render()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Prompt(static("x"), static(changed, name="other")).render()  # told once


def test_the_linter_and_development_mode_cut_at_the_same_places():
    from stemfirst import locks
    from stemfirst_lint.lock import prefixes

    assert prefixes.blocks_of is locks.blocks_of
    assert prefixes.digest_of_block is locks.digest_of_block


@pytest.mark.needs_server
def test_a_server_that_does_not_start_says_why_and_leaves_nothing_open():
    server = ServerProcess(["--no-such-flag"], timeout_s=60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an open file is a warning where it is collected
        with pytest.raises(ServerStartError, match="no-such-flag"):
            server.__enter__()
        assert server.log() == ""
        del server
        gc.collect()
