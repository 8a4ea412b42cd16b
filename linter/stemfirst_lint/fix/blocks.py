r"""A template as blocks: the smallest pieces of text that make sense alone, and may move alone.

Knows paragraphs, headed and tagged sections, fences, lists, labelled lines and sentences. Knows
tiers only as a question ("does this hole vary?"), because text that holds no varying hole need
not be cut. Does not decide where anything goes.

    flat text   "You help.\n\nTime: \ufffc\n\nRules:\n- one\n- two\n\nAnswer:"
    blocks       ^^^^^^^^^     ^^^^^^^      ^^^^^^^^^^^^^^^^^^^      ^^^^^^^
    gaps                  ^^^^        ^^^^                     ^^^^      (layout: they stay)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from stemfirst_lint.fix import words
from stemfirst_lint.fix.flat import Flat
from stemfirst_lint.fix.words import HOLE

Varies = Callable[[int], bool]
"""Says whether the hole with this index varies between requests."""


class Shape(Enum):
    """What a block looks like; it decides whether the block may move unseen."""

    PROSE = "prose"
    SENTENCE = "sentence"
    LABELLED = "labelled line"
    HEADED = "headed section"
    TAGGED = "tagged section"
    LIST = "list"
    BARE = "bare hole"
    BARRIER = "separator"
    CUE = "closing cue"


@dataclass(frozen=True, slots=True)
class Block:
    """`text[start:end]` of the flat text, without the white space around it.

    `paragraph` and `line` number what the block stood in: blocks of one line are joined by a
    blank, of one paragraph by a newline, of two paragraphs by what this template puts there.
    """

    start: int
    end: int
    shape: Shape
    paragraph: int
    line: int


_TAG = re.compile(r"<([A-Za-z][\w.-]*)(?:[ \t][^<>\n]*)?>")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:-{3,}|={3,}|\*{3,}|_{3,}|#{4,}|~{4,})[ \t]*$", re.MULTILINE)
_BLANK = re.compile(r"\n[ \t\r]*(?:\n[ \t\r]*)+")
_HEADING = re.compile(
    r"(#{1,6})[ \t]+\S[^\n]*|([A-Z][A-Z0-9 /&'-]{3,}:?|\*\*[^*\n]+\*\*:?|\[[A-Z][\w ]*\])"
)
_BULLET = re.compile(
    r"[ \t]*(?:[-*•+]|\(?\d{1,3}[.)]|[a-z][.)]|step[ \t]+\d+\b)[ \t]*\S?", re.IGNORECASE
)
_SENTENCE_END = re.compile(
    r"""[.!?][”"')\]]*(?:[ \t]+|[ \t]*\n[ \t]*)(?=[A-Z"'“(\[*`\ufffc\ue000\ue004])"""
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|mr|mrs|ms|dr|no|st|cf|approx|fig|al|[A-Z]))\.$", re.IGNORECASE
)
_LINE_ENDS = re.compile(r"""[.!?:;\ufffc][”"'`)\]*_}>]*[ \t]*$""")
_TAGGED = re.compile(r"\s*<([A-Za-z][\w.-]*)(?:[ \t][^<>\n]*)?>.*</\1>\s*", re.DOTALL)


def blocks_of(flat: Flat, varies: Varies) -> tuple[Block, ...]:
    """Return the template's blocks in order; together they hold all text but white space."""
    whole = _unbreakable(flat.text)
    cue = _cue_start(flat.text, whole)
    blocks: list[Block] = []
    paragraphs = _sections(flat.text, _paragraphs(flat.text[:cue], whole), whole)
    for number, (start, end, is_headed) in enumerate(paragraphs):
        blocks.extend(_units(flat, start, end, is_headed, number, whole, varies))
    start, end = _stripped(flat.text, cue, len(flat.text))
    if start < end:
        last = blocks[-1]
        is_own = "\n\n" in flat.text[last.end : start].replace(" ", "")
        blocks.append(Block(start, end, Shape.CUE, last.paragraph + is_own, last.line + 1))
    return tuple(blocks)


def _cue_start(text: str, whole: bytearray) -> int:
    """Return where the prompt's closing cue starts, or the text's length if it has none.

    The end of a fence that opened further up is none.
    """
    start = end = len(text)
    while end > 0:
        line_start = text.rfind("\n", 0, end - 1) + 1 if end > 1 else 0
        line = text[line_start:end].strip()
        if line and words.bare(line) != line:
            break  # what is open may not be cut; `ends_in_cue` sees it later
        if line and not words.is_cue(line) and not _RULE.fullmatch(line):
            break
        if line and whole[line_start]:
            break
        if line:
            start = line_start
        end = line_start
    else:
        return len(text)  # nothing but cues: nothing to close
    head = text[:start].rstrip()
    # "Rules:" and the line behind it belong together, whatever that line looks like
    return (
        len(text) if head.endswith(":") and not text[len(head) : start].count("\n") > 1 else start
    )


