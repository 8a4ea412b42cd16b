"""The better order of a template, or the reasons why there is none: pure text work.

Knows blocks, tiers and the words that stop a move. Knows nothing of source code: no `ast`, no
libcst, no files. The new order is the stable sort of the blocks by tier, with two additions: what
must stay behind a block (a pointer, a barrier) takes over that block's rank, and the end of the
prompt (the question, the cue "Answer:") stays the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from stemfirst.tiers import Tier

from stemfirst_lint.fix import words
from stemfirst_lint.fix.blocks import Block, Shape, blocks_of
from stemfirst_lint.fix.bonds import Bonds, is_unknown
from stemfirst_lint.fix.care import Care
from stemfirst_lint.fix.flat import Flat, flatten
from stemfirst_lint.fix.layout import Run, arrange, text_of
from stemfirst_lint.fix.leanings import Leanings
from stemfirst_lint.fix.listings import listings_in
from stemfirst_lint.fix.placement import doubts_of_places
from stemfirst_lint.fix.plain import Plain
from stemfirst_lint.fix.safety import Refusal, Safety
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.gain import Counter
from stemfirst_lint.model import Applicability, Form, Hole, Kind, Template

MIN_GAIN = 128
"""Tokens that a move must win: eight pages of the bundled server."""

_ENOUGH_DOUBTS = 40
"""A person has read enough; a generated template of hundreds of values has thousands."""
_CONSTANT_NAME = re.compile(r"(?:\w+\.)*[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z]{3,}")
"""How Python spells the name of what does not change."""
_QUESTION_RANK = 90
_CUE_RANK = 100


@dataclass(frozen=True, slots=True)
class Forfeit:
    """What stands behind the first varying hole and is read again on every call.

    Attributes:
        characters: constant characters behind it.
        pieces: pairs of a block and a later, more stable block.
        texts: the constant texts behind it, in order.
    """

    characters: int
    pieces: int
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A new order for one template's blocks.

    Attributes:
        flat: the template's text, holes abbreviated.
        blocks: its blocks in their old order.
        order: the old indices in the new order; ascending if nothing moves.
        applicability: `REORDER` or `RISKY`, None exactly if nothing moves.
        before, after: what is forfeited in the old and in the new order.
        refusals: what the plan does not do, or does at a risk, and why.
    """

    flat: Flat
    blocks: tuple[Block, ...]
    order: tuple[int, ...]
    applicability: Applicability | None
    before: Forfeit
    after: Forfeit
    refusals: tuple[Refusal, ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """The new text as kept ranges of the old one and new white space."""
        return arrange(self.flat.text, self.blocks, self.order) if self.blocks else ()

    @property
    def new_text(self) -> str:
        """The new flat text."""
        return text_of(self.flat.text, self.runs)

    @property
    def hole_order(self) -> tuple[int, ...]:
        """The old indices of all holes in their new order."""
        return tuple(hole for index in self.order for hole in self._holes_of(index))

    @property
    def moved_holes(self) -> tuple[Hole, ...]:
        """The holes that go behind text which they stood before, in their new order."""
        moved: list[Hole] = []
        for place, index in enumerate(self.order):
            if any(other > index for other in self.order[:place]):
                moved.extend(self.flat.holes[hole] for hole in self._holes_of(index))
        return tuple(moved)

    def _holes_of(self, index: int) -> range:
        return self.flat.holes_in(self.blocks[index].start, self.blocks[index].end)


def plan_for(
    template: Template,
    *,
    risky: bool = False,
    min_gain: int = MIN_GAIN,
    role: str | None = None,
    counter: Counter | None = None,
    doubts: Sequence[Refusal] = (),
) -> Plan:
    """Return the best order for `template`.

    Without `risky` the plan is safe where a safe order gains enough, and else the risky one if
    there is any, so that its `applicability` says what `fix` would need; with `risky` it is the
    order that gains most.

    Args:
        template: the text with its holes; holes of unknown tier stay where they are.
        risky: accept moves that a person must look at.
        min_gain: tokens that a move must win.
        counter: counts them, as it does for `check`; None for the default target's.
        role: the message's role, if known: in a system message text that others wrote moves
            behind the instructions only inside a tag or under a heading.
        doubts: why a person should look at any new order, from outside the text.
    """
    try:
        flat = flatten(template.pieces)
    except ValueError as error:
        return _nothing(Flat("", (), ()), Refusal(str(error), "write it as an escape, outside"))
    if template.form is Form.CONSTANT:
        return _nothing(flat, Refusal("the text is without holes", "nothing in it can move"))
    if template.form in (Form.CONCAT, Form.JOIN) and any(map(_is_filled_elsewhere, flat.holes)):
        why = "a part of it is filled by `.format`"
        return _nothing(flat, Refusal(why, "write that part as an f-string"))
    planner = _Planner(flat, template, min_gain, role, counter or _default_counter(), doubts)
    daring = planner.plan(is_daring=True)
    if daring.applicability is Applicability.RISKY and not risky:
        careful = planner.plan(is_daring=False)
        if careful.applicability is not None:
            return careful
    return daring


def sort_applicability(hole: Hole) -> Applicability | None:
    """Return what putting `sorted(...)` around a set does to the text, or None if it cannot.

    Members that are joined or listed, and files that are listed, come out in a canonical order
    (`identical`); a set that is printed itself changes its brackets, which a person should see
    (`risky`).
    """
    if hole.verdict.kind is Kind.LISTING:
        return Applicability.IDENTICAL if listings_in(hole.source) else None
    if hole.verdict.kind is not Kind.SET or hole.set_location is None:
        return None
    if hole.set_location == hole.value_location or hole.set_location == hole.location:
        return Applicability.RISKY
    return Applicability.IDENTICAL


@lru_cache(maxsize=1)
def _default_counter() -> Counter:
    return Counter()


def _is_filled_elsewhere(hole: Hole) -> bool:
    """True for the field of a literal whose value stands in a call, not in the field."""
    at, value = hole.location, hole.value_location
    if value is None or at.path != value.path:
        return value is not None
    return (value.line, value.column) < (at.line, at.column) or (
        (value.end_line, value.end_column) > (at.end_line, at.end_column)
    )


def _is_constant_by_name(hole: Hole, template: Template) -> bool:
    """True for `{WORKSPACE_DIR}`: whatever it holds, its module binds it once."""
    is_read = template.form in (Form.FSTRING, Form.CONCAT, Form.JOIN) or hole.value_location
    is_taken = hole.verdict.kind in (Kind.PARAMETER, Kind.NAMED)
    return bool(is_read and is_taken and _CONSTANT_NAME.fullmatch(hole.source.strip()))


def _stays(hole: Hole) -> Refusal:
    return Refusal(
        f"{{{hole.name}}} is named like a constant of its module, which no request changes",
        "say otherwise in `[tool.stemfirst.tiers]`",
    )


def _nothing(flat: Flat, *refusals: Refusal) -> Plan:
    none = Forfeit(0, 0)
    return Plan(flat, (), (), None, none, none, refusals)


class _Planner:
    """Plans one template, once with and once without the doubtful moves."""

    def __init__(
        self,
        flat: Flat,
        template: Template,
        min_gain: int,
        role: str | None,
        counter: Counter,
        doubts: Sequence[Refusal],
    ) -> None:
        self._flat = flat
        self._counter = counter
        self._min_gain = min_gain
        self._constants = [hole for hole in flat.holes if _is_constant_by_name(hole, template)]
        tiers = [
            int(Tier.STATIC if hole in self._constants else hole.verdict.tier or Tier.STATIC)
            for hole in flat.holes
        ]
        self._blocks = blocks_of(flat, lambda hole: tiers[hole] > Tier.STATIC)
        self._safety = Safety(flat, self._blocks, tiers, template, role)
        self._doubts = (*self._safety.doubts_of_template(), *doubts)

    def plan(self, *, is_daring: bool) -> Plan:
        """Return the plan; a daring one ignores doubts and reports them."""
        ranks, refusals, doubts = self._ranks(is_daring)
        order = tuple(sorted(range(len(ranks)), key=ranks.__getitem__))
        before, after = self._forfeit(range(len(ranks))), self._forfeit(order)
        gain = before.characters - after.characters
        plain = tuple(range(len(ranks)))
        applicability = None
        if order == plain:
            refusals = refusals or [*map(_stays, self._constants), self._already_last()]
        elif gain <= 0:
            order, after = plain, before
            refusals.append(Refusal("moving it would gain nothing", "leave it as it is"))
        elif (tokens := self._tokens(before) - self._tokens(after)) < self._min_gain:
            order, after = plain, before
            refusals.append(
                Refusal(
                    f"moving it would gain about {tokens} tokens, less than {self._min_gain}",
                    "lower `min-gain` to have it moved anyway",
                )
            )
        else:
            if after.characters * 2 > before.characters:
                doubts.append(self._halfway(refusals))
            if not doubts:
                doubts += Care(self._flat, self._blocks, self._safety, order).doubts()
                doubts += doubts_of_places(self._blocks, self._safety, order)
                for judge in (Bonds, Plain, Leanings):
                    doubts += judge(self._flat, self._blocks, self._safety, order).doubts()
                doubts += self._unproven(order)
            is_doubtful = bool(doubts or self._doubts)
            applicability = Applicability.RISKY if is_doubtful else Applicability.REORDER
            if is_doubtful and not is_daring:
                order, after, applicability = plain, before, None
            refusals = [*self._doubts, *doubts, *refusals]
        unique = tuple(dict.fromkeys(refusals))
        return Plan(self._flat, self._blocks, order, applicability, before, after, unique)

    def _tokens(self, forfeit: Forfeit) -> int:
        return self._counter.count(*forfeit.texts).tokens

    def _unproven(self, order: Sequence[int]) -> list[Refusal]:
        """Return a doubt if a value that stays in front may vary, too, and then nothing is won.

        A clock, a random value or a set differs in every request: what stands in front of it is
        likely to stay longer.
        """
        moved = [block for block in order if self._safety.is_data(block)]
        unknown = next((hole for hole in self._flat.holes if is_unknown(hole)), None)
        if not moved or unknown is None:
            return []
        before = self._forfeit(range(len(order)), is_strict=True)
        after = self._forfeit(order, is_strict=True)
        if self._tokens(before) - self._tokens(after) >= self._min_gain:
            return []
        return [
            Refusal(
                f"{{{unknown.name}}} stays in front, and nobody knows how often it changes",
                "say so in `[tool.stemfirst.tiers]`",
            )
        ]

    def _already_last(self) -> Refusal:
        return Refusal(
            "no constant text stands behind it in this message",
            "send it in the newest user message, and keep it there when the turn is stored",
        )

    def _halfway(self, refusals: list[Refusal]) -> Refusal:
        """Return why a move is doubtful that leaves most of the text behind the hole."""
        why = refusals[0].reason if refusals else "another value stays in front"
        return Refusal(
            f"the move would stop halfway: {why}",
            "put all that varies on labelled lines at the end",
        )

    def _ranks(self, is_daring: bool) -> tuple[list[int], list[Refusal], list[Refusal]]:
        """Return each block's rank, why blocks were held back, and the doubts ignored."""
        ranks = [self._safety.tier(block) for block in range(len(self._blocks))]
        if not is_daring:
            self._keep_data_in_order(ranks)
        self._hold_end(ranks)
        refusals: list[Refusal] = []
        doubts: list[Refusal] = []
        for later in range(len(ranks)):
            for earlier in range(later):
                if ranks[earlier] <= ranks[later]:
                    continue
                stop = self._safety.stop(earlier, later)
                if stop is None and len(doubts) >= _ENOUGH_DOUBTS:
                    continue
                doubt = stop or self._safety.doubt(earlier, later, ranks)
                if doubt is None:
                    continue
                if stop is None and is_daring:
                    doubts.append(doubt)
                else:
                    ranks[later] = ranks[earlier]
                    refusals.append(doubt)
        return ranks, refusals, doubts

    def _keep_data_in_order(self, ranks: list[int]) -> None:
        """Give all values but clocks and the like one rank, so that their order stays."""
        data = [block for block in range(len(ranks)) if self._safety.is_data(block)]
        highest = max((ranks[block] for block in data), default=0)
        for block in data:
            ranks[block] = highest

    def _hold_end(self, ranks: list[int]) -> None:
        """Give the closing cue, and the question that comes last of all holes, the last ranks."""
        end = len(ranks)
        if ranks and (
            self._blocks[-1].shape is Shape.CUE or words.ends_in_cue(self._safety.texts[-1])
        ):
            ranks[-1] = _CUE_RANK
            end -= 1
        varying = [block for block, rank in enumerate(ranks) if 0 < rank < _QUESTION_RANK]
        if len(varying) > 1 and self._safety.is_question(varying[-1]):
            ranks[varying[-1]] = _QUESTION_RANK
            if varying[-1] == end - 1:
                end -= 1
        # "Begin!" in front of the question, or of the cue
        while (
            1 < end < len(ranks)
            and not ranks[end - 1]
            and words.is_cue(self._safety.texts[end - 1])
        ):
            end -= 1
            ranks[end] = _QUESTION_RANK

    def _forfeit(self, order: Sequence[int], *, is_strict: bool = False) -> Forfeit:
        """Return what an order forfeits; strictly, what is unknown counts as varying."""
        texts: list[str] = []
        is_behind = False
        seen: list[int] = []
        inversions = 0
        for block in order:
            tier = self._safety.tier(block)
            inversions += sum(1 for other in seen if other > tier)
            seen.append(tier)
            hole = iter(self._safety.holes[block])
            for part in self._safety.raw_texts[block].split(HOLE):
                if is_behind and part:
                    texts.append(part)
                index = next(hole, None)
                if index is None:
                    continue
                is_doubtful = is_strict and is_unknown(self._flat.holes[index])
                if self._safety.tiers[index] > Tier.STATIC or is_doubtful:
                    is_behind = True
                elif is_behind:
                    texts.append(self._flat.holes[index].constant_text or "")
        return Forfeit(sum(map(len, texts)), inversions, tuple(texts))
