"""Which modules of a project the imports of a module lead to, resolved and never by a bare name.

Knows imports as `Project` resolves them. Knows nothing of what is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.project import Project


def stem_of(module: ModuleIndex) -> str:
    """Return a module's name without its package."""
    return os.path.splitext(os.path.basename(module.path))[0]


def led_to(project: Project, module: ModuleIndex, stem: str) -> Iterator[ModuleIndex]:
    """Yield the project's modules that imports lead to, and in packages those of the given name."""
    for dotted, level in module.imports:
        names = [dotted]
        if stem in module.scope.bindings:
            names.append(f"{dotted}.{stem}" if dotted else stem)
        for name in names:
            found = project.imported(module, name, level) if name or level else None
            if found is not None:
                yield found
