"""The values that pass between the linter's stages: `files -> sites -> prompts -> findings`.

Knows what a place, a template, a verdict and a finding are. Knows nothing of `ast`, of files on
disk, of rules or of output: detection fills these values, rewriting and reporting read them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from stemfirst.tiers import Tier

from stemfirst_lint.habits import Habit
from stemfirst_lint.places import Cell as Cell
from stemfirst_lint.places import Location as Location


@dataclass(frozen=True, slots=True)
class Evidence:
    """One step of the reasoning behind a verdict: a sentence, and where it can be checked."""

    text: str
    location: Location | None = None


class Kind(Enum):
    """What a hole's value is; the reason for its tier."""

    CLOCK = "clock"
    RANDOM = "random"
    SET = "set"
    LISTING = "listing"
    SHUFFLED = "shuffled"
    COMPLETION = "completion"
    COUNTER = "counter"
    ELEMENT = "element of a loop"
    IDENTITY = "identity"
    ENVIRONMENT = "environment"
    RETRIEVAL = "retrieval"
    PARAMETER = "parameter"
    CALL_ARGUMENT = "argument"
    NAMED = "name"
    CONSTANT = "constant"
    CONFIG = "config"
    PURE = "pure"
    DECLARED = "declared"
    UNKNOWN = "unknown"


class Resolution(Enum):
    """How finely a clock's text moves; the coarser, the longer a prefix lives."""

    SECOND = "second"
    MINUTE = "minute"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How often a hole's value changes, and why we believe it.

    `tier` is None exactly when `kind` is `UNKNOWN`: nothing could be shown, and nothing is
    reported. `resolution` is set exactly for clocks.
    """

    tier: Tier | None
    kind: Kind
    evidence: tuple[Evidence, ...] = ()
    resolution: Resolution | None = None

    @property
    def is_stable(self) -> bool:
        """True if the value was shown to be the same in every request of a deployment."""
        return self.tier == Tier.STATIC


UNKNOWN = Verdict(None, Kind.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Text:
    """A run of literal text of a template.

    `text` is what the model reads: escapes decoded, doubled braces single where the template's
    form doubles them. `location` covers the run's source; a run that spans several implicitly
    joined literals covers the quotes between them.
    """

    text: str
    location: Location


@dataclass(frozen=True, slots=True)
class Hole:
    """A place where a template puts in a value.

    Attributes:
        source: the value's expression as written: the text between the braces of an f-string
            (without conversion and format spec), the argument given to `.format`, the operand of
            `+`. For a `.format` field that no call fills, the field's own text.
        name: a short name to show: the field's name, or the last name in the expression.
        location: the place inside the template: `{question}` with its braces in f-strings and
            format constants, the operand for `+`.
        verdict: how often the value changes.
        conversion: `r`, `s` or `a` after `!`, else None.
        format_spec: the text behind `:`, as written, else None.
        is_positional: True for a `.format` field without a name (`{}`, `{0}`).
        is_debug: True for an f-string's `{x=}`, whose source text is part of the output.
        value_location: where `source` stands; differs from `location` for `.format`.
        unsorted_json: where an object that came from outside is written as JSON as it came.
        set_location: for `Kind.SET` the expression that is a set and wants `sorted(...)` around
            it, if it stands in this file's text and nowhere else.
        constant_text: the value's text where it is a constant string that could be resolved; it
            counts as static text.
        inner_texts: what stays in the value's text where it is a template itself.
        tail_texts: what of it stands behind the last thing in it that varies.
    """

    source: str
    name: str
    location: Location
    verdict: Verdict = UNKNOWN
    conversion: str | None = None
    format_spec: str | None = None
    is_positional: bool = False
    is_debug: bool = False
    value_location: Location | None = None
    set_location: Location | None = None
    constant_text: str | None = None
    unsorted_json: Location | None = None
    inner_texts: tuple[str, ...] = ()
    tail_texts: tuple[str, ...] = ()


Piece = Text | Hole


class Form(Enum):
    """How a template is written."""

    FSTRING = "f-string"
    FORMAT = "format"
    CONCAT = "concatenation"
    JOIN = "joined list"
    REPLACE = "text with replaced markers"
    DOLLAR = "string.Template"
    PERCENT = "% formatting"
    JINJA = "Jinja template"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class Template:
    """Text with holes, as it stands in source, in the order in which it is sent.

    Attributes:
        form: how it is written.
        location: the expression that holds the text: the whole (implicitly joined) literal of an
            f-string or constant, the whole sum for `+`; for `FORMAT` the constant, in whatever
            file it lives.
        pieces: text and holes; neighbouring texts are merged; never empty texts.
        name: the variable, attribute or function that the template is known by, if any.
        calls: for `FORMAT`, `DOLLAR`, `REPLACE` and `JINJA` the whole expressions that fill it
            and were seen, in order of place; empty otherwise.
        is_shared: True if the text is used in a way besides `calls`: a second reader that a
            rewrite would change too.
        is_dedented: True if `dedent` or `cleandoc` takes the indentation of its lines away.
    """

    form: Form
    location: Location
    pieces: tuple[Piece, ...]
    name: str | None = None
    calls: tuple[Location, ...] = ()
    is_shared: bool = False
    is_dedented: bool = False

    @property
    def holes(self) -> tuple[Hole, ...]:
        """The holes in the order of the text."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Hole))

    @property
    def is_scattered(self) -> bool:
        """True if some of the text stands outside `location`: `+=` adds it further down."""
        here = self.location
        return any(
            piece.location.path != here.path
            or (piece.location.end_line, piece.location.end_column)
            > (here.end_line, here.end_column)
            for piece in self.pieces
        )


