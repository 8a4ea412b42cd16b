"""The better order of a template, or the reasons why there is none: pure text work.

Knows blocks, tiers and the words that stop a move. Knows nothing of source code: no `ast`, no
libcst, no files. The new order is the stable sort of the blocks by tier, with two additions: what
must stay behind a block (a pointer, a barrier) takes over that block's rank, and the end of the
prompt (the question, the cue "Answer:") stays the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stemfirst.tiers import Tier

from stemfirst_lint.fix import words
from stemfirst_lint.fix.blocks import Block, Flat, Shape, blocks_of, flatten
from stemfirst_lint.fix.layout import Run, arrange, text_of
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.model import Applicability, Form, Hole, Kind, Template

MIN_GAIN = 128
"""Tokens that a move must win: eight pages of the bundled server."""
CHARACTERS_PER_TOKEN = 4
"""What English prose needs with today's tokenizers; only the gate uses it, no report."""

_QUESTION_RANK = 90
_CUE_RANK = 100


@dataclass(frozen=True, slots=True)
class Forfeit:
    """What stands behind the first varying hole and is read again on every call.

    Attributes:
        characters: constant characters behind it.
        pieces: pairs of a block and a later, more stable block.
    """

    characters: int
    pieces: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something stays where it is, and what a person could write instead; one line each."""

    reason: str
    remedy: str

    def __str__(self) -> str:
        """Return both as one sentence."""
        return f"{self.reason}; {self.remedy}"


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
) -> Plan:
    """Return the best order for `template`.

    Without `risky` the plan is safe where a safe order gains enough, and else the risky one if
    there is any, so that its `applicability` says what `fix` would need; with `risky` it is the
    order that gains most.

    Args:
        template: the text with its holes; holes of unknown tier stay where they are.
        risky: accept moves that a person must look at.
        min_gain: tokens that a move must win, estimated.
        role: the message's role, if known: in a system message text that others wrote moves
            behind the instructions only inside a tag or under a heading.
    """
    try:
        flat = flatten(template.pieces)
    except ValueError as error:
        return _nothing(Flat("", (), ()), Refusal(str(error), "write it as an escape, outside"))
    if template.form in (Form.CONCAT, Form.CONSTANT):
        what = "joined with `+`" if template.form is Form.CONCAT else "without holes"
        return _nothing(flat, Refusal(f"the text is {what}", "write it as one f-string"))
    planner = _Planner(flat, template, min_gain, role)
    daring = planner.plan(is_daring=True)
    if daring.applicability is Applicability.RISKY and not risky:
        careful = planner.plan(is_daring=False)
        if careful.applicability is not None:
            return careful
    return daring


def sort_applicability(hole: Hole) -> Applicability | None:
    """Return what putting `sorted(...)` around a set does to the text, or None if it cannot.

    Members that are joined or listed come out in a canonical order (`identical`); a set that is
    printed itself changes its brackets, which a person should see (`risky`).
    """
    if hole.verdict.kind is not Kind.SET or hole.set_location is None:
        return None
    if hole.set_location == hole.value_location or hole.set_location == hole.location:
        return Applicability.RISKY
    return Applicability.IDENTICAL


def _nothing(flat: Flat, *refusals: Refusal) -> Plan:
    none = Forfeit(0, 0)
    return Plan(flat, (), (), None, none, none, refusals)


class _Planner:
    """Plans one template, once with and once without the doubtful moves."""

    def __init__(self, flat: Flat, template: Template, min_gain: int, role: str | None) -> None:
        self._flat = flat
        self._form = template.form
        self._min_gain = min_gain
        self._role = role
        self._tiers = [int(hole.verdict.tier or Tier.STATIC) for hole in flat.holes]
        self._blocks = blocks_of(flat, lambda hole: self._tiers[hole] > Tier.STATIC)
        self._texts = [flat.text[block.start : block.end] for block in self._blocks]
        self._holes = [flat.holes_in(block.start, block.end) for block in self._blocks]
        self._nouns = [
            words.nouns(text)
            | words.nouns(" ".join(flat.holes[hole].name for hole in holes).replace("_", " "))
            for text, holes in zip(self._texts, self._holes, strict=True)
        ]
        self._doubts = tuple(self._doubts_of_template(template))

    def plan(self, *, is_daring: bool) -> Plan:
        """Return the plan; a daring one ignores doubts and reports them."""
        ranks, refusals, doubts = self._ranks(is_daring)
        order = tuple(sorted(range(len(ranks)), key=ranks.__getitem__))
        before, after = self._forfeit(range(len(ranks))), self._forfeit(order)
        gain = before.characters - after.characters
        plain = tuple(range(len(ranks)))
        applicability = None
        if order == plain:
            refusals = refusals or [self._already_last()]
        elif gain < self._min_gain * CHARACTERS_PER_TOKEN or gain <= 0:
            order, after = plain, before
            tokens = gain // CHARACTERS_PER_TOKEN
            refusals.append(
                Refusal(
                    f"moving it would gain about {tokens} tokens, less than {self._min_gain}",
                    "lower `min-gain` to have it moved anyway",
                )
            )
        else:
            is_doubtful = bool(doubts or self._doubts)
            applicability = Applicability.RISKY if is_doubtful else Applicability.REORDER
            if is_doubtful and not is_daring:
                order, after, applicability = plain, before, None
            refusals = [*self._doubts, *doubts, *refusals]
        unique = tuple(dict.fromkeys(refusals))
        return Plan(self._flat, self._blocks, order, applicability, before, after, unique)

    def _already_last(self) -> Refusal:
        return Refusal(
            "no constant text stands behind it in this message",
            "send it in the newest user message, and keep it there when the turn is stored",
        )

    def _tier(self, block: int) -> int:
        return max((self._tiers[hole] for hole in self._holes[block]), default=0)

    def _ranks(self, is_daring: bool) -> tuple[list[int], list[Refusal], list[Refusal]]:
        """Return each block's rank, why blocks were held back, and the doubts ignored."""
        ranks = [self._tier(block) for block in range(len(self._blocks))]
        self._hold_end(ranks)
        refusals: list[Refusal] = []
        doubts: list[Refusal] = []
        for later in range(len(ranks)):
            for earlier in range(later):
                if ranks[earlier] <= ranks[later]:
                    continue
                stop = self._stop(earlier, later)
                doubt = self._doubt(earlier, later, ranks)
                if stop is not None or (doubt is not None and not is_daring):
                    ranks[later] = ranks[earlier]
                    refusals.append(stop or doubt)  # type: ignore[arg-type]
                elif doubt is not None:
                    doubts.append(doubt)
        return ranks, refusals, doubts

    def _hold_end(self, ranks: list[int]) -> None:
        """Give the closing cue, and the question that comes last of all holes, the last ranks."""
        end = len(ranks)
        if ranks and self._blocks[-1].shape is Shape.CUE:
            ranks[-1] = _CUE_RANK
            end -= 1
        varying = [block for block, rank in enumerate(ranks) if 0 < rank < _QUESTION_RANK]
        if len(varying) > 1 and self._is_question(varying[-1]):
            ranks[varying[-1]] = _QUESTION_RANK
            if varying[-1] == end - 1:
                end -= 1
        # "Begin!" in front of the question, or of the cue
        while 1 < end < len(ranks) and not ranks[end - 1] and words.is_cue(self._texts[end - 1]):
            end -= 1
            ranks[end] = _QUESTION_RANK

    def _is_question(self, block: int) -> bool:
        if self._blocks[block].shape in (Shape.PROSE, Shape.BARRIER):
            return False
        label = words.label_of(self._texts[block].partition("\n")[0])
        names = [self._flat.holes[hole].name for hole in self._holes[block]]
        return any(words.is_question_name(name) for name in [*(label or ())[:1], *names])

    def _stop(self, earlier: int, later: int) -> Refusal | None:
        """Return why `later` must never come before `earlier`, or None."""
        barrier = next(
            (block for block in (earlier, later) if self._blocks[block].shape is Shape.BARRIER),
            None,
        )
        if barrier is not None:
            return Refusal(
                f"{_quote(self._texts[barrier])} separates two parts",
                "give each part a heading or a tag",
            )
        if words.is_opening(self._texts[earlier]):
            return Refusal(
                f"{_quote(self._texts[earlier])} says who the model is and opens the prompt",
                f"put {self._hole_text(earlier)} on a labelled line at the end",
            )
        if self._form is Form.FSTRING and self._effects(earlier, later) == 2:
            return Refusal(
                f"{self._hole_text(earlier)} or {self._hole_text(later)} binds a name with `:=`",
                "bind it on a line before the prompt",
            )
        return None

    def _doubt(self, earlier: int, later: int, ranks: list[int]) -> Refusal | None:
        """Return why a person should look before `later` comes before `earlier`, or None."""
        mover, crossed = self._texts[earlier], self._texts[later]
        hole = self._hole_text(earlier)
        shape = self._blocks[earlier].shape
        is_varying = self._tier(earlier) > Tier.STATIC  # else it was held back by a pointer
        if is_varying and shape in (Shape.PROSE, Shape.LIST):
            return Refusal(
                f"{hole} is woven into {_quote(mover)}",
                f"put it on a line of its own at the end: {self._labelled(earlier)}",
            )
        if shape is Shape.BARE:
            return Refusal(
                f"{hole} stands alone, and nothing says what it is",
                f"give it a label: {self._labelled(earlier)}",
            )
        staying = frozenset[str]().union(
            *(self._nouns[block] for block in range(later) if ranks[block] <= ranks[later])
        )
        phrase = words.pointer_back(crossed, staying, self._nouns[earlier])
        if phrase is None and earlier == later - 1:
            phrase = words.opens_with_pointer(crossed)
        if phrase is not None:
            return self._pointer(phrase, crossed, earlier)
        phrase = words.opens_with_pointer(mover) if earlier else None
        behind = frozenset[str]().union(
            *(
                self._nouns[block]
                for block in range(earlier + 1, len(ranks))
                if ranks[block] >= ranks[earlier]
            )
        )
        phrase = phrase or words.pointer_ahead(mover, behind)
        if phrase is not None:
            return self._pointer(phrase, mover, earlier)
        after = frozenset[str]().union(*self._nouns[later + 1 :])
        phrase = words.pointer_ahead(crossed, after)
        if phrase is not None:
            return self._pointer(phrase, crossed, earlier)
        if words.is_example(mover) or words.is_example(crossed):
            return Refusal(
                f"{hole} stands before worked examples", "move the examples to the head yourself"
            )
        if self._form is Form.FSTRING and self._effects(earlier, later) == 1:
            return Refusal(
                f"{hole} would be evaluated after {self._hole_text(later)}",
                "call what has side effects on a line before the prompt",
            )
        return self._reach(earlier, later)

    def _reach(self, earlier: int, later: int) -> Refusal | None:
        """Return a doubt if text that others wrote would get the last word, or None."""
        outside = [
            self._flat.holes[hole]
            for hole in self._holes[earlier]
            if self._flat.holes[hole].verdict.kind not in (Kind.CLOCK, Kind.RANDOM, Kind.SET)
            and words.is_outside_name(self._flat.holes[hole].name)
        ]
        if not outside:
            return None
        name = outside[0].name
        if self._texts[later].rstrip().endswith("?") and len(self._texts[later]) < 300:
            return Refusal(
                f"the question {_quote(self._texts[later])} would stand before {{{name}}}",
                "after long documents a question is answered better",
            )
        is_held = self._blocks[earlier].shape in (Shape.TAGGED, Shape.HEADED)
        was_last = self._tier(len(self._blocks) - 1) > 0
        if self._role == "system" and not is_held and not was_last:
            return Refusal(
                f"{{{name}}} holds what others wrote and would come last in the system message",
                f"put it in a tag: <{name}>{{{name}}}</{name}>",
            )
        return None

    def _pointer(self, phrase: str, text: str, mover: int) -> Refusal:
        at = text.lower().find(phrase.lower())
        return Refusal(
            f"“{phrase}” in {_quote(text[max(0, at - 20) :])} points across the move",
            f"name what it means ({self._label(mover)}) instead of where it stands",
        )

    def _effects(self, earlier: int, later: int) -> int:
        """Return 2 if swapping the blocks' holes breaks a binding, 1 if it might show, else 0."""
        from stemfirst_lint.fix.purity import Effect, effect_of

        if not self._holes[earlier] or not self._holes[later]:
            return 0
        effects = {
            effect_of(source)
            for block in (earlier, later)
            for hole in self._holes[block]
            for source in _expressions(self._flat.holes[hole])
        }
        return 2 if Effect.BINDS in effects else int(Effect.CALL in effects)

    def _doubts_of_template(self, template: Template) -> Iterator[Refusal]:
        if template.is_shared:
            yield Refusal(
                "the text is also used in another way, which would change too",
                "give each use its own text",
            )
        if template.form is Form.FORMAT and any(hole.is_positional for hole in template.holes):
            yield Refusal(
                "its fields have no names, so their order is their meaning",
                "name them, or let `--risky` number them",
            )
        field = words.later_field(self._flat.text)
        if field is not None:
            yield Refusal(
                f"{field} is left in the text for a later formatting",
                "fill everything in one step",
            )
        percent = words.percent_field(self._flat.text)
        if percent is not None:
            yield Refusal(f"`{percent}` may be filled by `%` later", "fill everything in one step")

    def _forfeit(self, order: range | tuple[int, ...]) -> Forfeit:
        characters = 0
        is_behind = False
        seen: list[int] = []
        inversions = 0
        for block in order:
            tier = self._tier(block)
            inversions += sum(1 for other in seen if other > tier)
            seen.append(tier)
            hole = iter(self._holes[block])
            for part in self._texts[block].split(HOLE):
                characters += len(part) if is_behind else 0
                index = next(hole, None)
                if index is None:
                    continue
                if self._tiers[index] > Tier.STATIC:
                    is_behind = True
                elif is_behind:
                    characters += len(self._flat.holes[index].constant_text or "")
        return Forfeit(characters, inversions)

    def _hole_text(self, block: int) -> str:
        varying = [hole for hole in self._holes[block] if self._tiers[hole]]
        chosen = [*varying, *self._holes[block]][:1]
        return f"{{{_short(self._flat.holes[chosen[0]].name)}}}" if chosen else "the text"

    def _label(self, block: int) -> str:
        hole = self._hole_text(block).strip("{}")
        return f"the {hole.replace('_', ' ')}"

    def _labelled(self, block: int) -> str:
        hole = self._hole_text(block)
        name = hole.strip("{}").replace("_", " ").capitalize()
        return f"`{name}: {hole}`"


def _expressions(hole: Hole) -> Iterator[str]:
    yield hole.source
    if hole.format_spec and "{" in hole.format_spec:
        yield hole.format_spec.replace("{", "(").replace("}", "),")


def _short(text: str, width: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _quote(text: str) -> str:
    return f"“{_short(text.replace(HOLE, '{…}'))}”"
