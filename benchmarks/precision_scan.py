"""Finds text that looks like a prompt, by its length and neighbours alone; knows no stemfirst.

Long strings count: those with a hole, and those near a call of a model. Docstrings do not.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONG = 400
NEAR_LINES = 40
_HOLE = re.compile(
    r"(?<!\{)\{[A-Za-z_][\w.\[\]]*\}(?!\})|\{\{\s*[A-Za-z_][\w.]*[^{}]*\}\}|\$\{?[a-z_]+"
)
_CALLS = re.compile(
    r"^(create|a?complete|a?completion|a?chat|a?invoke|a?generate|a?predict|a?call|call_llm|llm|"
    r"generate_content|responses?|run_llm|query|stream|ask|parse)$"
)
_KEYWORDS = frozenset({"messages", "prompt", "system", "system_prompt", "instructions", "input"})
_TESTS = re.compile(r"(^|/)(tests?|testing|conftest\.py|test_[^/]*|[^/]*_test\.py)(/|$)")


@dataclass(frozen=True, slots=True)
class Span:
    """Lines of a file, the last included."""

    line: int
    end_line: int


def prompt_like(path: Path) -> Iterator[Span]:
    """Yield the long strings of a file that may be prompts; nothing for tests and broken files."""
    if _TESTS.search(str(path).replace(os.sep, "/")):
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    calls = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and _CALLS.match(str(getattr(node.func, "attr", getattr(node.func, "id", ""))))
        and {keyword.arg for keyword in node.keywords} & _KEYWORDS
    ]
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.JoinedStr | ast.Constant):
            length, has_hole = _text_of(node)
            end = getattr(node, "end_lineno", None) or node.lineno
            is_near = any(node.lineno - NEAR_LINES <= line <= end + NEAR_LINES for line in calls)
            if length >= LONG and (has_hole or is_near) and id(node) not in documents:
                yield Span(node.lineno, end)
            continue
        pending.extend(ast.iter_child_nodes(node))


def _text_of(node: ast.JoinedStr | ast.Constant) -> tuple[int, bool]:
    """The length of the constant text, and whether there is a hole in it."""
    if isinstance(node, ast.Constant):
        if not isinstance(node.value, str):
            return 0, False
        return len(node.value), _HOLE.search(node.value) is not None
    texts = [v.value for v in node.values if isinstance(v, ast.Constant)]
    return sum(len(str(text)) for text in texts), len(texts) < len(node.values)
