"""Which text is put together once and kept: at import, or when an object is made.

Knows the scope that a text stands in, and who calls the function that makes it. Judges no value
but clocks and random numbers: what those read there, they read once.
"""

from __future__ import annotations

import ast
from dataclasses import replace

from stemfirst.tiers import Tier

from stemfirst_lint import naming
from stemfirst_lint.arguments import Call
from stemfirst_lint.model import UNKNOWN, Kind, Resolution, Verdict
from stemfirst_lint.project import Project
from stemfirst_lint.scopes import Scope, ScopeKind, Use, all_arguments
from stemfirst_lint.verdicts import frozen_value

_MAX_CALLERS_DEEP = 3
_MADE_BY = frozenset({"__init__", "__post_init__"})


class Frozen:
    """Answers for one project; keeps nothing."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def verdict(self, found: Verdict, use: Use, call: Call | None) -> Verdict:
        """Return the verdict of a value in a text that is put together at a point of execution.

        A clock read at import is static; of one that an object reads when it is made nobody knows
        how long the object lives.
        """
        if found.kind not in (Kind.CLOCK, Kind.RANDOM):
            return found
        tier = self._kept_for(use, call, _MAX_CALLERS_DEEP)
        if tier is None:
            return found
        is_of_builder = tier is not Tier.STATIC and use.scope.name not in _MADE_BY
        if is_of_builder and found.resolution is Resolution.DAY:
            return found  # it moves between sessions as it would between requests
        frozen = frozen_value(found, "at import", Tier.STATIC)
        return frozen if tier is Tier.STATIC else replace(UNKNOWN, evidence=frozen.evidence[:-1])

    def _kept_for(self, use: Use, call: Call | None, depth: int) -> Tier | None:
        """How long a text stays that is made there; None if it may be made for each request."""
        if use.loops:
            return None
        scope = use.scope
        if scope.kind is not ScopeKind.FUNCTION:
            is_notebook = scope.module.path.endswith(".ipynb")
            return None if is_notebook else Tier.STATIC  # cells are run again and again
        if scope.name in _MADE_BY and scope.owner is not None:
            return None if _is_given_data(scope) else Tier.SESSION
        if not depth or isinstance(scope.node, ast.Lambda):
            return None
        if call is not None and call.function is scope:
            return self._kept_for(call.use, call.outer, depth - 1)
        made = [one for one, _ in self.project.calls_of(scope) if not one.is_guarded]
        if not made or len(made) < len(self.project.called(scope.name)):
            return None  # a call that cannot be resolved may come with each request
        tiers = [self._kept_for(one.use, None, depth - 1) for one in made]
        return None if None in tiers else max(tier for tier in tiers if tier is not None)


def _is_given_data(made: Scope) -> bool:
    """True for the making of objects that hold data of one request."""
    return any(
        naming.parameter_tier(argument.arg, None) is Tier.REQUEST
        for argument in all_arguments(made.function.args)
    )
