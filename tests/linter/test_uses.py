"""Where expressions stand is found in what was walked so far as it is in the whole tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import stemfirst_lint
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.project import Project
from stemfirst_lint.uses import Uses

PACKAGE = Path(stemfirst_lint.__file__).parent
SOURCE = """
@marked(name, by=other.name)
class Outer(Base[name], metaclass=other.name):
    \"\"\"Text.\"\"\"
    kept: name = name; other = kept
    @marked(name)
    class Inner:
        def method(self, name=name):
            return [name for name in self.name if name], lambda: name
    def last(self): return f"{name} {self.name!r:>{name}}" "tail"
@marked(
    name
)
def function(other: name) -> name:
    name.name.other = (
        name
    )
    naïve = name
    return naïve + name
if name: other = name
"""


def _module(text: str, path: str = "app.py") -> ModuleIndex:
    return Project().add(path, text.encode())


def _in_order(module: ModuleIndex) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield each node with what it stands in, the last first: the slow and obvious way."""
    pending: list[tuple[ast.AST, ast.AST]] = [(module.tree, module.tree)]
    while pending:
        node, around = pending.pop()
        yield node, around
        pending += [(child, node) for child in ast.iter_child_nodes(node)]


MODULES = {
    "written for this": SOURCE,
    "classes": (PACKAGE / "uses.py").read_text(),
    "functions": (PACKAGE / "naming.py").read_text(),
}


@pytest.mark.parametrize("name", MODULES)
def test_reads_are_those_of_the_whole_tree_in_its_order(name: str) -> None:
    module = _module(MODULES[name])
    names: dict[str, list[ast.AST]] = {}
    attributes: dict[str, list[ast.AST]] = {}
    for node, _ in _in_order(module):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.setdefault(node.id, []).append(node)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            attributes.setdefault(node.attr, []).append(node)
    for spelled, reads in names.items():
        assert Uses(module).names(spelled) == reads, spelled
    for spelled, found in attributes.items():
        assert Uses(module).attributes(spelled) == found, spelled
    uses = Uses(module)
    assert {spelled: uses.names(spelled) for spelled in names} == names


@pytest.mark.parametrize("name", MODULES)
def test_a_node_stands_in_what_holds_it_in_the_tree(name: str) -> None:
    module = _module(MODULES[name])
    uses = Uses(module)
    for node, around in _in_order(module):
        if isinstance(node, ast.expr | ast.stmt):
            assert uses.parent(node) is around


def test_an_expression_is_found_at_its_place() -> None:
    module = _module(MODULES["classes"])
    for call in (call for calls in module.calls.values() for call in calls):
        assert Uses(module).at(module.source.place(call.node)) is not None


def test_only_what_spells_a_name_is_walked() -> None:
    module = _module("def one():\n    return wanted\ndef two():\n    return other\n")
    uses = Uses(module)
    assert len(uses.names("wanted")) == 1
    assert [unit.is_walked for unit in uses._units] == [False, True]
