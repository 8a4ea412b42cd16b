"""Source in newer syntax than the running interpreter's is read, with its places."""

import ast
import sys
from collections.abc import Callable

import pytest
from stemfirst_lint.check import Report
from stemfirst_lint.newer import parse_newer
from stemfirst_lint.source import parse

Check = Callable[..., Report]

RULES = "You must answer politely. Never promise what the given policy does not grant. " * 16
SEND = '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
HEAD = "type Names[T] = list[T]\n\n\n"

FORMS = {
    "the same quotes inside a field": 'f"{question["text"]} RULES"',
    "a backslash inside a field": 'f"{"\\n".join(question)} RULES"',
    "an f-string inside a field": 'f"{f"{question["text"]}"} RULES"',
    "a t-string": 't"{question} RULES"',
    "a t-string with the same quotes inside": 't"{question["text"]} RULES"',
}


@pytest.mark.parametrize("title", FORMS)
def test_a_prompt_in_newer_syntax_is_judged_in_its_place(check: Check, title: str) -> None:
    line = f"    text = {FORMS[title].replace('RULES', RULES)}\n"
    report = check(f"{HEAD}def ask[T](client, question: T):\n{line}{SEND}")
    assert report.failures == ()
    (finding,) = report.findings
    assert finding.code == "SF301"
    assert (finding.location.line, finding.location.column) == (5, line.index("{") + 1)


NEW = [
    "class A[T](B):\n    pass\n",
    "async def f[*Ts, **P](a: T) -> None:\n    pass\n",
    "type A = int\n",
    "try:\n    pass\nexcept A, b.C:\n    pass\n",
    "x = f'{a['b']}' 'it''s {not a field}'\n",
    'x = f"""{a["b"]} {\'\\n\'}"""\n',
]


@pytest.mark.parametrize("text", NEW)
def test_newer_statements_parse(text: str) -> None:
    assert isinstance(parse("app.py", text), ast.Module)


OLD = [
    "type = 3\n",
    "type (x)\n",
    "x = {'a': type(b)}\n",
    "def f(a):  # it's\n    return a['b']\n",
    "x = f'{a!r:>{width}}'\n",
]


@pytest.mark.parametrize("text", OLD)
def test_what_every_interpreter_reads_is_left_alone(text: str) -> None:
    assert parse_newer(text) is None or ast.dump(parse_newer(text)) == ast.dump(ast.parse(text))


@pytest.mark.parametrize("text", ["def f(:\n", "x = f'{a['\n", "x = 'a\n", "f'{'", "t'{", "\x00"])
def test_what_no_interpreter_reads_stays_unreadable(text: str) -> None:
    assert parse_newer(text) is None


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the interpreter reads it itself")
def test_fields_get_their_own_trees() -> None:
    tree = parse_newer('x = f"{a["b"]} {c["d"].e("f")}"\n')
    assert tree is not None
    assert ast.unparse(tree) == ast.unparse(ast.parse("x = f\"{a['b']} {c['d'].e('f')}\"\n"))
