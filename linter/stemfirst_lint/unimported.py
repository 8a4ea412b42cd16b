"""Finds prompts in modules that hold nothing but constants and that nothing imports.

Such a module cannot run by itself. Knows imports, resolved over the whole project; where a module
may be imported by a name that is made at run time, nothing is known. A file that was checked
without others keeps its prompts.
"""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING

from stemfirst_lint.importers import led_to, stem_of
from stemfirst_lint.scopes import Bind

if TYPE_CHECKING:
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Site
    from stemfirst_lint.project import Project

_BY_NAME = (
    "import_module", "__import__", "exec", "load_module", "module_from_spec", "iter_modules",
)  # fmt: skip


class Unimported:
    """Answers for one project; ask when all modules are added."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._modules = [module for module in project.modules.values() if module is not None]
        self._are_named_at_run_time = any(
            name in module.calls for module in self._modules for name in _BY_NAME
        )
        self._known: dict[str, bool] = {}

    def holds(self, site: Site) -> bool:
        """Return True if a site's text stands in such a module, and others are imported."""
        own = self.project.modules.get(os.path.abspath(site.template.location.path))
        if own is None or self._are_named_at_run_time or site.template.calls:
            return False
        if own.path not in self._known:
            self._known[own.path] = _is_inert(own) and not self._is_imported(own)
        return self._known[own.path]

    def _is_imported(self, own: ModuleIndex) -> bool:
        """True if an import leads to a module, or none leads to its folder's other modules."""
        stem = stem_of(own)
        if stem in ("__init__", "__main__"):
            return True
        has_neighbours = False
        folder = os.path.dirname(os.path.abspath(own.path))
        for module in self._modules:
            for found in led_to(self.project, module, stem):
                if found is own:
                    return True
                has_neighbours |= os.path.dirname(os.path.abspath(found.path)) == folder
        return not has_neighbours


def _is_inert(module: ModuleIndex) -> bool:
    """True for a module of constants: no function, class or call that could send something."""
    return (
        not module.functions
        and not module.classes
        and not module.calls
        and any(
            binding.how is Bind.ASSIGN
            for bindings in module.scope.bindings.values()
            for binding in bindings
        )
        and not any(isinstance(node, ast.With | ast.For | ast.While) for node in module.tree.body)
    )
