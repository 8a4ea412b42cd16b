"""Whether one block of a template may move behind another: the rules of safe rewriting.

Knows the blocks, their holes and the words in them. Knows nothing of ranks and gain: `plan` asks
about one pair at a time, a block and a later one that wants to come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stemfirst.tiers import Tier

from stemfirst_lint.fix import words
from stemfirst_lint.fix.blocks import Block, Shape
from stemfirst_lint.fix.flat import Flat
from stemfirst_lint.fix.own_labels import is_spelled_out, own_label
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.model import Form, Hole, Kind, Template

_SENTENCE_CHARACTERS = 200
"""A block that is longer is more than a sentence that belongs to what it points at."""
_EVALUATED = (Form.FSTRING, Form.CONCAT, Form.JOIN)
"""Forms whose values are evaluated where they stand, in their order."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something stays where it is, and what a person could write instead; one line each."""

    reason: str
    remedy: str

    def __str__(self) -> str:
        """Return both as one sentence."""
        return f"{self.reason}; {self.remedy}"


class Safety:
    """Answers for one template; blocks are named by their index in the old order.

    Attributes:
        raw_texts: the blocks' flat texts.
        texts: the same with the text of constants in their holes, as the model reads it.
        holes: the indices of each block's holes.
        tiers: each hole's tier; a hole of unknown tier counts as static, and so stays.
    """

    def __init__(
        self,
        flat: Flat,
        blocks: Sequence[Block],
        tiers: Sequence[int],
        template: Template,
        role: str | None,
    ) -> None:
        self._flat = flat
        self._blocks = blocks
        self._template = template
        self._form = template.form
        self._role = role
        self.tiers = tiers
        self.raw_texts = [words.bare(flat.text[block.start : block.end]) for block in blocks]
        self.holes = [flat.holes_in(block.start, block.end) for block in blocks]
        self.texts = [
            _filled(text, [flat.holes[hole] for hole in holes])
            for text, holes in zip(self.raw_texts, self.holes, strict=True)
        ]
        self._nouns = [
            words.nouns(text)
            | words.nouns(" ".join(flat.holes[hole].name for hole in holes).replace("_", " "))
            for text, holes in zip(self.texts, self.holes, strict=True)
        ]

        # templates of hundreds of blocks ask about every pair
        self._points_back = [words.may_point_back(text) for text in self.texts]
        self._points_ahead = [words.may_point_ahead(text) for text in self.texts]
        starts = (at for at, text in enumerate(self.texts) if words.ends_in_start(text))
        self._start = next(starts, len(blocks))

    def tier(self, block: int) -> int:
        """Return the liveliest tier of a block's holes."""
        return max((self.tiers[hole] for hole in self.holes[block]), default=0)

    def is_question(self, block: int) -> bool:
        """True if a block holds what the user asks."""
        if self._blocks[block].shape in (Shape.PROSE, Shape.BARRIER):
            return False
        label = words.label_of(self.texts[block].partition("\n")[0])
        names = [self._flat.holes[hole].name for hole in self.holes[block]]
        return any(words.is_question_name(name) for name in [*(label or ())[:1], *names])

    def stop(self, earlier: int, later: int) -> Refusal | None:
        """Return why `later` must never come before `earlier`, or None."""
        barrier = next(
            (block for block in (earlier, later) if self._blocks[block].shape is Shape.BARRIER),
            None,
        )
        if barrier is not None:
            return Refusal(
                f"{quoted(self.texts[barrier])} separates two parts",
                "give each part a heading or a tag",
            )
        if words.is_opening(self.texts[earlier]):
            return Refusal(
                f"{quoted(self.texts[earlier])} says who the model is and opens the prompt",
                f"put {self._hole_text(earlier)} on a labelled line at the end",
            )
        if self._form in _EVALUATED and self._effects(earlier, later) == 2:
            return Refusal(
                f"{self._hole_text(earlier)} or {self._hole_text(later)} binds a name with `:=`",
                "bind it on a line before the prompt",
            )
        return None

    def doubt(self, earlier: int, later: int, ranks: Sequence[int]) -> Refusal | None:
        """Return why a person should look before `later` comes before `earlier`, or None."""
        mover, crossed = self.texts[earlier], self.texts[later]
        hole = self._hole_text(earlier)
        shape = self._blocks[earlier].shape
        is_varying = self.tier(earlier) > Tier.STATIC  # else it was held back by a pointer
        if is_varying and shape in (Shape.PROSE, Shape.LIST):
            return Refusal(
                f"{hole} is woven into {quoted(mover)}",
                f"put it on a line of its own at the end: {self._labelled(earlier)}",
            )
        if shape is Shape.BARE and not self.has_own_label(earlier):
            return Refusal(
                f"{hole} stands alone, and nothing says what it is",
                f"give it a label: {self._labelled(earlier)}",
            )
        head = self._stable_head(earlier)
        if head is not None:
            return Refusal(
                f"{head} stands at the head of {quoted(mover)} and would move with it",
                "end it with a line end of its own",
            )
        if self._start < earlier:
            return Refusal(
                "“Begin!” starts the dialogue, and what follows it keeps its order",
                "put instructions before it",
            )
        if not is_varying and self._is_section(earlier):
            return Refusal(
                f"{quoted(mover)} has to stay, and {quoted(crossed)} would overtake it",
                "move both, or give the value a labelled line at the end",
            )
        if words.is_premise(mover) and words.is_premise(crossed):
            return Refusal(
                f"{quoted(mover)} and {quoted(crossed)} tell a story in order",
                f"put {hole} on a labelled line at the end",
            )
        phrase = words.dangling(crossed)
        if phrase is not None and earlier == later - 1:
            return self._pointer(phrase, crossed, earlier)
        if self._points_back[later]:
            staying = frozenset[str]().union(
                *(self._nouns[block] for block in range(later) if ranks[block] <= ranks[later])
            )
            phrase = words.pointer_back(crossed, staying, self._nouns[earlier])
            if phrase is None and earlier == later - 1:
                phrase = words.opens_with_pointer(crossed)
            if phrase is not None:
                return self._pointer(phrase, crossed, earlier)
        phrase = words.opens_with_pointer(mover) if earlier else None
        if phrase is None and self._points_ahead[earlier]:
            behind = frozenset[str]().union(
                *(
                    self._nouns[block]
                    for block in range(earlier + 1, len(ranks))
                    if ranks[block] >= ranks[earlier]
                )
            )
            phrase = words.pointer_ahead(mover, behind)
        if phrase is not None:
            return self._pointer(phrase, mover, earlier)
        if self._points_ahead[later]:
            after = frozenset[str]().union(*self._nouns[later + 1 :])
            phrase = words.pointer_ahead(crossed, after)
            if phrase is not None:
                return self._pointer(phrase, crossed, earlier)
        if words.is_example(mover) or (self.is_data(earlier) and words.is_example(crossed)):
            return Refusal(
                f"{hole} stands before worked examples", "move the examples to the head yourself"
            )
        if self._form in _EVALUATED and self._effects(earlier, later) == 1:
            return Refusal(
                f"{hole} would be evaluated after {self._hole_text(later)}",
                "call what has side effects on a line before the prompt",
            )
        return self._reach(earlier, later)

    def _stable_head(self, block: int) -> str | None:
        """Return the value that a varying block begins with, if that value itself does not vary."""
        if not self.tier(block) or not self.raw_texts[block].lstrip().startswith(HOLE):
            return None
        first = self.holes[block][0]
        return f"{{{_short(self._flat.holes[first].name)}}}" if not self.tiers[first] else None

    def _is_section(self, block: int) -> bool:
        return (
            self._blocks[block].shape in (Shape.HEADED, Shape.LIST)
            or len(self.texts[block]) > _SENTENCE_CHARACTERS
        )

    def is_data(self, block: int) -> bool:
        """True if a block holds a varying value that is no clock, random value or set."""
        return any(self._is_data(hole) for hole in self.holes[block])

    def _is_data(self, hole: int) -> bool:
        """True unless the hole is known to hold a clock, a random value or a set's members."""
        own = (Kind.CLOCK, Kind.RANDOM, Kind.SET)
        return self.tiers[hole] > Tier.STATIC and self._flat.holes[hole].verdict.kind not in own

    def doubts_of_template(self) -> Iterator[Refusal]:
        """Yield why a person should look at any move in this template."""
        template = self._template
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
        if words.is_foreign("\n".join(self.texts)):
            yield Refusal(
                "the text does not read like English, so what it points at is not seen",
                "read the new order yourself",
            )
        field = words.later_field(self._flat.text)
        if field is not None:
            yield Refusal(
                f"{field} may be filled by a later formatting",
                "fill everything in one step",
            )
        percent = words.percent_field(self._flat.text)
        if percent is not None:
            yield Refusal(f"`{percent}` may be filled by `%` later", "fill everything in one step")

    def _reach(self, earlier: int, later: int) -> Refusal | None:
        """Return a doubt if text that others wrote would get the last word, or None."""
        outside = [
            self._flat.holes[hole]
            for hole in self.holes[earlier]
            if self._flat.holes[hole].verdict.kind not in (Kind.CLOCK, Kind.RANDOM, Kind.SET)
            and words.is_outside_name(self._flat.holes[hole].name)
        ]
        if not outside:
            return None
        name = outside[0].name
        if self.texts[later].rstrip().endswith("?") and len(self.texts[later]) < 300:
            return Refusal(
                f"the question {quoted(self.texts[later])} would stand before {{{name}}}",
                "after long documents a question is answered better",
            )
        is_held = self._blocks[earlier].shape in (Shape.TAGGED, Shape.HEADED)
        was_last = self.tier(len(self._blocks) - 1) > 0
        if self._role == "system" and not is_held and not was_last:
            return Refusal(
                f"{{{name}}} holds what others wrote and would come last in the system message",
                f"put it in a tag: <{name}>{{{name}}}</{name}>",
            )
        return None

    def _pointer(self, phrase: str, text: str, mover: int) -> Refusal:
        at = text.lower().find(phrase.lower())
        return Refusal(
            f"“{phrase}” in {quoted(text[max(0, at - 20) :])} points across the move",
            f"name what it means ({self._label(mover)}) instead of where it stands",
        )

    def _effects(self, earlier: int, later: int) -> int:
        """Return 2 if swapping the blocks' holes breaks a binding, 1 if it might show, else 0."""
        from stemfirst_lint.fix.purity import Effect, effect_of

        pair = [
            [self._flat.holes[hole] for hole in self.holes[block]] for block in (earlier, later)
        ]
        # A constant string is the same whenever it is read.
        pair = [[hole for hole in holes if hole.constant_text is None] for holes in pair]
        if not all(pair):
            return 0
        effects = {
            effect_of(source) for holes in pair for hole in holes for source in _expressions(hole)
        }
        return 2 if Effect.BINDS in effects else int(Effect.CALL in effects)

    def _hole_text(self, block: int) -> str:
        varying = [hole for hole in self.holes[block] if self.tiers[hole]]
        chosen = [*varying, *self.holes[block]][:1]
        if not chosen:
            return "the text"
        hole = self._flat.holes[chosen[0]]
        return f"{{{_short(hole.source if hole.name.endswith('()') else hole.name)}}}"

    def _label(self, block: int) -> str:
        hole = self._hole_text(block).strip("{}")
        return f"the {hole.replace('_', ' ')}"

    def has_own_label(self, block: int) -> bool:
        """True if the one value of a block is a text that begins with a label."""
        sources = [self._flat.holes[hole].source for hole in self.holes[block]]
        return len(sources) == 1 and own_label(sources[0]) is not None

    def _labelled(self, block: int) -> str:
        hole = self._hole_text(block)
        chosen = next((hole for hole in self.holes[block] if self.tiers[hole]), None)
        if chosen is None or is_spelled_out(self._flat.holes[chosen].source):
            return "a line above it that ends in a colon"
        found = self._flat.holes[chosen]
        name = re.sub(r"\W", " ", found.name.rpartition(".")[2]).strip().replace("_", " ")
        if found.verdict.kind is Kind.CLOCK and name in ("now", "utcnow", "today", "time"):
            name = "current date" if name == "today" else "current time"
        return f"`{name.capitalize() or 'What it is'}: {hole}`"


def _filled(text: str, holes: Sequence[Hole]) -> str:
    """Return a block's text with what is known of its holes in it."""
    if all(hole.constant_text is None for hole in holes) or text.count(HOLE) != len(holes):
        return text
    first, *rest = text.split(HOLE)
    pairs = zip(holes, rest, strict=True)
    return first + "".join(
        f"{HOLE if hole.constant_text is None else hole.constant_text.strip()}{part}"
        for hole, part in pairs
    )


def _expressions(hole: Hole) -> Iterator[str]:
    yield hole.source
    if hole.format_spec and "{" in hole.format_spec:
        yield hole.format_spec.replace("{", "(").replace("}", "),")


def _short(text: str, width: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def quoted(text: str) -> str:
    """Return flat text in one line and in quotation marks, cut where it is long."""
    return f"“{_short(text.replace(HOLE, '{…}'))}”"
