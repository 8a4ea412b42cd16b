"""Judging costs little where code calls itself, and what was shown once is not shown again."""

import ast
from pathlib import Path

import pytest
from stemfirst_lint.flow import Flow
from stemfirst_lint.project import Project
from stemfirst_lint.scopes import Use

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
