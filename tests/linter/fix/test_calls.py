"""Faults of a whole call, mended in real files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from fix_sources import RULES
from stemfirst_lint.check import check_paths
from stemfirst_lint.config import Config
from stemfirst_lint.fix.apply import Outcome, fix_paths
from stemfirst_lint.model import Applicability

RISKY, REORDER = Applicability.RISKY, Applicability.REORDER


def fixed(folder: Path, source: str, allow: Applicability = RISKY) -> tuple[str, Outcome]:
    app = folder / "app.py"
    app.write_text(source)
    outcome = fix_paths((str(app),), Config(), allow=allow)
    assert not outcome.failures
    ast.parse(app.read_text())
    assert not fix_paths((str(app),), Config(), allow=allow).changed
    return app.read_text(), outcome


WINDOW = (
    "def ask(client, history, max_turns=6):\n"
    "    recent = history[-10:]  # the newest\n"
    "    return client.chat.completions.create(messages=recent)\n"
)


@pytest.mark.parametrize(
    ("size", "limit"), [("10", 10), ("4", 4), ("21", 21), ("max_turns", 6), ("max_turns", 1)]
)
def test_a_window_drops_many_messages_rarely(size: str, limit: int, tmp_path: Path) -> None:
    new, outcome = fixed(tmp_path, WINDOW.replace("10", size))
    assert not outcome.remaining
    names: dict[str, object] = {}
    exec(
        new.replace("return client.chat.completions.create(messages=recent)", "return recent"),
        names,
    )
    ask = names["ask"]
    assert callable(ask)
    starts = []
    for length in range(60):
        history = list(range(length))
        kept = ask(None, history, limit)
        assert kept == history[len(history) - len(kept) :]
        assert min(length, limit // 2 + 1) <= len(kept) <= limit or limit == 1
        starts.append(length - len(kept))
    assert starts == sorted(starts)
    assert len(set(starts)) <= 60 / max(1, limit // 2 - limit // 2 % 2) + 1


def test_a_window_is_left_to_a_person(tmp_path: Path) -> None:
    new, outcome = fixed(tmp_path, WINDOW, REORDER)
    assert new == WINDOW
    (left,) = outcome.rewrites[0].left
    assert left.applicability is RISKY


POPPED = (
    "def ask(client, history, text):\n"
    "    history.append(text)\n"
    "    LOOP len(history) > 20:\n"
    "        history.pop(FIRST)\n"
    "    return client.chat.completions.create(messages=history)\n"
)


@pytest.mark.parametrize("loop", ["while", "if"])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("operator", [">", ">="])
def test_a_history_that_is_popped_is_cut_rarely(
    loop: str, first: int, operator: str, tmp_path: Path
) -> None:
    """The first message stays where `pop(1)` kept it."""
    source = POPPED.replace("LOOP", loop).replace("FIRST", str(first)).replace(">", operator)
    new, outcome = fixed(tmp_path, source)
    assert not outcome.remaining
    names: dict[str, object] = {}
    exec(new.replace("client.chat.completions.create(messages=history)", "history"), names)
    ask = names["ask"]
    assert callable(ask)
    history: list[int] = []
    cuts = 0
    for turn in range(100):
        length = len(history)
        ask(None, history, turn)
        cuts += len(history) <= length
        assert 20 - 10 <= len(history) + (operator == ">=") <= 20 or turn < 20
        assert history[-1] == turn
        assert history[0] == 0 or not first
        assert history[first:] == list(range(turn + 1 - len(history) + first, turn + 1))
    assert cuts <= 100 / 10


ODD_POPS = {
    "something else beside it": POPPED.replace("pop(FIRST)", "pop(0); print(text)"),
    "another condition": POPPED.replace("len(history) > 20", "text").replace("FIRST", "0"),
    "a comment": POPPED.replace("pop(FIRST)", "pop(0)\n        # bye\n        history.pop(0)"),
}


@pytest.mark.parametrize("source", ODD_POPS.values(), ids=ODD_POPS)
def test_a_history_that_is_popped_in_another_way_stays(source: str, tmp_path: Path) -> None:
    source = source.replace("LOOP", "if")
    new, outcome = fixed(tmp_path, source)
    assert new == source
    assert {left.applicability for left in outcome.rewrites[0].left} == {None}


BLOCK = (
    "import time\n\n\ndef ask(client, history):\n"
    "    return client.messages.create(messages=history, system=[\n"
    '        {"type": "text", "text": TEXT,\n'
    '         "cache_control": {"type": "ephemeral"}},\n    ])\n'
)


def test_the_marker_stays_with_the_text_that_stays(tmp_path: Path) -> None:
    source = BLOCK.replace("TEXT", f'f"{RULES}\\n\\nTime: {{time.time()}}"')
    new, outcome = fixed(tmp_path, source, REORDER)
    assert new == BLOCK.replace("TEXT", f'"{RULES}\\n\\n"').replace(
        '"ephemeral"}},\n',
        '"ephemeral"}},\n        {"type": "text", "text": f"Time: {time.time()}"},\n',
    )
    assert "SF503" not in [finding.code for finding in outcome.remaining]


def test_a_named_constant_is_text_that_stays(tmp_path: Path) -> None:
    source = f"RULES = {RULES!r}\n" + BLOCK.replace("TEXT", 'f"{RULES}\\n\\nTime: {time.time()}"')
    new, outcome = fixed(tmp_path, source)
    assert "SF503" not in [finding.code for finding in outcome.remaining]
    assert '"text": f"{RULES}\\n\\n",' in new
    assert '"text": f"Time: {time.time()}"}' in new


def test_a_section_stays_with_the_marker_and_so_does_its_comment(tmp_path: Path) -> None:
    """The text is cut at the paragraph that varies, not at the heading above it."""
    sections = "\\n\\n".join(f"## Rule {number}\\n\\n{RULES}" for number in range(3))
    source = BLOCK.replace("TEXT", f'f"{sections}\\n\\nTime: {{time.time()}}"')
    source = source.replace('"ephemeral"}},\n', '"ephemeral"}},  # cached\n')
    new, _ = fixed(tmp_path, source)
    first, second = new.split("# cached\n")
    assert "## Rule 2" in first
    assert second.lstrip().startswith('{"type": "text", "text": f"Time: {time.time()}"},')


NO_SPLIT = {
    "nothing leads": ('f"Time: {time.time()}"', "no text that stays leads it"),
    "a value leads": ('f"Time: {time.time()}\\n\\nBe terse."', "put such text first"),
    "a sum": ('"Be terse. Time: " + str(time.time())', "no plain string"),
}


@pytest.mark.parametrize(("text", "reason"), NO_SPLIT.values(), ids=NO_SPLIT)
def test_a_block_stays_whole(text: str, reason: str, tmp_path: Path) -> None:
    source = BLOCK.replace("TEXT", text)
    new, outcome = fixed(tmp_path, source)
    assert new == source
    assert reason in " ".join(str(why) for left in outcome.rewrites[0].left for why in left.reasons)


TOOLS = (
    "import os\n\n\ndef ask(client, history, schema, more):\n"
    '    names = {"search", "buy"}\n'
    "    tools = [schema(name) for name in ITER]\n"
    "    return client.chat.completions.create(messages=history, tools=tools)\n"
)
SORTS = {
    "a set by name": ("names", "sorted(names)"),
    "a set on the spot": ('{"search", more}', 'sorted({"search", more}, key=str)'),
    "a listing": ("os.listdir('tools')", "sorted(os.listdir('tools'))"),
    "a set of others": ("set(more)", "sorted(set(more), key=str)"),
}


@pytest.mark.parametrize(("before", "after"), SORTS.values(), ids=SORTS)
def test_tools_come_in_one_order_from(before: str, after: str, tmp_path: Path) -> None:
    new, outcome = fixed(tmp_path, TOOLS.replace("ITER", before), Applicability.IDENTICAL)
    assert new == TOOLS.replace("ITER", after)
    assert not outcome.remaining


def test_names_of_other_functions_do_not_matter(tmp_path: Path) -> None:
    """`tools` is what everybody calls it."""
    before, after = SORTS["a set by name"]
    source = TOOLS.replace("ITER", before)
    twice = source + "\n\n" + source.partition("\n\n\n")[2].replace("ask", "other")
    new, outcome = fixed(tmp_path, twice, Applicability.IDENTICAL)
    assert new.count(after) == 2
    assert not outcome.remaining


OPENAI = (
    "import time\n\n\ndef ask(client, history):\n"
    "    return client.chat.completions.create(messages=[\n"
    '        {"role": "developer", "content": [\n'
    '            {"type": "text", "text": TEXT,\n'
    '             "prompt_cache_breakpoint": {"mode": "explicit"}},\n'
    "        ]}, *history])\n"
)


def test_a_breakpoint_of_openai_stays_with_the_text_that_stays(tmp_path: Path) -> None:
    source = OPENAI.replace("TEXT", f'f"{RULES}\\n\\nTime: {{time.time()}}"')
    new, outcome = fixed(tmp_path, source, REORDER)
    assert new == OPENAI.replace("TEXT", f'"{RULES}\\n\\n"').replace(
        '"explicit"}},\n',
        '"explicit"}},\n            {"type": "text", "text": f"Time: {time.time()}"},\n',
    )
    assert "SF503" not in [finding.code for finding in outcome.remaining]


FOUND_FIRST = (
    'TOOLS = [{"name": "search"}]\n\n\nasync def ask(client, session, history, more):\n'
    "    tools = LIST\n"
    "    return client.chat.completions.create(messages=history, tools=tools)\n"
)
FOUND = {
    "a sum": ("await session.list_tools() + TOOLS", "TOOLS + await session.list_tools()"),
    "a display": (
        '[*(await session.list_tools()), *TOOLS, {"name": "buy"}]',
        '[*TOOLS, {"name": "buy"}, *(await session.list_tools())]',
    ),
    "what nobody knows stays in front": (
        "more + get_tools(session) + TOOLS",
        "more + TOOLS + get_tools(session)",
    ),
}


@pytest.mark.parametrize(("before", "after"), FOUND.values(), ids=FOUND)
def test_tools_that_stay_come_before_those_found_at_run_time(
    before: str, after: str, tmp_path: Path
) -> None:
    new, outcome = fixed(tmp_path, FOUND_FIRST.replace("LIST", before), REORDER)
    assert new == FOUND_FIRST.replace("LIST", after)
    assert not outcome.remaining


def test_a_list_of_tools_with_another_use_is_for_a_person(tmp_path: Path) -> None:
    source = FOUND_FIRST.replace("LIST", FOUND["a sum"][0]).replace(
        "    return", "    first = tools[0]\n    return"
    )
    new, outcome = fixed(tmp_path, source, REORDER)
    assert new == source
    (left,) = outcome.rewrites[0].left
    assert left.applicability is RISKY
    assert "is used in another way" in str(left.reasons[0])


def test_check_says_what_fix_would_do_about_a_call(tmp_path: Path) -> None:
    """The same for the mark `[fixable]`, JSON and an editor's quick fixes."""
    sources = {
        "SF203": (FOUND_FIRST.replace("LIST", FOUND["a sum"][0]), REORDER),
        "SF401": (WINDOW, RISKY),
        "SF503": (BLOCK.replace("TEXT", f'f"{RULES}\\n\\nTime: {{time.time()}}"'), REORDER),
    }
    for code, (source, applicability) in sources.items():
        app = tmp_path / f"{code}.py"
        app.write_text(source)
        found = {f.code: f.applicability for f in check_paths((str(app),), Config()).findings}
        assert found[code] is applicability
