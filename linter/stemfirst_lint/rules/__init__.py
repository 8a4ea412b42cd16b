"""The rules, one a file. `RULES` lists them all; a test holds it to the files."""

from __future__ import annotations

from stemfirst_lint.rules.clock_in_prefix import ClockInPrefix
from stemfirst_lint.rules.clock_in_template import ClockInTemplate
from stemfirst_lint.rules.completion_order import CompletionOrder
from stemfirst_lint.rules.conditional_prefix import ConditionalPrefix
from stemfirst_lint.rules.content_shape_flip import ContentShapeFlip
from stemfirst_lint.rules.counter_in_prefix import CounterInPrefix
from stemfirst_lint.rules.date_in_prefix import DateInPrefix
from stemfirst_lint.rules.dropped_marker import DroppedMarker
from stemfirst_lint.rules.environment_in_prefix import EnvironmentInPrefix
from stemfirst_lint.rules.examples_after_hole import ExamplesAfterHole
from stemfirst_lint.rules.explicit_without_breakpoint import ExplicitWithoutBreakpoint
from stemfirst_lint.rules.history_edit import HistoryEdit
from stemfirst_lint.rules.hole_before_static import HoleBeforeStatic
from stemfirst_lint.rules.identity_in_prefix import IdentityInPrefix
from stemfirst_lint.rules.json_order import JsonOrder
from stemfirst_lint.rules.listing_order import ListingOrder
from stemfirst_lint.rules.marker_on_varying_text import MarkerOnVaryingText
from stemfirst_lint.rules.no_marker import NoMarker
from stemfirst_lint.rules.nonce_in_prefix import NonceInPrefix
from stemfirst_lint.rules.prefix_below_minimum import PrefixBelowMinimum
from stemfirst_lint.rules.regenerated_ids import RegeneratedIds
from stemfirst_lint.rules.retrieval_in_prefix import RetrievalInPrefix
from stemfirst_lint.rules.rewritten_turns import RewrittenTurns
from stemfirst_lint.rules.rule import Case, Limits, Rule
from stemfirst_lint.rules.set_order import SetOrder
from stemfirst_lint.rules.short_marker_first import ShortMarkerFirst
from stemfirst_lint.rules.shuffled_examples import ShuffledExamples
from stemfirst_lint.rules.sliding_window import SlidingWindow
from stemfirst_lint.rules.system_rebuilt import SystemRebuilt
from stemfirst_lint.rules.toggled_parameter import ToggledParameter
from stemfirst_lint.rules.too_many_markers import TooManyMarkers
from stemfirst_lint.rules.tool_order import ToolOrder
from stemfirst_lint.rules.tools_behind_varying_system import ToolsBehindVaryingSystem
from stemfirst_lint.rules.turn_before_history import TurnBeforeHistory
from stemfirst_lint.rules.unpersisted_reminder import UnpersistedReminder
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
    JsonOrder,
    ShuffledExamples,
    CompletionOrder,
    HoleBeforeStatic,
    ExamplesAfterHole,
    ConditionalPrefix,
    TurnBeforeHistory,
    SlidingWindow,
    HistoryEdit,
    UnpersistedReminder,
    RegeneratedIds,
    ContentShapeFlip,
    SystemRebuilt,
    TooManyMarkers,
    NoMarker,
    MarkerOnVaryingText,
    PrefixBelowMinimum,
    ShortMarkerFirst,
    DroppedMarker,
    ToggledParameter,
    ExplicitWithoutBreakpoint,
    ClockInTemplate,
    RewrittenTurns,
    ToolsBehindVaryingSystem,
)
"""Every rule, in the order of its code."""
