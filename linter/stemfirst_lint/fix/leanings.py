"""What leans on something without a word that points: a record's last field, a closing request.

Knows a plan's blocks and their old and new order, as `care` does. Judges what a reader connects by
itself: an empty label with the values above it, "my question" with the question, a section that
tells what to write with the end of the prompt. Knows nothing of source code.

Source: the verdicts of two readers on fourteen changes that nobody had read before; both refused
three, and each one more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stemfirst_lint.fix import words
from stemfirst_lint.fix.blocks import Shape
from stemfirst_lint.fix.new_order import NewOrder
from stemfirst_lint.fix.safety import Refusal, quoted
from stemfirst_lint.fix.surroundings import ends_by_name
from stemfirst_lint.fix.words import HOLE

_THING = r"(?:questions?|quer(?:y|ies)|requests?|problems?|tasks?|messages?|tickets?)"
_NEXT_STEP = re.compile(
    rf"""(?:\A|[.!?:]\s+|\n)\W*(?:(?:please|now|then|finally|you\s+(?:must|should))\s+)*
      (?:answer|ask|call|choose|continue|decide|determine|do|execute|generate|give|go|output
      |perform|pick|produce|propose|provide|reply|respond|say|select|state|suggest|take|tell|use
      |write)\b[^.!?\n]{{0,80}}?
      (?:\bnext\b|\b(?:my|our)\s+(?:\w+\s+)?{_THING}\b
        |\b(?:based\s+(?:only\s+)?on|from|using)\s+the\s+content\b)""",
    re.IGNORECASE | re.VERBOSE,
)
"""What to do now that everything was said: it closes a prompt, however it is spelled."""
_MINE = re.compile(r"\bmy\s+(?!name\b)[a-z]\w+", re.IGNORECASE)
_INTRODUCED = re.compile(r"\b(?:the\s+following|an?|some)\s+(?P<noun>[a-z]\w+)", re.IGNORECASE)
_TELLS = re.compile(r"\b(?:I|we)(?:['’]ve|\s+(?:have|had|got|found|want|need|am|are))\b")
_THE_THING_IS = re.compile(
    r"\W*(?:the|my|our)\s+(?P<noun>[a-z]\w+)\s+(?:is|are|was|reads|says)\b", re.IGNORECASE
)
_HEADING_OF_RULES = re.compile(
    r"\b(?:task|instructions?|rules?|guidelines?|requirements?|constraints?|formats?|notes?|goals?"
    r"|objectives?|criteria|steps?|tips?|hints?|examples?|tone|style|policy|policies|outputs?)\b",
    re.IGNORECASE,
)
_SAYS_WHAT_TO_WRITE = re.compile(
    r"\W*(?:please\s+)?(?:analy[sz]e|answer|compose|describe|draft|explain|fill|generate|give|list"
    r"|note|outline|produce|provide|report|state|summari[sz]e|tell|write)\b",
    re.IGNORECASE,
)
_MARKED_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+\S", re.MULTILINE)
_FORM_SECTION = re.compile(
    r"[\W_]*(?:(?:the|your|output|response|answer|reply|report)\s+)*"
    r"(?:format|template|structure|form|layout)\b[^\n:]{0,30}:[*_]*[ \t]*\n\s*\S",
    re.IGNORECASE,
)
_FILLED_IN = re.compile(r"^[^\n\[]{0,30}\[[a-z0-9][^\]\n]*\][ \t]*$", re.IGNORECASE | re.MULTILINE)
"""A line that the answer fills in: `1. [issue + fix]`."""
_LABEL_WORDS = 3
"""A label that is not longer names a value, as a heading would; a longer one is a sentence."""


class Leanings(NewOrder):
    """Judges one new order; every method yields what speaks against it."""

    def doubts(self) -> Iterator[Refusal]:
        """Yield what would no longer stand by what it leans on."""
        yield from self.records()
        yield from self.sections()
        if self._moves_data():
            yield from self.closing()
            yield from self.mentions()
            yield from self.introductions()

    def records(self) -> Iterator[Refusal]:
        """An empty label behind labelled values is the field of their record that is asked for."""
        for block in range(1, len(self._blocks)):
            if self._below.get(block - 1) == block or not self._ends_in_field(block - 1):
                continue
            is_apart = self._blocks[block].paragraph != self._blocks[block - 1].paragraph
            label = _empty_label(self._texts[block])
            if self._varies[block] or label is None:
                continue
            last = words.label_of(self._last_line(block - 1))
            is_alike = last is not None and last[0].isupper() == label.isupper()
            if is_apart and (not is_alike or _HEADING_OF_RULES.search(label)):
                continue
            yield Refusal(
                f"“{label}:” is left empty behind {quoted(self._texts[block - 1])}, and would be "
                "parted from the values of its record",
                "keep the record together, behind what stays",
            )
            return

    def _ends_in_field(self, block: int) -> bool:
        label = words.label_of(self._last_line(block))
        return self._varies[block] and label is not None and HOLE in label[1]

    def _last_line(self, block: int) -> str:
        return self._texts[block].rstrip().rpartition("\n")[2]

    def sections(self) -> Iterator[Refusal]:
        """A line without a heading does not come to stand behind a section that has one.

        A short label is as good as a heading, but not behind the form of an answer.
        """
        for place, block in enumerate(self._order):
            is_free = self._blocks[block].shape not in (Shape.HEADED, Shape.TAGGED)
            if not (place and is_free and self._varies[block] and self._safety.is_data(block)):
                continue
            above = self._order[place - 1]
            if above < block or self._varies[above]:
                continue
            text = self._texts[above]
            is_marked = _MARKED_HEADING.search(text) is not None
            is_form = _FORM_SECTION.match(text) is not None
            is_form = is_form or (is_marked and _FILLED_IN.search(text) is not None)
            label = words.label_of(self._texts[block].strip().partition("\n")[0])
            is_named = label is not None and len(label[0].split()) <= _LABEL_WORDS
            if is_form or (is_marked and not is_named):
                yield Refusal(
                    f"{quoted(self._texts[block])} has no heading, and would read as part of the "
                    f"section {quoted(text)}",
                    "give it a heading of its own",
                )
                return

    def closing(self) -> Iterator[Refusal]:
        """What tells the model what to do next closes the prompt, as a named constant, too."""
        last = len(self._blocks) - 1
        if self._varies[last] or not self._overtakes(last):
            return
        text = self._texts[last].strip()
        names = [self._flat.holes[hole].name for hole in self._safety.holes[last]]
        is_constant = self._safety.raw_texts[last].strip() == HOLE
        is_named_so = is_constant and any(ends_by_name(name) for name in names)
        is_section = self._blocks[last].shape is Shape.HEADED
        is_step = self._is_section_to_write(last) if is_section else _NEXT_STEP.search(text)
        if is_named_so or is_step:
            yield Refusal(
                f"{quoted(text)} tells what to do next, closes the prompt and would not any more",
                "keep it last, and move the rest by hand",
            )

    def _is_section_to_write(self, last: int) -> bool:
        """True for `# State: Describe …` behind sections of data: the answer is that section."""
        follows = any(
            self._varies[block] and self._blocks[block].shape is Shape.HEADED
            for block in range(last)
        )
        if not follows:
            return False
        heading, _, rest = self._texts[last].strip().partition("\n")
        named, _, behind = heading.partition(":")
        body = behind.strip() or rest
        return not _HEADING_OF_RULES.search(named) and bool(_SAYS_WHAT_TO_WRITE.match(body))

    def mentions(self) -> Iterator[Refusal]:
        """What speaks of a thing by "my" or "the" stands behind what introduces the thing."""
        introduced = {
            words.nouns(match["noun"])
            for block in range(len(self._blocks))
            if self._moves(block)
            for match in _INTRODUCED.finditer(self._lead(block))
            if _TELLS.search(self._lead(block))
        }
        things = frozenset[str]().union(*introduced)
        for block, text in enumerate(self._texts):
            if self._varies[block] or not self._overtakes(block):
                continue
            match = _MINE.search(text) or next(
                (
                    found
                    for found in re.finditer(r"\bthe\s+([a-z]\w+)", text, re.IGNORECASE)
                    if words.nouns(found[1]) & things
                ),
                None,
            )
            if match is not None:
                yield Refusal(
                    f"“{match.group()}” in {quoted(text)} is not yet introduced where it would "
                    "stand",
                    "name what it means, or keep it behind",
                )
                return

    def _lead(self, block: int) -> str:
        return self._texts[block].partition(HOLE)[0]

    def introductions(self) -> Iterator[Refusal]:
        """What introduces a thing stands before the thing, and nothing between the two."""
        for block in range(1, len(self._blocks)):
            is_joined = self._blocks[block].paragraph == self._blocks[block - 1].paragraph
            match = _THE_THING_IS.match(self._texts[block])
            if not (is_joined and self._varies[block] and match):
                continue
            sentence = re.split(r"(?<=[.!?])\s+|\n", self._texts[block - 1].strip())[-1]
            is_named = bool(words.nouns(match["noun"]) & words.nouns(sentence))
            if is_named and self._below.get(block - 1) != block:
                yield Refusal(
                    f"{quoted(sentence)} introduces {quoted(self._texts[block])}, and something "
                    "else would stand between them",
                    "keep both together",
                )
                return


def _empty_label(text: str) -> str | None:
    """Return the label that a text begins with, if nothing is filled in behind or below it."""
    head, _, rest = text.strip().partition("\n")
    label = words.label_of(head)
    if label is None or label[1].strip(" \t*_") or len(label[0].split()) > _LABEL_WORDS:
        return None
    first = rest.partition("\n")[0]
    return None if first.strip() else label[0]