def _unbreakable(text: str) -> bytearray:
    """Return one byte for each character: 1 if the text may not be cut in front of it."""
    whole = bytearray(len(text) + 1)

    def cover(start: int, end: int) -> None:
        whole[start + 1 : end] = b"\x01" * max(0, end - start - 1)

    for match in _TAG.finditer(text):
        close = text.find(f"</{match[1]}>", match.end())
        if close >= 0:
            cover(match.start(), close + len(match[1]) + 3)
    fences = list(_FENCE.finditer(text))
    for opening, closing in zip(fences[::2], fences[1::2], strict=False):
        cover(opening.start(1), closing.end())
    rules = list(_RULE.finditer(text))
    for opening, closing in itertools.pairwise(rules):
        if text[opening.end() : closing.start()].strip(f" \t\r\n{HOLE}") == "":
            cover(opening.start(), closing.end())
    opened: list[int] = []
    for match in re.finditer(f"[{words.OPEN}{words.CLOSE}]|{words.NOTE}\\s*", text):
        if match.group() == words.OPEN:
            opened.append(match.start())
        elif match.group() != words.CLOSE:
            cover(match.start(), match.end() + 1)
        elif opened:
            cover(opened.pop(), match.end())
    stack: list[int] = []
    for match in re.finditer(r"[{}\[\]()]", text):
        if match.group() in "{[(":
            stack.append(match.start())
        elif stack and text[stack[-1]] + match.group() in ("{}", "[]", "()"):
            cover(stack.pop(), match.end())
    return whole


