"""The rules, one a file. `RULES` lists them all; a test holds it to the files."""

from __future__ import annotations

from stemfirst_lint.rules.clock_in_prefix import ClockInPrefix
from stemfirst_lint.rules.counter_in_prefix import CounterInPrefix
from stemfirst_lint.rules.date_in_prefix import DateInPrefix
from stemfirst_lint.rules.environment_in_prefix import EnvironmentInPrefix
from stemfirst_lint.rules.explicit_without_breakpoint import ExplicitWithoutBreakpoint
from stemfirst_lint.rules.history_edit import HistoryEdit
from stemfirst_lint.rules.hole_before_static import HoleBeforeStatic
from stemfirst_lint.rules.identity_in_prefix import IdentityInPrefix
from stemfirst_lint.rules.listing_order import ListingOrder
from stemfirst_lint.rules.marker_on_varying_text import MarkerOnVaryingText
from stemfirst_lint.rules.nonce_in_prefix import NonceInPrefix
from stemfirst_lint.rules.retrieval_in_prefix import RetrievalInPrefix
from stemfirst_lint.rules.rule import Case, Limits, Rule
from stemfirst_lint.rules.set_order import SetOrder
from stemfirst_lint.rules.short_marker_first import ShortMarkerFirst
from stemfirst_lint.rules.shuffled_examples import ShuffledExamples
from stemfirst_lint.rules.sliding_window import SlidingWindow
from stemfirst_lint.rules.system_rebuilt import SystemRebuilt
from stemfirst_lint.rules.toggled_parameter import ToggledParameter
from stemfirst_lint.rules.too_many_markers import TooManyMarkers
from stemfirst_lint.rules.tool_order import ToolOrder
from stemfirst_lint.rules.turn_before_history import TurnBeforeHistory
from stemfirst_lint.rules.varying_cache_key import VaryingCacheKey
from stemfirst_lint.rules.varying_tool_schema import VaryingToolSchema

__all__ = ["RULES", "Case", "Limits", "Rule"]

RULES: tuple[type[Rule], ...] = (
    ClockInPrefix,
    DateInPrefix,
    NonceInPrefix,
    IdentityInPrefix,
    CounterInPrefix,
    EnvironmentInPrefix,
    RetrievalInPrefix,
    VaryingToolSchema,
    VaryingCacheKey,
    SetOrder,
    ListingOrder,
    ToolOrder,
    ShuffledExamples,
    HoleBeforeStatic,
    TurnBeforeHistory,
    SlidingWindow,
    HistoryEdit,
    SystemRebuilt,
    TooManyMarkers,
    MarkerOnVaryingText,
    ShortMarkerFirst,
    ToggledParameter,
    ExplicitWithoutBreakpoint,
)
"""Every rule, in the order of its code."""
