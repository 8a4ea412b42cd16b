"""The rules, one a file. `RULES` lists them all; a test holds it to the files."""

from __future__ import annotations

from stemfirst_lint.rules.clock_in_prefix import ClockInPrefix
from stemfirst_lint.rules.hole_before_static import HoleBeforeStatic
from stemfirst_lint.rules.nonce_in_prefix import NonceInPrefix
from stemfirst_lint.rules.rule import Case, Limits, Rule
from stemfirst_lint.rules.set_order import SetOrder

__all__ = ["RULES", "Case", "Limits", "Rule"]

RULES: tuple[type[Rule], ...] = (ClockInPrefix, NonceInPrefix, SetOrder, HoleBeforeStatic)
"""Every rule, in the order of its code."""
