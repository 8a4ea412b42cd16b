"""Finds the texts that are given to stemfirst's own constructors: `static(…)`, `tenant(…)`.

Knows the names and that they are imported from stemfirst; many other things are called `static`.
Holes inside are judged as everywhere: that a text is called static does not make it so.
"""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.model import Sink, Site
from stemfirst_lint.project import Defined, External, Project
from stemfirst_lint.scopes import CallUse
from stemfirst_lint.templates import Reader

CONSTRUCTORS = {
    "static": "system",
    "tenant": "system",
    "session": "system",
    "system": "system",
    "request": "user",
    "volatile": "user",
    "user": "user",
    "assistant": "assistant",
}
"""The constructors that take text, with the role of the message that loose segments form."""

_MODULES = ("stemfirst", "stemfirst.prompt")


def constructed(reader: Reader, module: ModuleIndex) -> Iterator[Site]:
    """Yield a site for each text that a module gives to one of stemfirst's constructors."""
    for name, role in CONSTRUCTORS.items():
        for call in module.calls.get(name, ()):
            if not _is_ours(reader.flow.project, call, name):
                continue
            for text in call.node.args:
                for template in reader.templates(text, call.use):
                    place = call.use.scope.module.source.place(text)
                    # A conversation's text is only ever added to.
                    yield Site(
                        template, Sink.MESSAGE, place, role=role, follows_history=name == "session"
                    )


def _is_ours(project: Project, call: CallUse, name: str) -> bool:
    meaning = project.meaning(call.node.func, call.use)
    if isinstance(meaning, External):
        if meaning.dotted == name:  # nothing names it: a star may have brought it
            stars = call.use.scope.module.scope.bindings.get("*", ())
            return any(star.target is not None and star.target[0] in _MODULES for star in stars)
        return meaning.dotted in tuple(f"{module}.{name}" for module in _MODULES)
    # In stemfirst's own tree the name is one of the project's.
    return isinstance(meaning, Defined) and meaning.scope.module.path.endswith(
        "stemfirst/prompt.py"
    )
