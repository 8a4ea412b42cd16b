"""Small questions about the shape of an expression.

Knows syntax trees alone. Knows nothing of tiers or of other modules.
"""

from __future__ import annotations

import ast

from stemfirst_lint.model import Location
from stemfirst_lint.scopes import Binding, Scope, Use, last_name


def is_number(node: ast.expr) -> bool:
    """Return True for an integer constant."""
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def is_count(name: str, binding: Binding) -> bool:
    """Return True for `i` in `for i in range(n)` and `for i, x in enumerate(xs)`."""
    value, loop = binding.value, binding.node
    if not isinstance(value, ast.Call) or not isinstance(loop, ast.For | ast.AsyncFor):
        return False
    if last_name(value.func) == "range":
        return isinstance(loop.target, ast.Name)
    target = loop.target
    return (
        last_name(value.func) == "enumerate"
        and isinstance(target, ast.Tuple)
        and isinstance(target.elts[0], ast.Name)
        and target.elts[0].id == name
    )


def is_container(node: ast.expr | None) -> bool:
    """Return True for a list, dict or set that starts here."""
    return isinstance(node, ast.List | ast.Dict | ast.Set) or (
        isinstance(node, ast.Call)
        and last_name(node.func) in ("list", "dict", "set", "defaultdict")
    )


def runs_git(node: ast.Call) -> bool:
    """Return True for `subprocess.run(["git", ...])` and `subprocess.getoutput("git ...")`."""
    command = node.args[0] if node.args else None
    if isinstance(command, ast.List) and command.elts:
        command = command.elts[0]
    return isinstance(command, ast.Constant) and str(command.value).split(" ")[0] == "git"


def shown(node: ast.expr) -> str:
    """Return an expression in one line of at most 50 characters."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 50 else text[:47] + "..."


def called(node: ast.expr) -> ast.expr:
    """Return the function of a call, or the expression itself."""
    return node.func if isinstance(node, ast.Call) else node


def is_enum(scope: Scope) -> bool:
    """Return True for an enum's class."""
    return isinstance(scope.node, ast.ClassDef) and any(
        (last_name(base) or "").endswith("Enum") for base in scope.node.bases
    )


def place_of(node: ast.AST, use: Use) -> Location | None:
    """Return the place of a node, or None where an old interpreter may have got it wrong."""
    line = getattr(node, "lineno", None)
    if line is None:
        return None
    source = use.scope.module.source
    try:
        return source.place(node)  # type: ignore[arg-type]
    except (IndexError, AssertionError):
        return None


def is_seeded(use: Use) -> bool:
    """Return True if the module of a place seeds a generator of random numbers."""
    return "seed" in use.scope.module.calls


def is_content(target: ast.expr) -> bool:
    """Return True for `x["content"]` and `x.content`."""
    match target:
        case ast.Subscript(slice=ast.Constant(value="content")) | ast.Attribute(attr="content"):
            return True
    return False


def is_first_message(target: ast.expr) -> bool:
    """Return True for `x[0]`."""
    return (
        isinstance(target, ast.Subscript)
        and isinstance(target.slice, ast.Constant)
        and target.slice.value == 0
    )


def is_message(node: ast.Dict) -> bool:
    """Return True for a dict with a role and a content."""
    keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
    return "role" in keys and "content" in keys


def is_main_guard(test: ast.expr) -> bool:
    """Return True for `__name__ == "__main__"` and its like."""
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
    )


_BODY_KEYS = frozenset(
    {"prompt", "inputs", "input", "system", "system_prompt", "user_prompt", "instructions"}
)


def is_body(node: ast.Dict) -> bool:
    """Return True for a dict that may carry a prompt to a model by one of its keys."""
    return any(
        isinstance(key, ast.Constant) and key.value in _BODY_KEYS and not _is_plain(value)
        for key, value in zip(node.keys, node.values, strict=True)
    )


def _is_plain(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant | ast.Dict | ast.Attribute)
