"""What belongs together in a prompt though no word points.

A value and its cue, a rule and its supplement, a colon and what it announces. Knows a plan's blocks
and their old and new order, as `care` does. Judges who stands next to whom; knows nothing of source
code.

Source: the verdicts of four readers on eighty changes to published packages and repositories.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from stemfirst_lint.fix.blocks import Shape
from stemfirst_lint.fix.new_order import NewOrder
from stemfirst_lint.fix.safety import Refusal, quoted
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.model import Hole

_HOLDS_RULES = re.compile(
    r"(?:^|_)(?:instructions|guidelines?|rules|requirements?|directives?|templates?"
    r"|[a-z]+_instruction)(?:_|$)",
    re.IGNORECASE,
)
"""Names of values that are instructions themselves, and may speak of what stands around them."""
_POINTS = re.compile(r"\b(?:above|below|following|preceding|aforementioned)\b", re.IGNORECASE)
_SUPPLEMENT = re.compile(
    r"\W*(?:(?:a\s+few|some|any|here\s+are(?:\s+some)?)\s+)?"
    r"(?:additional(?:ly)?|further(?:more)?|more(?=\s+\w+s\b)|other(?!\s+than)|extra|also|moreover"
    r"|besides|in\s+addition|exceptions?|however|finally|lastly|again)\b",
    re.IGNORECASE,
)
_NOW = re.compile(r"\W*(?:now|finally|lastly|again)\b", re.IGNORECASE)
_RULES_ALONE = re.compile(
    r"[\W_]*(?:\w+\s+)?(?:rules|guidelines|criteria|constraints|notes?|tips|hints|examples|format"
    r"|considerations|principles)[\W_]*(?::.*|[-=]+)?",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\A\W*(?:please\s+)?(?:continue|proceed|keep\s+(?:going|working))\b"
    r"|\b(?:in|from|of)\s+(?:the|your)\s+last\s+"
    r"(?:extraction|response|answer|reply|turn|message|output)\b",
    re.IGNORECASE,
)
_FORM = re.compile(
    r"^[ \t]*\[(?:your|provide|insert|write|list|explain|describe|include|state|summar\w+)\b"
    r"[^\]\n]*\]"
    r"|^[^\n:\[]{1,60}:[ \t]*\[[^\]\n]*(?:/|\bor\b|\byour\b)[^\]\n]*\][ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
"""Lines that the answer fills in: `[your analysis]`, `Verdict: [yes/no]`."""
_BEGINS = re.compile(
    r"\b(?:please\s+)?(?:begin|start)\s+(?:by\s+)?(?:now|writing|with\s+your|your)\b"
    r"|\bplease\s+(?:begin|start|proceed)\b|\bnow\s+(?:write|begin|start|answer|generate)\b",
    re.IGNORECASE,
)
_LABEL_WORDS = 5
"""More words in front of a value say what to do with it."""
_ANNOUNCES = re.compile(r"(?::|=>|->|→)[*_\"'`]*\s*$")
_MARKER_LINE = re.compile(
    r"(?:^|\n)[^\n]*(?::|#[^\n]*)[*_]*[ \t]*\n[ \t]*"
    r"(?P<marker>\[[A-Z][A-Z _]+\]|<<\w+>>|__[A-Z]\w*__)[ \t]*(?:\n[ \t]*\n|\s*\Z)"
)
"""A name in capitals and brackets, alone below its label: somebody fills it in later."""


class Bonds(NewOrder):
    """Judges one new order; every method yields what speaks against it."""

    def doubts(self) -> Iterator[Refusal]:
        """Yield what would be parted, or come together."""
        yield from self.values_that_instruct()
        yield from self.later_markers()
        yield from self.running_conversation()
        yield from self.nameless()
        yield from self.supplements()
        yield from self.announcements()
        yield from self.cue()
        yield from self.cut_sentences()
        yield from self.form()
        yield from self.beginnings()
        yield from self.unknown_order()

    def values_that_instruct(self) -> Iterator[Refusal]:
        """A value that holds instructions may speak of what stands around it."""
        for block in range(len(self._blocks)):
            if not self._is_overtaken(block):
                continue
            for index in self._safety.holes[block]:
                hole = self._flat.holes[index]
                known = " ".join((hole.constant_text or "", *hole.inner_texts))
                match = _POINTS.search(known)
                if match is not None:
                    yield Refusal(
                        f"{{{hole.name}}} says “{match.group()}”, and would move",
                        "name what it means instead of where it stands",
                    )
                    return
                if self._safety.tiers[index] and _HOLDS_RULES.search(hole.name):
                    yield Refusal(
                        f"{{{hole.name}}} holds instructions, which may speak of what follows them",
                        "read what is put in there",
                    )
                    return

    def later_markers(self) -> Iterator[Refusal]:
        """Names in capitals and brackets stand for values that somebody fills in later."""
        for text in self._texts:
            match = _MARKER_LINE.search(text)
            if match is not None:
                yield Refusal(
                    f"`{match['marker']}` looks like a value that is filled in later",
                    "fill everything in one step",
                )
                return

    def running_conversation(self) -> Iterator[Refusal]:
        """A turn that goes on with a conversation stands behind all that was said."""
        for block, text in enumerate(self._texts):
            match = _GOES_ON.search(text)
            if match is not None and not self._varies[block]:
                yield Refusal(
                    f"{quoted(text[match.start() :])} goes on with a conversation, behind which "
                    "no order gains anything",
                    "put what stays into the system message",
                )
                return

    def nameless(self) -> Iterator[Refusal]:
        """A value without a label belongs to what stands before it."""
        for block, unit in enumerate(self._blocks):
            above = self._above.get(block)
            is_bare = unit.shape is Shape.BARE and HOLE in self._texts[block]
            if not is_bare or not block or above == block - 1 or self._safety.has_own_label(block):
                continue
            yield Refusal(
                f"{quoted(self._texts[block])} has no label, and would follow something else",
                "give it a label",
            )
            return

    def supplements(self) -> Iterator[Refusal]:
        """What adds to something, or comes last by its own words, does not come first."""
        for block, text in enumerate(self._texts):
            if self._varies[block] or not self._overtakes(block):
                continue
            if _SUPPLEMENT.match(text) or _NOW.match(text):
                yield Refusal(
                    f"{quoted(text)} adds to what it would overtake",
                    "move both, or say it by itself",
                )
                return
        first = self._order[0]
        head = self._texts[first].partition("\n")[0]
        is_told = any(
            self._safety.is_data(block)
            and len(self._texts[block].partition(HOLE)[0].split()) > _LABEL_WORDS
            for block in range(first)
        )
        if is_told and not self._varies[first] and _RULES_ALONE.fullmatch(head.strip()):
            yield Refusal(
                f"{quoted(self._texts[first])} would open the prompt, before its task is named",
                "begin with what the task is",
            )

    def announcements(self) -> Iterator[Refusal]:
        """What ends in a colon announces what stands below it, or asks for the answer."""
        last = len(self._blocks) - 1
        for block, text in enumerate(self._texts):
            if not _ANNOUNCES.search(text) or text.rstrip().endswith(HOLE):
                continue
            was = block + 1 if block < last else None
            now = self._below.get(block)
            if was is not None and now is not None and self._is_headed(was, now):
                continue  # a task, and sections below it
            if now != was:
                end = text.rstrip().rpartition("\n")[2]
                yield Refusal(
                    f"{quoted(end)} announces what follows it, and something else would",
                    "keep both together",
                )
                return

    def _is_headed(self, *blocks: int) -> bool:
        return all(self._blocks[block].shape in (Shape.HEADED, Shape.TAGGED) for block in blocks)

    def cue(self) -> Iterator[Refusal]:
        """The value in front of the closing cue is the one that the cue asks about."""
        last = len(self._blocks) - 1
        if self._blocks[last].shape is not Shape.CUE or self._order[-1] != last or not last:
            return
        above = self._above[last]
        if above != last - 1 and HOLE in self._texts[last - 1] and HOLE in self._texts[above]:
            yield Refusal(
                f"{quoted(self._texts[above])} would stand between {quoted(self._texts[last - 1])} "
                f"and {quoted(self._texts[last])}",
                "keep the value that is asked about in front of the cue",
            )

    def cut_sentences(self) -> Iterator[Refusal]:
        """A sentence that runs over two lines stays whole."""
        for block in range(len(self._blocks) - 1):
            above, below = self._texts[block].rstrip(), self._texts[block + 1].lstrip()
            is_paragraph = self._blocks[block].paragraph == self._blocks[block + 1].paragraph
            is_open = above[-1:].isalnum() or above.endswith((",", "-", "–", "—"))
            if not is_paragraph or not is_open or not below[:1].islower():
                continue
            if self._below.get(block) != block + 1:
                yield Refusal(
                    f"{quoted(below)} goes on with the sentence before it",
                    "write both on one line",
                )
                return

    def form(self) -> Iterator[Refusal]:
        """The form that the answer fills in closes the prompt."""
        last = max((block for block in range(len(self._blocks)) if self._varies[block]), default=-1)
        for block in range(last + 1, len(self._blocks)):
            match = _FORM.search(self._texts[block])
            if match is not None and self._overtakes(block):
                yield Refusal(
                    f"“{match.group().strip()}” is what the answer fills in, and would not close "
                    "the prompt any more",
                    "keep it last, and move the rest by hand",
                )
                return

    def beginnings(self) -> Iterator[Refusal]:
        """What tells the model to begin stands behind what it is to work on."""
        for block, text in enumerate(self._texts):
            match = _BEGINS.search(text)
            if match is not None and not self._varies[block] and self._overtakes(block):
                yield Refusal(
                    f"“{match.group()}” in {quoted(text)} lets the answer begin",
                    "keep it last, and move the rest by hand",
                )
                return

    def unknown_order(self) -> Iterator[Refusal]:
        """A value does not change places with one of which nobody knows how often it changes."""
        for first, second in itertools.combinations(self._order, 2):
            if first < second or self._varies[first] or not self._safety.is_data(second):
                continue
            name = self._unknown_in(first)
            if name is not None:
                yield Refusal(
                    f"{quoted(self._texts[second])} would come behind {{{name}}}, of which nobody "
                    "knows how often it changes",
                    "say so in `[tool.stemfirst.tiers]`, or keep their order",
                )
                return

    def _unknown_in(self, block: int) -> str | None:
        holes = (self._flat.holes[index] for index in self._safety.holes[block])
        return next((hole.name for hole in holes if is_unknown(hole)), None)


def is_unknown(hole: Hole) -> bool:
    """True if nobody knows how often a hole's value changes."""
    return hole.verdict.tier is None and hole.constant_text is None
