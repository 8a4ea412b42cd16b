"""Prompts in places that one framework alone gives them.

Knows DSPy's instructions, smolagents' prompt templates, CrewAI's files of agents and tasks, and the
tools of pydantic-ai's agents. What looks alike in several frameworks is `sites`' matter. Knows
nothing of rules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from stemfirst_lint.assembly import Filling
from stemfirst_lint.constants import constant_text
from stemfirst_lint.data_values import FileValue
from stemfirst_lint.fillings import Given, given_in
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.model import Following, Form, Sink, Site, Template
from stemfirst_lint.pieces import Literal
from stemfirst_lint.project import External
from stemfirst_lint.scopes import Bind, CallUse, Scope, Use, last_name
from stemfirst_lint.syntax import called
from stemfirst_lint.templates import Reader
from stemfirst_lint.wording import stable_texts

_CREW_ROLES = {
    "role": "system",
    "goal": "system",
    "backstory": "system",
    "description": "user",
    "expected_output": "user",
}
_CREW_FILES = ("agents_config", "tasks_config")
_TOOL_DECORATORS = ("tool", "tool_plain")


class Frameworks:
    """Finds such prompts in modules of one project."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.project = reader.project

    def sites(self, module: ModuleIndex) -> Iterator[Site]:
        """Yield the sites of a module."""
        yield from self._dspy(module)
        yield from self._smolagents(module)
        yield from self._crewai(module)

    def _dspy(self, module: ModuleIndex) -> Iterator[Site]:
        """`Signature("question -> answer", text)` and `signature.with_instructions(text)`."""
        for name, at in (("Signature", 1), ("with_instructions", 0)):
            for call in module.calls.get(name, ()):
                is_theirs = name != "Signature" or self._is_of(call, "dspy")
                if is_theirs and len(call.node.args) > at:
                    node = call.node.args[at]
                    for template in self.reader.templates(node, call.use):
                        place = module.source.place(node)
                        yield Site(template, Sink.KEYWORD, place, "system", 0)

    def _is_of(self, call: CallUse, package: str) -> bool:
        meaning = self.project.meaning(call.node.func, call.use)
        return isinstance(meaning, External) and meaning.dotted.startswith(package)

    # smolagents

    def _smolagents(self, module: ModuleIndex) -> Iterator[Site]:
        """`prompt_templates=`: a dict of Jinja templates, or a file that holds one."""
        if "prompt_templates" not in module.source.text:
            return
        for calls in module.calls.values():
            for call in calls:
                for keyword in call.node.keywords:
                    if keyword.arg == "prompt_templates":
                        yield from self._templates(keyword.value, call.use)

    def _templates(self, node: ast.expr, use: Use) -> Iterator[Site]:
        for origin in self.reader.origins.of(node, use):
            for name, value in _values(origin.node):
                for template in self.reader.unfilled(value, origin.use, None, Form.JINJA):
                    yield self._site(template, name)
        for found in self.reader.values.all_of(node, use):
            filled = self._of_file(found, Form.JINJA, Given(), use)
            if filled is not None:
                yield self._site(filled, found.name or "")

    def _site(self, template: Template, name: str) -> Site:
        role = "system" if name == "system_prompt" else "user"
        return Site(template, Sink.TEMPLATE_CLASS, template.location, role)

    def _of_file(self, found: FileValue, form: Form, given: Given, use: Use) -> Template | None:
        literal = Literal(ast.Constant(found.run.text), found.source, found.name, run=found.run)
        return self.reader.assembler.filled(literal, Filling(form, given, None, use, None))

    # CrewAI

    def _crewai(self, module: ModuleIndex) -> Iterator[Site]:
        """The files that a class of a crew names, filled by `kickoff(inputs=...)`."""
        for klass in module.classes:
            if not _is_crew(klass):
                continue
            use = Use(klass, 1 << 60, ())
            for name in _CREW_FILES:
                for found in self._file_of(klass, name, use):
                    role = _CREW_ROLES.get(found.name or "")
                    if role is None:
                        continue
                    template = self._of_file(found, Form.FORMAT, self._inputs(), use)
                    if template is not None:
                        yield Site(template, Sink.TEMPLATE_CLASS, template.location, role)

    def _file_of(self, klass: Scope, name: str, use: Use) -> list[FileValue]:
        told = [
            binding.value
            for binding in klass.bindings.get(name, ())
            if binding.how is Bind.ASSIGN and binding.value is not None
        ]
        path: str | None = f"config/{name.removesuffix('_config')}.yaml"
        if told:
            path = constant_text(self.project, told[-1], use)
        if path is None:
            return []
        return self.reader.values.in_file(klass.module, path)

    def _inputs(self) -> Given:
        """What the project's crews are started with."""
        given = Given()
        for module in self.project.modules.values():
            if module is None:
                continue
            for name in ("kickoff", "kickoff_async", "akickoff"):
                for call in module.calls.get(name, ()):
                    inputs = next((k.value for k in call.node.keywords if k.arg == "inputs"), None)
                    if inputs is not None:
                        made = ast.Call(ast.Name("dict"), [], [ast.keyword(None, inputs)])
                        found = given_in(made, call.use, self.reader.origins)
                        given.named.update(found.named)
        given.is_open = True
        return given


def following_of(function: Scope, reader: Reader) -> Following:
    """Return what stands behind the text of a function that an agent asks for instructions.

    What functions further down return to the same question, and the agent's tools, where functions
    are decorated as such: `@agent.tool`.
    """
    agents = {_agent(decorator) for decorator in getattr(function.node, "decorator_list", ())}
    has_tools = any(
        _agent(decorator, _TOOL_DECORATORS) in agents
        for other in function.module.functions
        for decorator in getattr(other.node, "decorator_list", ())
        if _agent(decorator, _TOOL_DECORATORS) is not None
    )
    texts: list[str] = []
    for other in function.module.functions:
        if _line(other) > _line(function) and _asked_for(other) & _asked_for(function):
            for node, use in other.returns[:1] if len(other.returns) == 1 else ():
                found = reader.templates(node, use)
                texts += stable_texts(found[0]) if len(found) == 1 else ()
    return Following(tuple(texts), has_tools=has_tools)


def _line(function: Scope) -> int:
    return getattr(function.node, "lineno", 0)


def _asked_for(function: Scope) -> set[str]:
    """The decorators by which an agent asks a function for instructions, as written."""
    decorators = getattr(function.node, "decorator_list", ())
    return {ast.unparse(called(one)) for one in decorators if _agent(one) is not None}


def _agent(
    decorator: ast.expr, names: tuple[str, ...] = ("system_prompt", "instructions")
) -> str | None:
    """The agent whose decorator this is, as written."""
    function = called(decorator)
    if isinstance(function, ast.Attribute) and function.attr in names:
        return ast.unparse(function.value)
    return None


def _is_crew(klass: Scope) -> bool:
    assert isinstance(klass.node, ast.ClassDef)
    return any(last_name(called(one)) == "CrewBase" for one in klass.node.decorator_list)


def _values(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The values of nested dicts and of calls with keywords, each with its name."""
    pairs: list[tuple[str, ast.expr]] = []
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            pairs.append((str(key.value) if isinstance(key, ast.Constant) else "", value))
    elif isinstance(node, ast.Call) and (last_name(node.func) or "").endswith(
        ("PromptTemplate", "PromptTemplates")
    ):
        pairs = [(keyword.arg or "", keyword.value) for keyword in node.keywords]
    for name, value in pairs:
        if isinstance(value, ast.Dict | ast.Call):
            yield from _values(value)
        else:
            yield name, value
