"""What the fields of records hold: dataclasses, pydantic models and their kin, by who makes them.

Knows which classes of a project are records, and what their constructors' calls spell. A default
says nothing of what a record holds. Judges no value that is passed but by its name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from stemfirst.tiers import Tier

from stemfirst_lint import naming
from stemfirst_lint.model import UNKNOWN, Verdict
from stemfirst_lint.patterns import pattern
from stemfirst_lint.project import Defined, Instance, Project, Values
from stemfirst_lint.scopes import Bind, Scope, ScopeKind, Use, is_own, last_name
from stemfirst_lint.syntax import called, place_of
from stemfirst_lint.verdicts import CONSTANT, named_verdict

_MAKERS = frozenset({"dataclass", "define", "attrs", "frozen", "mutable", "s"})
_BASES = frozenset({"BaseModel", "NamedTuple", "TypedDict", "SQLModel", "Struct", "Serializable"})
_SETTINGS = pattern(
    r"(Config|Configuration|Settings?|Options?|Args|Arguments|Params|Parameters|Spec|Defaults|"
    r"Prompts?|Templates?|Constants|Agent|Persona|Skill|Tool|Role|Metric|Rubric|Schema)$"
)
"""Names of classes whose objects a deployment makes once."""
_REQUESTS = pattern(
    r"(Request|RequestBody|RequestModel|Payload|Body|Query|Sample|Submission|Article|"
    r"Document|Paper|TestCase|Ticket|Issue)$"
)
"""Names of classes of which each request or each row of a data set makes an object."""
_TEXTS = pattern(r"^(typing\.)?(Optional\[)?[\"']?(str|List|list|Any)\b")
_MAX_CALLS = 24


class Records:
    """Answers for one project; remembers which classes are records, and who makes them."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._known: dict[int, bool] = {}
        self._values: dict[tuple[int, str], tuple[ast.expr | None, ...]] = {}

    def field(self, node: ast.Attribute, use: Use) -> Verdict | None:
        """Return how often a record's field changes; None for what is no field of a record."""
        klass = self._class_of(node.value, use)
        if klass is None or not self._is_record(klass) or not _is_field(klass, node.attr):
            return None
        if naming.is_setting(node.attr) or naming.PROMPT_NAME.search(node.attr):
            return None
        place = place_of(node, use)
        passed = self._passed(klass, node.attr)
        if passed and all(isinstance(value, ast.Constant) for value in passed):
            return CONSTANT
        if is_own(node):
            return UNKNOWN
        tier = naming.field_tier(node.attr)
        if tier is not None:
            return named_verdict(f"the field `{node.attr}` of `{klass.name}`", tier, place)
        for value in passed:
            name = last_name(value) if value is not None else None
            if name is not None and naming.field_tier(name) is Tier.REQUEST:
                what = f"`{name}`, which `{klass.name}` is made with,"
                return named_verdict(what, Tier.REQUEST, place)
        if _REQUESTS.search(klass.name) and _is_text(klass, node.attr):
            what = f"`{klass.name}`, of which `{node.attr}` is a part,"
            return named_verdict(what, Tier.REQUEST, place)
        return UNKNOWN

    def _passed(self, klass: Scope, name: str) -> tuple[ast.expr | None, ...]:
        """What the calls of a class pass for a field, as written; None where that is not seen."""
        key = (id(klass), name)
        if key not in self._values:
            self._values[key] = tuple(self._passed_in_calls(klass, name))
        return self._values[key]

    def _passed_in_calls(self, klass: Scope, name: str) -> Iterator[ast.expr | None]:
        for call in self.project.called(klass.name)[:_MAX_CALLS]:
            meaning = self.project.meaning(call.node.func, call.use)
            if not (isinstance(meaning, Defined) and meaning.scope is klass):
                continue
            if call.node.args or any(k.arg is None for k in call.node.keywords):
                yield None
            for keyword in call.node.keywords:
                if keyword.arg == name:
                    yield keyword.value

    def _class_of(self, node: ast.expr, use: Use) -> Scope | None:
        """The project's class that an object is of, by its annotation or its making."""
        meaning = self.project.meaning(node, use)
        if isinstance(meaning, Instance):
            return meaning.scope
        if not isinstance(meaning, Values) or len(meaning.bindings) != 1:
            return None
        only = meaning.bindings[0]
        if only.how is Bind.ASSIGN and isinstance(only.value, ast.Call):
            made = self.project.meaning(only.value, only.use)
            return made.scope if isinstance(made, Instance) else None
        if only.how is Bind.PARAMETER and isinstance(only.node, ast.arg):
            annotation = only.node.annotation
            outer = only.use.scope.parent
            if isinstance(annotation, ast.Name | ast.Attribute) and outer is not None:
                klass = self.project.meaning(annotation, Use(outer, 1 << 60, ()))
                if isinstance(klass, Defined) and klass.scope.kind is ScopeKind.CLASS:
                    return klass.scope
        return None

    def _is_record(self, klass: Scope) -> bool:
        if id(klass) not in self._known:
            self._known[id(klass)] = _is_made(klass) or any(
                last_name(base) in _BASES
                for one in self.project.lineage(klass)
                for base in getattr(one.node, "bases", ())
            )
            if _SETTINGS.search(klass.name):
                self._known[id(klass)] = False
        return self._known[id(klass)]


def _is_made(klass: Scope) -> bool:
    return any(last_name(called(d)) in _MAKERS for d in getattr(klass.node, "decorator_list", ()))


def _is_field(klass: Scope, name: str) -> bool:
    """True if the class's body declares a field by that name, with a default or without."""
    return any(
        isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.target.id == name
        for statement in getattr(klass.node, "body", ())
    )


def _is_text(klass: Scope, name: str) -> bool:
    """True for a field of text by its type, whose name says no setting."""
    return naming.may_be_data(name) and any(
        isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.target.id == name
        and _TEXTS.match(ast.unparse(statement.annotation)) is not None
        for statement in getattr(klass.node, "body", ())
    )
