"""What a careful maintainer would look at before taking a whole new order.

Knows a plan's blocks and their old and new order. `safety` judges one pair of blocks; this module
judges the text that would come out: how it opens, how it closes, what was left behind, what was
torn. Whatever is not clearly safe is a doubt, and a doubt makes a plan `risky`.

Source: the verdicts of two readers on sixty changes to published packages (docs/real-code.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stemfirst_lint.fix import words
from stemfirst_lint.fix.blocks import Block, Shape
from stemfirst_lint.fix.flat import Flat
from stemfirst_lint.fix.new_order import NewOrder
from stemfirst_lint.fix.safety import Refusal, Safety, quoted
from stemfirst_lint.fix.words import HOLE

_SHORT_CHARACTERS = 200
"""A closing order or question is not longer."""
_REMARK_CHARACTERS = 40
"""A remark on a value ("Use only the context above.") is not longer, and stays behind it."""
_INTRODUCTION_WORDS = 5
"""A longer introduction of a value says what the task is, too."""
_LINE_CHARACTERS = 120
"""One labelled line that is not longer does no harm under the heading of another section."""

_TAIL_CHARACTERS = 60
"""What stands behind a value in its block and is not longer belongs to it: a unit, a bracket."""

_NO_OPENING = re.compile(
    r"""\W*(?:please[ ,]+)?(?:
      (?:the|these|those|each|every|all|any|it|its|they|this|that|there|if|when|while|once|otherwise
        |instead|note|also|then|after|before|finally|additionally|only|return|respond|reply|output
        |ensure|format|include|remember|important|try|retry|fix|correct|do\s+not|don['’]t|never|make\s+sure|be\s+sure
        |in\s+your|(?:provide|give|write)\s+your
        |your\s+(?:answer|response|output|judg\w+|result|reply|evaluation|final))\b
    | (?!you\b|we\b|i\b)[A-Za-z]\w*s?\s+(?:should|must|may|can|are|is|will|has|have)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_HAPPENED = re.compile(
    r"\b(?:errors?|fail(?:ed|ure|s)?|invalid|exception|rejected|incorrect|wrong)\b", re.IGNORECASE
)
_TELLS = re.compile(r"\W*(?:I|we)(?:['’](?:m|ve|re|d|ll))?\s+[a-z]", re.IGNORECASE)
"""Somebody speaks of himself, and what follows answers it."""
_CLOSING_HEADING = re.compile(
    r"\W*(?:(?:your|current|final|now|the|model|best|next|expected|desired)\s+){0,2}"
    r"(?:output|answer|reply|response|result|feedback|action|turn|begin|start|verdict|decision"
    r"|conclusion|identifier|summary|translation|rewrite|solution|completion)s?\W*(?::.*)?",
    re.IGNORECASE,
)
_CLOSING_ORDER = re.compile(
    r"\W*(?:now\b|begin\b|start\b|go\b|let['’]?s\b|let\s+us\b|it['’]?s\s+your\s+turn|your\s+turn"
    r"|please\s+(?:now|begin|start|proceed)\b|take\s+a\s+deep\s+breath"
    r"|(?:please\s+)?(?:return|respond|reply|answer|output|give|provide|write|print)\b[^\n.]{0,40}"
    r"\b(?:only|nothing\s+else|just)\b|only\s+(?:return|respond|reply|answer|output|provide|give))",
    re.IGNORECASE,
)
_PRESENTS = re.compile(
    r"\bhere(?:['’]s|\s+(?:is|are))\b|\bnow\s+(?:provided|given|shown|presented)\b"
    r"|\b(?:read|consider|look\s+at|examine)\s+(?:this|these|the)\b",
    re.IGNORECASE,
)
_NOW = re.compile(r"\b(?:are|is|be)\s+now\b|\bnow\s+(?:that|you)\b", re.IGNORECASE)
_HEADING_ALONE = re.compile(
    r"[^\n]{0,80}:|[-=*#~_<\[]{2,}[ \t]*\w[^\n]{0,60}|#+[ \t]*\w[^\n]{0,60}"
    r"|[^\na-z]{3,60}|[^\n.!?]+\n[-=*~_]{3,}"
)
"""A line, alone in its block, that heads what stands below it."""
_NUMBER = re.compile(
    r"[#*\s]*(?:(?:step|part|section|phase|stage|task)\s+)?(?:\d{1,2}|[ivx]{1,4}|[a-h])[.):](?!\d)",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(/?)([A-Za-z][\w.-]*)(?:[ \t][^<>\n]*)?(/?)>")


class Care(NewOrder):
    """Judges one new order; every method yields what speaks against it."""

    def __init__(
        self, flat: Flat, blocks: Sequence[Block], safety: Safety, order: Sequence[int]
    ) -> None:
        super().__init__(flat, blocks, safety, order)
        varying = [block for block in order if self._varies[block]]
        self._is_sorted = varying == sorted(varying)

    def doubts(self) -> Iterator[Refusal]:
        """Yield what is not clearly as good as before."""
        yield from self.language()
        yield from self.left_behind()
        yield from self.torn()
        yield from self.opening()
        yield from self.closing()
        yield from self.introduced()
        yield from self.headings()
        yield from self.numbers()
        yield from self.marks()

    def language(self) -> Iterator[Refusal]:
        """Pointers and cues are known in English alone."""
        if not words.is_english("\n".join(self._texts)):
            yield Refusal(
                "the text does not surely read like English, so what it points at is not seen",
                "read the new order yourself",
            )

    def left_behind(self) -> Iterator[Refusal]:
        """All instructions move, or a format is parted from the rules that speak of it."""
        first = next(place for place, block in enumerate(self._order) if self._varies[block])
        behind = [block for block in self._order[first:] if not self._varies[block]]
        last = len(self._blocks) - 1
        for block in behind:
            text = self._texts[block].strip()
            is_line = self._is_short(block) and "\n" not in text
            is_cue = self._blocks[block].shape is Shape.CUE and text.count("\n") < 2
            if self._order[-1] == last == block and (is_line or is_cue):
                continue  # the closing cue, or a short closing question
            if words.is_cue(self._texts[block]) or words.ends_in_start(self._texts[block]):
                continue
            place = self._place[block]
            if self._order[place - 1] == block - 1 and is_line and len(text) <= _REMARK_CHARACTERS:
                continue  # a remark on the value in front of it
            yield Refusal(
                f"{quoted(self._texts[block])} would stay behind while other instructions move",
                "move what belongs together by hand",
            )
            return

    def _is_short(self, block: int) -> bool:
        return len(self._texts[block]) <= _SHORT_CHARACTERS

    def torn(self) -> Iterator[Refusal]:
        """Sentences of one line stay together, but for one that only names a clock or the like."""
        lines: dict[tuple[int, int], list[int]] = {}
        for index, unit in enumerate(self._blocks):
            if self._varies[index] and not self._safety.is_data(index):
                continue
            lines.setdefault((unit.paragraph, unit.line), []).append(index)
        for line in lines.values():
            places = [self._place[block] for block in line]
            if places != list(range(places[0], places[0] + len(line))) and len(line) > 1:
                skipped = self._order[min(places) : max(places)]
                if places == sorted(places) and all(
                    self._varies[block] and not self._safety.is_data(block)
                    for block in skipped
                    if block not in line
                ):
                    continue
                yield Refusal(
                    f"{quoted(self._texts[line[-1]])} would be torn from its paragraph",
                    "give the value a line of its own",
                )
                return

        for block in range(1, len(self._blocks)):
            lead = self._texts[block].partition(HOLE)[0]
            is_inside = self._blocks[block].paragraph == self._blocks[block - 1].paragraph
            is_prose = not self._varies[block - 1] and len(lead.split()) > _INTRODUCTION_WORDS
            is_moved = any(
                self._place[other] < self._place[block]
                for other in range(block + 1, len(self._blocks))
            )
            if self._varies[block] and is_inside and is_prose and is_moved and "." in lead:
                yield Refusal(
                    f"{quoted(lead)} would be torn from its paragraph",
                    "give the value a short label of its own",
                )
                return

    def opening(self) -> Iterator[Refusal]:
        """A prompt opens with its task, not with a rule about something not yet named."""
        first = self._order[0]
        if first == 0:
            return
        text = self._texts[first]
        head = text.partition("\n")[0]
        label = words.label_of(head)
        is_headed = self._blocks[first].shape is Shape.HEADED
        is_closing = is_headed and _CLOSING_HEADING.fullmatch(head.strip())
        rest = text.partition("\n")[2]
        is_rule = _NO_OPENING.match(text) or _NO_OPENING.match(rest if is_headed else "")
        if is_closing or is_rule or (label and label[0].lower() == "note"):
            yield Refusal(
                f"{quoted(text)} would open the prompt",
                "begin with what the task is",
            )
            return
        lead = self._texts[0].partition(HOLE)[0]
        is_held = self._blocks[0].shape in (Shape.HEADED, Shape.TAGGED)
        if self._varies[0] and _HAPPENED.search(self._texts[0]):
            yield Refusal(
                f"{quoted(lead)} tells what happened, and what follows answers it",
                "send what stays in a message of its own",
            )
            return
        is_data = self._varies[0] and self._safety.is_data(0)
        if is_data and _TELLS.match(lead):
            yield Refusal(
                f"{quoted(lead)} begins what the prompt tells and would not open it any more",
                "say the task first, and give the value a short label",
            )
            return
        if is_data and not is_held and len(lead.split()) > _INTRODUCTION_WORDS:
            yield Refusal(
                f"{quoted(lead)} says what the task is and would not open the prompt any more",
                "say the task first, and give the value a short label",
            )

    def closing(self) -> Iterator[Refusal]:
        """What closes the prompt by asking for the answer does not go to the front."""
        last = len(self._blocks) - 1
        if self._varies[last] or self._order[-1] == last or not self._overtakes(last):
            return
        text = self._texts[last].strip()
        head, _, rest = text.partition("\n")
        is_headed = self._blocks[last].shape is Shape.HEADED
        if is_headed:
            is_closing = not rest.strip() or _CLOSING_HEADING.fullmatch(head.strip()) is not None
        else:
            is_closing = self._is_short(last) and _CLOSING_ORDER.match(text) is not None
        if is_closing or "?" in text[:_SHORT_CHARACTERS]:
            yield Refusal(
                f"{quoted(text)} closes the prompt and would not any more",
                "keep it last, and move the rest by hand",
            )

    def introduced(self) -> Iterator[Refusal]:
        """What a sentence presents stands behind it."""
        labels = frozenset[str]().union(
            *(
                words.nouns(self._texts[block].partition(HOLE)[0])
                for block in range(len(self._blocks))
                if self._varies[block]
            )
        )
        if not self._is_sorted:
            labels = frozenset()
        for block in range(len(self._blocks) - 1):
            if self._below.get(block) == block + 1:
                continue
            text = self._texts[block]
            last = re.split(r"(?<=[.!?])\s+|\n", text.strip())[-1]
            paragraph = re.split(r"\n[ \t]*\n", text.strip())[-1]
            presented = None
            if not self._varies[block]:
                presented = words.pointer_ahead(text, labels)
                match = _PRESENTS.search(paragraph)
                presented = presented or (match.group() if match else None)
            elif HOLE not in last:
                presented = words.pointer_ahead(last, labels)
            if HOLE not in text and _HEADING_ALONE.fullmatch(text.strip()):
                presented = text.strip()
            if presented:
                yield Refusal(
                    f"“{presented}” in {quoted(text)} presents what would not follow it any more",
                    "name what it means instead of where it stands",
                )
                return
        for block, text in enumerate(self._texts):
            match = _NOW.search(text)
            if match and not self._varies[block] and self._overtakes(block):
                yield Refusal(
                    f"“{match.group()}” in {quoted(text)} tells what comes in which order",
                    "name what it means instead of where it stands",
                )
                return
        if not self._is_sorted and any(
            re.search(r"\bfollowing\b|\bbelow\b", text, re.IGNORECASE) for text in self._texts
        ):
            yield Refusal(
                "values would change places, and the text says “following” or “below”",
                "name what it means instead of where it stands",
            )

    def headings(self) -> Iterator[Refusal]:
        """A value without a heading does not land in the section of another one."""
        for place, block in enumerate(self._order):
            is_free = self._blocks[block].shape not in (Shape.HEADED, Shape.TAGGED)
            if not place or not self._varies[block] or not is_free:
                continue
            before = [
                other
                for other in self._order[:place]
                if self._blocks[other].shape is Shape.HEADED and other > block
            ]
            is_line = "\n" not in self._texts[block] and len(self._texts[block]) <= _LINE_CHARACTERS
            if before and not is_line:
                yield Refusal(
                    f"{quoted(self._texts[block])} would stand under the heading "
                    f"{quoted(self._texts[before[-1]].partition(chr(10))[0])}",
                    "give it a heading of its own",
                )
                return
        for block in range(len(self._blocks)):
            if self._varies[block] and self._blocks[block].shape is not Shape.TAGGED:
                yield from self._instructions_in(block)

    def _instructions_in(self, block: int) -> Iterator[Refusal]:
        if not self._is_overtaken(block):
            return
        text = self._texts[block]
        lines = text.split("\n")
        for number, line in enumerate(lines):
            shown = line.strip()
            is_introduction = shown.endswith(":") or (not number and len(lines) > 1)
            if HOLE in line:
                around = sum(len(part.split()) for part in line.split(HOLE))
                is_told = bool(words.label_of(shown)) or not number or words.is_statement(shown)
            else:
                around = len(shown.split())
                is_told = is_introduction
            if around > _INTRODUCTION_WORDS and not is_told:
                yield Refusal(
                    f"{quoted(line)} is an instruction and would move with its section",
                    "put the value on a labelled line at the end",
                )
                return
        tail = text.rpartition(HOLE)[2]
        if len(tail.strip()) > _TAIL_CHARACTERS:
            yield Refusal(
                f"{quoted(tail)} stays the same and would move with the value before it",
                "put the value on a labelled line at the end",
            )

    def numbers(self) -> Iterator[Refusal]:
        """Numbered parts keep their order."""
        numbered = [
            block
            for block in range(len(self._blocks))
            if _NUMBER.match(self._texts[block].lstrip())
        ]
        places = [self._place[block] for block in numbered]
        if places != sorted(places):
            yield Refusal(
                f"{quoted(self._texts[numbered[0]])} is numbered, and the numbers would not follow",
                "number the parts anew by hand",
            )

    def marks(self) -> Iterator[Refusal]:
        """Fences, triple quotes and tags open and close in the same block."""
        for index, text in enumerate(self._texts):
            if self._order[-1] == index == len(self._blocks) - 1:
                continue  # an open fence may end the prompt
            opened: list[str] = []
            for slash, name, is_empty in _TAG.findall(text):
                if slash and opened and opened[-1] == name:
                    opened.pop()
                elif not slash and not is_empty and f"</{name}>" in self._flat.text:
                    opened.append(name)
                elif slash:
                    opened.append(f"/{name}")
            if opened or any(text.count(mark) % 2 for mark in ("```", '"""', "'''", "~~~")):
                yield Refusal(
                    f"{quoted(text)} opens or closes a mark of another block",
                    "move what the marks hold as one",
                )
                return
