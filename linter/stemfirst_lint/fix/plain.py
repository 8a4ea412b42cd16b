"""What must plainly be so in an order that nobody looks at before it is written.

Knows a plan's blocks and their old and new order, as `care` does. The other judges say what is
wrong with an order; this one asks for what is right with it: the prompt opens with its task, what
moves stands on lines of its own between whole sentences, nothing that stays speaks of a place.

Source: the verdicts of two more readers on thirty-five changes to repositories that the rules
before these had never met; a quarter were refused, each for a way of writing that no rule named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stemfirst_lint.fix import words
from stemfirst_lint.fix.blocks import Shape
from stemfirst_lint.fix.new_order import NewOrder
from stemfirst_lint.fix.safety import Refusal, quoted
from stemfirst_lint.fix.words import HOLE

_ROLE = re.compile(
    r"\A\W*you\s|\b(?:you\s+are|you['’]re|you\s+(?:will|have|must|should|can|work|help|act|need)\b"
    r"|act\s+as|your\s+(?:task|job|role|goal|objective|mission)|this\s+is\s+an?\b|as\s+an?\b"
    r"|the\s+(?:task|goal|objective)\b|(?:this|our)\s+task\b|task\s*:|role\s*:)",
    re.IGNORECASE,
)
_TASKS = re.compile(
    r"""\W*(?:please\s+|kindly\s+|now\s+|carefully\s+|i\s+(?:want|need)\s+you\s+to\s+|help\s+me\s+
      |let['’]s\s+)*
      (?:act|add|analy[sz]e|answer|assess|assign|be|break|build|categori[sz]e|check|choose|classify
      |combine|compare|compile|complete|compose|compress|conduct|consider|construct|convert|create
      |criti[qc]\w+|decide|decompose|define|describe|design|detect|determine|develop|discuss
      |distill?|divide|draft|edit|estimate|evaluate|examine|expand|explain|extract|fill|filter|find
      |follow|format|generate|give|grade|group|help|identify|imagine|implement|improve|infer|inspect
      |integrate|investigate|judge|label|list|look|make|map|match|merge|outline|paraphrase|parse
      |perform|pick|plan|play|predict|prepare|process|produce|propose|provide|rank|rate|read|reason
      |recommend|refine|reflect|reformulate|rephrase|report|reply|respond|return|review|revise
      |rewrite|score|select|shorten|simplify|simulate|solve|split|state|suggest|summari[sz]e|synthesi[sz]e
      |tag|tell|think|transform|translate|transcribe|turn|update|use|validate|verify|write)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""A sentence that says what to do."""
_HEADING = re.compile(
    r"[ \t]*(?:#+[^\n]*|[*=_<\[-]{2,}[^\n]*|(?:your\s+)?(?:task|instructions?|objective|goal|role|"
    r"question|system|context|overview|introduction)[ \t]*:?)[ \t]*\n",
    re.IGNORECASE,
)
_PLACES = re.compile(
    r"\b(?:above|aforementioned|foregoing|preceding|below|underneath|hereafter"
    r"|(?:earlier|previously)\s+(?:mentioned|given|provided|shown|described|listed|stated))\b"
    r"(?!\s*(?:[$€£]|\d|(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty"
    r"|thirty|forty|fifty|sixty|hundred|a\s+hundred|all|half|average|and\s+beyond)\b))",
    re.IGNORECASE,
)
_FIELD_LINE = re.compile(r"[ \t]*[-*#>]*[ \t]*[*_]{0,2}[A-Za-z][\w /'’()-]{0,40}[*_]{0,2}:")
_LINE_CHARACTERS = 60
_END = re.compile(r"\b(?:end|ends|ended|finish|close|stop)\b", re.IGNORECASE)
_ENDS = re.compile(r"""[.!?:;…)\]}>`"'”’*_|~=-][ \t]*\Z""")


class Plain(NewOrder):
    """Judges one new order; every method yields what speaks against it."""

    def doubts(self) -> Iterator[Refusal]:
        """Yield what is not plainly right with the order."""
        yield from self.joints()
        yield from self.closers()
        if self._moves_data():
            yield from self.opening()
            yield from self.places()
            yield from self.fields()

    def opening(self) -> Iterator[Refusal]:
        """What comes to open the prompt says what the model is, or what it is to do."""
        first = self._order[0]
        if first == 0 or self._varies[first]:
            return
        text = self._texts[first].lstrip()
        while (heading := _HEADING.match(text)) is not None:
            text = text[heading.end() :].lstrip()
        sentence = re.split(r"(?<=[.!?:])\s|\n", text.strip(), maxsplit=1)[0]
        if not (_ROLE.search(sentence) or _TASKS.match(sentence)):
            yield Refusal(
                f"{quoted(self._texts[first])} would open the prompt, and says neither what the "
                "model is nor what it is to do",
                "begin with what the task is",
            )

    def joints(self) -> Iterator[Refusal]:
        """What moves stands between whole sentences."""
        for block in range(1, len(self._blocks)):
            before = self._blocks[block - 1]
            is_inside = before.paragraph == self._blocks[block].paragraph
            is_parted = self._below.get(block - 1) != block
            is_cut = self._moves(block - 1) or self._moves(block)
            if not (is_inside and is_parted and is_cut):
                continue
            above, below = self._texts[block - 1].rstrip(), self._texts[block].lstrip()
            is_open = not self._varies[block - 1] and not _ENDS.search(above)
            if is_open and before.line != self._blocks[block].line:
                is_open = words.label_of(above.rpartition("\n")[2]) is None
            if is_open or below[:1].islower():
                yield Refusal(
                    f"{quoted(below)} stands in one paragraph with {quoted(above)}, and the two "
                    "would be parted",
                    "put a blank line where the sentence ends",
                )
                return

    def closers(self) -> Iterator[Refusal]:
        """A short line behind a value, no sentence and no heading, closes what the value opened."""
        for block in range(1, len(self._blocks)):
            text = self._texts[block].strip()
            is_line = len(text) <= _LINE_CHARACTERS and "\n" not in text
            if self._varies[block] or not is_line or not self._moves(block - 1):
                continue
            is_kept = self._below.get(block - 1) == block
            is_sentence = text[:1].isalpha() and text[-1:] in ".!?:"
            if not is_kept and (not is_sentence or _END.search(text)):
                yield Refusal(
                    f"{quoted(text)} may close what {quoted(self._texts[block - 1])} opens",
                    "put the value in a tag",
                )
                return

    def places(self) -> Iterator[Refusal]:
        """Text that overtakes a value speaks of no place."""
        for block, text in enumerate(self._texts):
            if self._varies[block] or not self._overtakes(block):
                continue
            match = _PLACES.search(text)
            if match is not None:
                yield Refusal(
                    f"“{match.group()}” in {quoted(text[max(0, match.start() - 20) :])} speaks of "
                    "a place",
                    "name what it means instead of where it stands",
                )
                return

    def fields(self) -> Iterator[Refusal]:
        """A labelled value does not follow the labelled lines of an answer's form."""
        for place, block in enumerate(self._order):
            above = self._order[place - 1] if place else block
            if not self._moves(block) or self._varies[above] or above == block - 1:
                continue
            is_marked = self._texts[block].lstrip()[:1] in "#<=*["
            if is_marked or self._blocks[block].shape in (Shape.HEADED, Shape.TAGGED):
                continue
            paragraph = re.split(r"\n[ \t]*\n", self._texts[above].rstrip())[-1]
            lines = [line for line in paragraph.split("\n") if line.strip()]
            labelled = [line for line in lines if _FIELD_LINE.match(line) and HOLE not in line]
            is_form = len(labelled) > 1 and labelled[-1] in lines[-2:]
            field = _FIELD_LINE.match(self._texts[block].lstrip())
            if (
                is_form
                and field
                and field.group().isupper() == labelled[-1].partition(":")[0].isupper()
            ):
                yield Refusal(
                    f"{quoted(self._texts[block])} would follow {quoted(lines[-1])}, and read like "
                    "one more line of it",
                    "put the value in a tag",
                )
                return