@dataclass(frozen=True, slots=True)
class Following:
    """What a request sends behind a message, so far as the source shows it.

    Attributes:
        texts: constant texts of later messages.
        tools: the tool definitions as JSON text if they are a constant, else None.
        has_tools: True if the request carries tools, known or not.
        has_history: True if earlier turns follow, or messages that cannot be read.
        has_conversation: True if the code calls them so, and no loop here adds them.
        are_tools_first: True if the provider is known to put the tools before the system message.
    """

    texts: tuple[str, ...] = ()
    tools: str | None = None
    has_tools: bool = False
    has_history: bool = False
    has_conversation: bool = False
    are_tools_first: bool = False


class Sink(Enum):
    """How a template reaches a model, strongest first."""

    MESSAGE = "message"
    KEYWORD = "keyword"
    TEMPLATE_CLASS = "template class"
    CALL = "call"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Site:
    """One template in the place where it is sent.

    Attributes:
        template: the text.
        sink: how we know that it is sent.
        location: the sink's expression.
        role: `system`, `user`, `assistant`, `tool`, or None where the sink does not say.
        index: the message's index in its list if the list is a literal up to there, else None.
        follows_history: True if earlier turns stand before it; order cannot matter then.
        following: what the request sends behind it.
        loop: the call that sends it, if it stands in a loop: each round pays for it.
        rounds: how many rounds its loops have, if the source says so.
    """

    template: Template
    sink: Sink
    location: Location
    role: str | None = None
    index: int | None = None
    follows_history: bool = False
    following: Following = field(default_factory=Following)
    loop: Location | None = None
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Argument:
    """A value that a request carries beside its messages, and how often it changes."""

    name: str
    location: Location
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Marker:
    """A `cache_control` marker of a request.

    Attributes:
        location: the dict that holds it.
        part: `tools`, `system` or `messages`.
        ttl: as written, `5m` where nothing is.
        text: the marked text where it is judged to vary, else None.
    """

    location: Location
    part: str
    ttl: str
    text: Argument | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A history that is cut at its head before it is sent."""

    location: Location
    how: str


@dataclass(frozen=True, slots=True)
class Edit:
    """A message of a history that is written in place.

    Attributes:
        location: the assignment's target.
        listed: the list, as written.
        text: the new text, judged.
        is_first: True for the first message, which is the system message.
        is_elided: True if the new text tells that something was left out.
    """

    location: Location
    listed: str
    text: Argument
    is_first: bool = False
    is_elided: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One call that sends messages, besides their texts.

    Attributes:
        location: the call.
        tools: its tool definitions, judged as a whole, if it has any.
        cache_keys: `prompt_cache_key` and its kin.
        windows: where the history loses its head.
        markers: `cache_control` markers that the source shows, in the order of rendering.
        edits: messages that were sent before and are written anew.
        toggles: parameters that are part of the cache's key and change inside a loop.
        explicit: where caching is limited to breakpoints, if none is set.
        habits: what else it does that can cost.
    """

    location: Location
    tools: Argument | None = None
    cache_keys: tuple[Argument, ...] = ()
    windows: tuple[Window, ...] = ()
    markers: tuple[Marker, ...] = ()
    edits: tuple[Edit, ...] = ()
    toggles: tuple[Argument, ...] = ()
    explicit: Location | None = None
    habits: tuple[Habit, ...] = ()


class Severity(Enum):
    """How much a finding weighs; `INFO` never changes an exit code."""

    WARNING = "warning"
    INFO = "info"


class Applicability(Enum):
    """What a fix does to the text that the model reads."""

    IDENTICAL = "identical"
    """The same text in a canonical order."""
    REORDER = "reorder"
    """The same blocks in a new order, every safety condition holds."""
    RISKY = "risky"
    """A safety condition fails; a person must look."""


@dataclass(frozen=True, slots=True)
class Money:
    """What a fault costs with a hosted model, by a dated price table.

    Attributes:
        usd: US dollars for 1,000 calls: the full price of the forfeited tokens less that of
            cached ones. Output tokens and writes to the cache are not counted.
        model: as the price table names it.
        as_of: the date of the table, ISO 8601.
        why_none: why nothing is lost, where `usd` is 0.
    """

    usd: float
    model: str
    as_of: str
    why_none: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, at one place.

    Attributes:
        code, name: the rule's.
        message: one sentence that says what varies and what it costs.
        location: the hole (SF1xx, SF2xx) or the first hole (SF3xx).
        forfeited_tokens: stable tokens behind the hole that every call reads again.
        forfeited_is_estimate: True if the tokens were estimated from bytes.
        applicability: what `fix` would do; None if there is no fix.
        evidence: why.
        template, hole: what the finding is about.
        site: where the template is sent.
        remedy: what a person can do, if `fix` can do nothing.
        severity: how much it weighs.
        money: what it costs, if the target is a hosted model.
    """

    code: str
    name: str
    message: str
    location: Location
    forfeited_tokens: int = 0
    forfeited_is_estimate: bool = False
    applicability: Applicability | None = None
    evidence: tuple[Evidence, ...] = ()
    template: Template | None = None
    hole: Hole | None = None
    site: Site | None = None
    remedy: str | None = None
    severity: Severity = Severity.WARNING
    money: Money | None = None
