"""Groups files that can know of each other; two groups are judged apart, in any order.

Knows the statements that import, by their text, and where modules lie below one folder. Errs on the
side of one group: a statement in a docstring joins too, a file that is not below the folder keeps
all together. Knows no syntax trees.
"""

from __future__ import annotations

import os
import re

_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+(\.*[ \t]*[\w.]*)[ \t]+import\b|import[ \t]+([^\n;#\\]+))", re.MULTILINE
)
_INDEX = "__init__.py"


def imports_of(data: bytes) -> tuple[str, ...]:
    """Return the modules that source imports, relative ones with their dots, each once."""
    found: dict[str, None] = {}
    for match in _IMPORT.finditer(data):
        source, listed = match.groups()
        if source is not None:
            found[source.replace(b" ", b"").decode("utf-8", "replace")] = None
        else:
            for name in filter(None, (part.split() for part in listed.split(b","))):
                found[name[0].decode("utf-8", "replace")] = None
    return tuple(found)


def islands(
    folder: str | None, imports: dict[str, tuple[str, ...]], listed: set[str]
) -> list[list[str]]:
    """Return groups of paths between which no import leads, in the order of their first path.

    Args:
        folder: the only folder that was asked for; None if there are others, or files.
        imports: what each file of interest imports, by its path.
        listed: all files below the folder.
    """
    if folder is None or os.path.join(folder, _INDEX) in listed:
        return [list(imports)] if imports else []
    leader: dict[str, str] = {}

    def lead(unit: str) -> str:
        while leader.setdefault(unit, unit) != unit:
            leader[unit] = unit = leader[leader[unit]]
        return unit

    below = {path: path[len(folder) :].lstrip(os.sep) for path in imports}
    units = {path: _unit(relative) for path, relative in below.items()}
    known: dict[tuple[str, int], list[str]] = {}
    for path, names in imports.items():
        own = units[path]
        depth = below[path].count(os.sep)
        for name in names:
            key = (name, depth if name.startswith(".") else 0)
            if key not in known:
                known[key] = _leads_to(folder, name, depth, listed)
            for other in known[key]:
                if other != own:
                    leader[lead(other)] = lead(own)
    groups: dict[str, list[str]] = {}
    for path, unit in units.items():
        groups.setdefault(lead(unit), []).append(path)
    return list(groups.values())


def _unit(relative: str) -> str:
    """The entry of the folder that a path below it is, or lies in."""
    first = relative.split(os.sep, 1)[0]
    return first.removesuffix(".py").removesuffix(".pyi")


def _leads_to(folder: str, name: str, depth: int, listed: set[str]) -> list[str]:
    """The units that an import may lead to from a file so many folders deep, itself aside.

    What lies nearer to the file than the folder itself lies in the file's own unit.
    """
    dotted = name.lstrip(".")
    level = len(name) - len(dotted)
    if not dotted or (level and level <= depth):
        return []
    places = [(folder, dotted.split(".")[0])]
    if not level:
        places.append((os.path.join(folder, "src"), "src"))
    return [unit for place, unit in places if _is_module(place, dotted, listed)]


def _is_module(folder: str, dotted: str, listed: set[str]) -> bool:
    base = os.path.join(folder, *dotted.split("."))
    return base + ".py" in listed or os.path.join(base, _INDEX) in listed