def _paragraphs(text: str, whole: bytearray) -> list[tuple[int, int]]:
    """Cut at blank lines; keep lists, and introductions that end in a colon, with what follows."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _BLANK.finditer(text):
        if whole[match.end()] or whole[match.start()]:
            continue
        spans.append((start, match.start()))
        start = match.end()
    spans.append((start, len(text)))
    joined: list[tuple[int, int]] = []
    for start, end in (_stripped(text, *span) for span in spans):
        if start == end:
            continue
        if joined:
            previous = text[joined[-1][0] : joined[-1][1]]
            is_list = _BULLET.match(text, start) and _last_line_is_list(previous)
            if previous.endswith(":") or is_list:
                joined[-1] = (joined[-1][0], end)
                continue
        joined.append((start, end))
    return joined


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in " \t\r\n":
        start += 1
    while end > start and text[end - 1] in " \t\r\n":
        end -= 1
    return start, end


def _last_line_is_list(paragraph: str) -> bool:
    return any(_BULLET.match(line) for line in paragraph.split("\n")[-3:])


def is_listed(line: str) -> bool:
    """Return True if a line is one of a list."""
    return _BULLET.match(line) is not None


def _heading_level(line: str) -> int | None:
    match = _HEADING.fullmatch(line.strip())
    if match is None:
        return None
    return len(match[1]) if match[1] else 7


def _sections(
    text: str, paragraphs: list[tuple[int, int]], whole: bytearray
) -> list[tuple[int, int, bool]]:
    """Join the paragraphs under a heading; headings below the document's own level stay inside.

    The level is the outermost one that occurs twice; a single heading further out is a title.
    """
    levels: list[int | None] = []
    pieces: list[tuple[int, int]] = []
    for start, end in paragraphs:
        at = start
        while True:  # a heading may stand in the middle of a paragraph, without a blank line
            line_end = text.find("\n", at, end)
            following = end if line_end < 0 else line_end + 1
            inner = following
            while inner < end:
                stop = text.find("\n", inner, end)
                stop = end if stop < 0 else stop
                if not whole[inner] and (_heading_level(text[inner:stop]) or 9) <= 6:
                    break
                inner = stop + 1
            line = text[at : end if line_end < 0 else line_end]
            levels.append(_heading_level(line))
            pieces.append(_stripped(text, at, min(inner, end)))
            if inner >= end:
                break
            at = inner
    found = [level for level in levels if level is not None]
    repeated = [level for level in set(found) if found.count(level) > 1]
    cut = min(repeated) if repeated else max(found, default=0)
    sections: list[tuple[int, int, bool]] = []
    for (start, end), level in zip(pieces, levels, strict=True):
        is_cut = level is not None and level <= cut
        if is_cut or not sections or not sections[-1][2]:
            sections.append((start, end, is_cut))
        else:
            sections[-1] = (sections[-1][0], end, True)
    return sections


def _units(
    flat: Flat,
    start: int,
    end: int,
    is_headed: bool,
    paragraph: int,
    whole: bytearray,
    varies: Varies,
) -> Iterator[Block]:
    text = flat.text
    body = words.bare(text[start:end])
    has_varying = any(varies(hole) for hole in flat.holes_in(start, end))
    if is_headed:
        yield Block(start, end, Shape.HEADED, paragraph, 0)
    elif _TAGGED.fullmatch(body) and all(whole[start + 1 : end]):
        yield Block(start, end, Shape.TAGGED, paragraph, 0)
    elif not has_varying or words.is_example(body):
        shape = Shape.BARRIER if _is_barrier(body) else Shape.PROSE
        yield Block(start, end, shape, paragraph, 0)
    else:
        for line, (unit_start, unit_end) in enumerate(_lines(text, start, end, whole)):
            yield from _sentences(flat, unit_start, unit_end, paragraph, line, whole, varies)


def _is_barrier(body: str) -> bool:
    return bool(_RULE.fullmatch(body.strip())) or words.has_role_marker(body)


def _lines(text: str, start: int, end: int, whole: bytearray) -> list[tuple[int, int]]:
    """Cut a paragraph into units of lines: labelled lines, lists, whole wrapped sentences."""
    lines: list[tuple[int, int]] = []
    at = start
    while at < end:
        newline = text.find("\n", at, end)
        while newline >= 0 and whole[newline]:
            newline = text.find("\n", newline + 1, end)
        stop = end if newline < 0 else newline
        lines.append((at, stop))
        at = stop + 1
    units: list[tuple[int, int]] = []
    for line_start, line_end in lines:
        unit, line = text[units[-1][0] : units[-1][1]] if units else "", text[line_start:line_end]
        if units and _belongs_to(words.bare(unit), words.bare(line)):
            units[-1] = (units[-1][0], line_end)
        else:
            units.append((line_start, line_end))
    return [_stripped(text, *unit) for unit in units]


def _belongs_to(unit: str, line: str) -> bool:
    """True if `line` continues `unit`."""
    if not line.strip():
        return True
    last = unit.rstrip().rsplit("\n", 1)[-1]
    if last.endswith(":"):
        return True
    first = line.strip()
    if _BULLET.match(last) and not words.label_of(last):
        return True  # the rest of a list
    if _BULLET.match(line):
        return True  # the rest of a list, or what the line above introduces
    if line[:1] in " \t" and unit[:1] not in " \t" and "\n" in unit:
        return True  # indented under its head
    is_labelled = words.label_of(first) is not None
    if is_labelled or first[0] == "<":
        return False
    starts = first[0].isupper() or first[0] in f'{HOLE}"“*[(`' or first[0].isdigit()
    ends = _LINE_ENDS.search(last) is not None
    if words.label_of(last) is not None and HOLE in last:
        return not starts
    return not (starts and ends)


def _sentences(
    flat: Flat, start: int, end: int, paragraph: int, line: int, whole: bytearray, varies: Varies
) -> Iterator[Block]:
    text = flat.text
    body = text[start:end]
    shape = _shape(body)
    if shape is not Shape.PROSE or not any(varies(hole) for hole in flat.holes_in(start, end)):
        yield Block(start, end, shape, paragraph, line)
        return
    at = start
    spans: list[tuple[int, int]] = []
    for match in _SENTENCE_END.finditer(text, start, end):
        if whole[match.end()] or _ABBREVIATION.search(text, at, match.start() + 1):
            continue
        spans.append(_stripped(text, at, match.end()))
        at = match.end()
    spans.append(_stripped(text, at, end))
    run: tuple[int, int] | None = None  # sentences without a varying hole stay together
    for span in spans:
        if any(varies(hole) for hole in flat.holes_in(*span)):
            if run:
                yield Block(*run, Shape.PROSE, paragraph, line)
                run = None
            sentence = words.bare(text[span[0] : span[1]])
            is_statement = words.is_statement(sentence)
            yield Block(
                *span, Shape.SENTENCE if is_statement else _shape(sentence), paragraph, line
            )
        else:
            run = (run[0], span[1]) if run else span
    if run:
        yield Block(*run, Shape.PROSE, paragraph, line)


def _shape(body: str) -> Shape:
    """Return what a unit of lines looks like."""
    body = words.bare(body)
    if _is_barrier(body):
        return Shape.BARRIER
    if body.strip(f" \t\r\n{HOLE}`\"'") == "":
        return Shape.BARE
    if _TAGGED.fullmatch(body):
        return Shape.TAGGED
    head, _, rest = body.partition("\n")
    label = words.label_of(head)
    if label is not None:
        value = (label[1] + "\n" + rest).strip()
        if _is_value(value):
            return Shape.LABELLED
    elif head.rstrip().endswith(":") and rest and _is_value(rest.strip()):
        return Shape.LABELLED  # an introduction of any length with its value below
    if words.is_statement(body):
        return Shape.SENTENCE
    if _BULLET.match(body) and "\n" in body:
        return Shape.LIST
    return Shape.PROSE


def _is_value(value: str) -> bool:
    """True if `value` is holes with little around them, not prose with a hole in it."""
    if HOLE not in value:
        return False
    before, *behind = value.split(HOLE)
    return len(before.split()) <= 2 and all(
        len(part.strip()) <= 24 and not re.search(r"[.!?]\s", part) for part in (before, *behind)
    )
