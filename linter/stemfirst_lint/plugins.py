"""Rules of other distributions: entry points of the group `stemfirst.rules`.

Knows how to load them. Entry points are looked up only if the settings name one, because the
look-up costs more than a check's start.
"""

from __future__ import annotations

import re

from stemfirst_lint.errors import PluginError

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.config import Config
    from stemfirst_lint.rules import Rule

GROUP = "stemfirst.rules"
_CODE = re.compile(r"[A-Z]+\d+")


def rules_of(config: Config) -> tuple[type[Rule], ...]:
    """Return our rules and those of the plugins that the settings name.

    Raises:
        PluginError: a plugin is not installed, fails to load, or gives something else.
    """
    from stemfirst_lint.rules import RULES

    found = [*RULES]
    for name in config.plugins:
        for rule in _loaded(name):
            if any(rule.code == other.code for other in found):
                raise PluginError(f"plugin {name!r}: the code {rule.code} is taken; choose another")
            found.append(rule)
    return tuple(found)


def _loaded(name: str) -> tuple[type[Rule], ...]:
    from importlib.metadata import entry_points

    from stemfirst_lint.rules import Rule

    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        raise PluginError(
            f"no plugin {name!r} is installed: no distribution has such an entry point of {GROUP!r}"
        )
    try:
        given = points[0].load()
    except Exception as error:  # it is other people's code
        raise PluginError(f"plugin {name!r} does not load: {error!r}") from error
    rules = given if isinstance(given, tuple | list) else (given,)
    for rule in rules:
        if not (isinstance(rule, type) and issubclass(rule, Rule)):
            raise PluginError(f"plugin {name!r} gives {rule!r}, which is no subclass of Rule")
        code = getattr(rule, "code", "")
        if not _CODE.fullmatch(code) or code.startswith("SF"):
            raise PluginError(
                f"plugin {name!r}: {code!r} is no code of a plugin; take capital letters and "
                "digits, such as ACME101, and leave SF to stemfirst"
            )
    return tuple(rules)
