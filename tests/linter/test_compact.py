"""Nodes that take less memory say what the parser's say; signs of prompts are found."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
import stemfirst_lint
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_lint.hints import FORMS, WORDS, is_far_from_prompts, may_hold_prompts
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.source import Source

SOURCES = sorted(Path(stemfirst_lint.__file__).parent.glob("*.py"))

_SIGNS = re.compile(
    rb"""["']role["']|[Pp]rompt|PROMPT|system(?:_\w+)?\s*=|instructions|Message\(|messages\s*="""
    rb"""|backstory|You (?:are|must|should|will|need|have|can) |You're |Respond """
    rb"""|[Yy]our (?:task|job|goal|role)|Answer the|Given (?:the|an?) |\["content"\]"""
    rb"""|initiate_chat|generate_content|\b(?:a?invoke|complete|llm|LLM|chat|ask|generate)\("""
    rb"""|content=f|chat_template|CHAT_TEMPLATE|CrewBase|google\.adk|stemfirst"""
)
"""All signs in one expression: what the quick look must agree with."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_an_indexed_tree_says_what_the_parser_said(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    ModuleIndex(str(path), Source(str(path), text), tree)
    fresh = ast.parse(text)
    assert ast.dump(tree, include_attributes=True) == ast.dump(fresh, include_attributes=True)
    assert ast.unparse(tree) == ast.unparse(fresh)


def test_most_inner_nodes_have_no_table_of_attributes() -> None:
    text = "x = f(a.b, c, 'short', k=d)(e[g])\n" * 3
    tree = ast.parse(text)
    ModuleIndex("app.py", Source("app.py", text), tree)
    inner = [node for node in ast.walk(tree) if isinstance(node, ast.expr | ast.keyword)]
    slim = [node for node in inner if hasattr(type(node), "lineno")]
    assert len(slim) >= 3 * 8
    parser_s = ast.parse("f(a)").body[0].value.args[0]  # type: ignore[attr-defined]
    smallest = min(slim, key=sys.getsizeof)
    assert sys.getsizeof(smallest) < sys.getsizeof(parser_s) + sys.getsizeof(parser_s.__dict__)


def test_most_statements_and_parameters_have_no_table_of_attributes() -> None:
    text = "def f(a: dict[str, int], b) -> None:\n    if a:\n        x = f(a)\n        f(x)\n"
    tree = ast.parse(text + "    return a, b\n")
    ModuleIndex("app.py", Source("app.py", text), tree)
    kinds = (ast.arg, ast.Assign, ast.Expr, ast.If, ast.Return, ast.Subscript)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    assert len(nodes) == 7
    assert all(hasattr(type(node), "lineno") for node in nodes)


_pieces = st.sampled_from(
    [*WORDS, *(start for start, _ in FORMS), b'"role\'', b"system_x =", b"system_x",
     b"messages\n =", b"You are ", b"You see ", b"your job", b"Your tas", b"Given an ",
     b"Given that ", b"_", b"a", b" ", b"(", b"x", b"=", b"hour role", b"a_chat(", b"Prom", b"pt"]
)  # fmt: skip


@given(st.lists(_pieces, max_size=6).map(b"".join))
def test_a_file_may_hold_prompts_exactly_if_one_sign_is_in_it(data: bytes) -> None:
    assert may_hold_prompts(data) == (_SIGNS.search(data) is not None)
    if is_far_from_prompts(data):
        assert not may_hold_prompts(data)
