"""Judging costs little where code calls itself, and what was shown once is not shown again."""

import ast
import gc
import re
import subprocess
import sys
from pathlib import Path

import pytest
from stemfirst_lint.arguments import Call
from stemfirst_lint.cli.checking import check_plainly
from stemfirst_lint.flow import Flow
from stemfirst_lint.model import Verdict
from stemfirst_lint.patterns import pattern
from stemfirst_lint.project import Project
from stemfirst_lint.scopes import Use
from stemfirst_lint.templates import Reader
from stemfirst_lint.unnamed import unnamed_sites

AGAIN = """
def text_of(message):
    if isinstance(message, str):
        return message
    if isinstance(message, list):
        return "".join([text_of(part) for part in message])
    if "inner" in message:
        return text_of(message["inner"]) + text_of(message["outer"])
    return text_of(message.content) or text_of(message.parts)
"""
DEEP = "".join(
    f"def step_{n}(a, b):\n    return step_{n + 1}(a, b) + step_{n + 1}(b, a)\n" for n in range(8)
)


@pytest.mark.parametrize(
    ("source", "most"),
    [(AGAIN, 60), (DEEP + "def step_8(a, b):\n    return SEP\nSEP = '-'\n", 200)],
    ids=["a function that calls itself", "two calls on each of eight levels"],
)
def test_a_question_takes_few_steps(source: str, most: int, tmp_path: Path) -> None:
    ask = "def ask(x):\n    return " + ("text_of(x)" if "text_of" in source else "step_0(x, x)")
    project = Project()
    module = project.add(str(tmp_path / "app.py"), (source + ask).encode())
    function = module.functions[-1]
    node = function.returns[0][0]
    assert isinstance(node, ast.Call)
    flow = Flow(project)
    flow.verdict(node, Use(function, 1 << 30, ()))
    assert flow._steps <= most


MANY = "def many(a):\n    x = a\n" + "    x = [x, x, x]\n" * 12 + "    return x\n"
IN_LOOP = """
def grown(rows):
    text = ""
    for row in rows:
        text = text + str(row) + text
        text = trimmed(text) or trimmed(text + text)
    return text
def trimmed(text):
    return text.strip() + text.lstrip() + text
"""
NAMED_ALIKE = """
def label(item):
    return "fixed " + str(item)
def each(rows):
    return [label(item) for item in rows] + [label(item) for item in rows if label(item)]
"""


@pytest.mark.parametrize(
    ("source", "call", "most"),
    [
        (MANY, "many(x)", 90),
        (IN_LOOP, "grown(x)", 100),
        (NAMED_ALIKE, "each(x)", 30),
        (AGAIN + "def all_of(xs):\n    return [text_of(x) for x in xs]\n", "all_of(x)", 80),
    ],
    ids=[
        "a parameter read often",
        "a text that a loop grows",
        "comprehensions",
        "recursion in one",
    ],
)
def test_what_was_found_inside_a_call_is_not_looked_for_again(
    source: str, call: str, most: int, tmp_path: Path
) -> None:
    project = Project()
    module = project.add(
        str(tmp_path / "app.py"), f"{source}\ndef ask(x):\n    return {call}\n".encode()
    )
    function = module.functions[-1]
    looked_at = 0

    class Counting(Flow):
        def _expression(self, node: ast.expr, use: Use, call: Call | None) -> Verdict:
            nonlocal looked_at
            looked_at += 1
            return super()._expression(node, use, call)

    Counting(project).verdict(function.returns[0][0], Use(function, 1 << 30, ()))
    assert looked_at <= most


def test_a_value_that_no_parameter_reaches_is_judged_once(tmp_path: Path) -> None:
    source = (
        "import datetime\n"
        "def stamp(style):\n    return str(datetime.datetime.now())\n"
        "def ask(client, a, b):\n    return stamp(a), stamp(b), stamp('c')\n"
    )
    project = Project()
    module = project.add(str(tmp_path / "app.py"), source.encode())
    function = module.functions[-1]
    listed = function.returns[0][0]
    assert isinstance(listed, ast.Tuple)
    flow = Flow(project)
    use = Use(function, 1 << 30, ())
    first, *others = (flow.verdict(element, use) for element in listed.elts)
    assert flow._steps <= 2
    assert {(found.tier, found.kind) for found in others} == {(first.tier, first.kind)}


def test_a_text_without_the_words_of_a_prompt_is_not_judged(tmp_path: Path) -> None:
    letter = "thank you for the order that reached our house on Monday morning. " * 12
    source = f'def write(name):\n    return f"""Dear {{name}}, {letter}"""\n'
    project = Project()
    module = project.add(str(tmp_path / "app.py"), source.encode())
    reader = Reader(Flow(project))
    assert not list(unnamed_sites(reader, [module], []))
    assert reader._steps == 0


def test_a_pattern_is_compiled_when_it_is_first_used() -> None:
    lazy = pattern("(a", re.IGNORECASE)
    with pytest.raises(re.error):
        lazy.search("a")
    word = pattern("[a-c]+", re.IGNORECASE)
    assert word.findall("ABC x ab") == ["ABC", "ab"]
    assert [word.fullmatch(text) is not None for text in ("Ab", "ax")] == [True, False]


def test_a_check_loads_nothing_that_starts_processes(tmp_path: Path) -> None:
    prompt = 'f"You are terse.\\n{question}"'
    messages = f'messages=[{{"role": "user", "content": {prompt}}}]'
    (tmp_path / "app.py").write_text(f"def ask(client, question):\n    client.create({messages})\n")
    code = (
        "import sys\n"
        "from stemfirst_lint.check import check_paths\n"
        "from stemfirst_lint.config import Config\n"
        "assert check_paths(('app.py',), Config()).prompts == 1\n"
        "print('subprocess' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_run_looks_for_no_cycles_in_what_lives_until_its_end(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text("import click\n" + "PROMPT = [f'You are {x}', {1: (2, [3])}]\n" * 2_000)
    collected: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        collected.append(phase)

    assert gc.isenabled()
    gc.callbacks.append(note)
    try:
        assert check_plainly([str(app)]) == 0
    finally:
        gc.callbacks.remove(note)
    assert not collected
    assert gc.isenabled()
