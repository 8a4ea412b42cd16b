"""What comes to stand beside what in a new order, and what has the last word.

Knows a plan's blocks and their old and new order, as `care` does. Judges neighbours: fields of one
record, values whose end nobody sees, forms of an answer. Knows nothing of source code.

Source: the verdicts of two more readers on forty-eight changes to published packages.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from stemfirst_lint.fix import words
from stemfirst_lint.fix.blocks import Block, Shape
from stemfirst_lint.fix.safety import Refusal, Safety, quoted
from stemfirst_lint.fix.words import HOLE

_ANSWERS = r"(?:answers?|responses?|outputs?|reply|replies|results?|evaluation|judg\w+|format)"
_FORM_OF_ANSWER = re.compile(
    rf"""(?:^|(?<=[.!?:]\s)|(?<=\n))[\W\d_]*
      (?:(?:please|now|then|finally|always|also|only|just|you\s+(?:must|should))[ ,]+)*
      (?:return|respond|reply|answer|output|continue|proceed|be\s+(?!sure|able)\w+)\b
    | \bformat(?:ted)?\s+(?:exactly\s+)?(?:as|like)\b | \bexactly\s+as\b
    | \byour\s+{_ANSWERS}\s+(?:should|must|has\s+to|needs\s+to)\b
    | (?:^|\n)[\W_]*(?:final\s+)?(?:answer|output|response|result)[*_]*\s*:
    """,
    re.IGNORECASE | re.VERBOSE,
)
_FORM_CHARACTERS = 300
"""A longer paragraph at the end is rules, not the last word."""
_DIALOGUE = re.compile(
    r"histor|chat|conversation|dialog|messages|transcript|turns|\blog\b", re.IGNORECASE
)
_SPEAKER = re.compile(r"[\w'’-]+(?:[ \t][\w'’-]+)?", re.ASCII)
"""A label that can be read as who speaks next."""
_REMINDS = re.compile(
    r"\W*(?:remember|reminder|keep\s+in\s+mind|do\s+not\s+forget)\b", re.IGNORECASE
)
_CALL = re.compile(r"\W*(?:now\W+)?please\b", re.IGNORECASE)
_SPEAKS_OF_FORM = re.compile(
    rf"\b(?:{_ANSWERS}|respond|return)\b|\[[^\]\n]+\]|\([^)\n]+\)|<[^>\n]+>", re.IGNORECASE
)
_SUBORDINATE = re.compile(
    r"\W*(?:given|based\s+on|using|with|from|considering|according\s+to|in\s+(?:the\s+)?light\s+of"
    r"|for|under|within|as)\b[^.!?,;]*",
    re.IGNORECASE,
)
"""A clause that waits for the sentence behind it."""
_LABEL_WORDS = 3
"""More words in front of a value may begin a sentence; fewer name the value."""
_FIELD = re.compile(r"[ \t]*(?P<mark>[#*=_<\[-]*)[ \t]*(?P<label>[A-Za-z][\w /'-]{0,60}):")
_OF_JSON = re.compile(r'[{\["]|[}\]]')


def doubts_of_places(
    blocks: Sequence[Block], safety: Safety, order: Sequence[int]
) -> Iterator[Refusal]:
    """Yield why a person should look at what would stand beside what.

    Args:
        blocks: the template's blocks in their old order.
        safety: what is known about them.
        order: the old indices in the new order; something moves.
    """
    texts = safety.texts
    place = {block: at for at, block in enumerate(order)}
    varies = [safety.tier(block) > 0 for block in range(len(blocks))]
    data = [block for block in order if varies[block] and safety.is_data(block)]
    if data != sorted(data):
        first = next(a for a, b in itertools.pairwise(data) if a > b)
        yield Refusal(
            f"{quoted(texts[first])} would come before a value that it stood behind",
            "keep the values in their order",
        )
    yield from _cut(texts, varies, order)
    yield from _wedged(texts, varies, place)
    yield from _run_together(blocks, texts, varies, order)
    yield from _last_word(blocks, texts, varies, order, has_data=bool(data))


def _cut(texts: Sequence[str], varies: Sequence[bool], order: Sequence[int]) -> Iterator[Refusal]:
    """A sentence that goes on behind a value goes on there in the new order, too."""
    follows = {(above, below) for above, below in itertools.pairwise(order)}
    for block in range(1, len(texts)):
        above, text = texts[block - 1], texts[block].lstrip()
        if not varies[block - 1] or (block - 1, block) in follows:
            continue
        lead, _, tail = above.rpartition(HOLE)
        is_begun = len(lead.split()) > _LABEL_WORDS and not tail.strip()
        is_rest = is_begun and text[:1].islower()
        if is_rest or _SUBORDINATE.fullmatch(above.replace(HOLE, "")):
            yield Refusal(
                f"{quoted(text)} would be cut from {quoted(above)}, where its sentence begins",
                "give the value a label of its own",
            )
            return


def _wedged(
    texts: Sequence[str], varies: Sequence[bool], place: dict[int, int]
) -> Iterator[Refusal]:
    """Values that stood together, one after the other, stay together."""
    order = sorted(place, key=place.__getitem__)
    for first in range(len(texts) - 1):
        second = first + 1
        if not (_is_field(texts[first]) and _is_field(texts[second])):
            continue
        between = order[place[first] + 1 : place[second]]
        wedge = next((block for block in between if not _is_field(texts[block])), None)
        if wedge is not None and not varies[wedge]:
            yield Refusal(
                f"{quoted(texts[wedge])} would part {quoted(texts[first])} from "
                f"{quoted(texts[second])}",
                "keep what belongs to one record together",
            )
            return


def _is_field(text: str) -> bool:
    """True for labelled values alone: the last line holds one, or is one."""
    last = text.rstrip().rpartition("\n")[2]
    label = words.label_of(last)
    if label is not None:
        return HOLE in label[1]
    return last.strip() == HOLE


def _run_together(
    blocks: Sequence[Block], texts: Sequence[str], varies: Sequence[bool], order: Sequence[int]
) -> Iterator[Refusal]:
    """What now follows a dialogue or the form of an answer does not read like more of it."""
    for above, below in itertools.pairwise(order):
        if below == above + 1 or not varies[below]:
            continue
        if varies[above]:
            followed = above + 1 < len(texts) and _has_bare_label(blocks, texts, above + 1)
            if (
                _is_open(blocks[above], texts[above])
                and _has_bare_label(blocks, texts, below)
                and not followed
            ):
                yield Refusal(
                    f"{quoted(texts[below])} would read like more of {quoted(texts[above])}",
                    "put the value in front of it in a tag",
                )
                return
        elif _is_more_of_form(texts[above], texts[below]):
            yield Refusal(
                f"{quoted(texts[below])} would read like more of the form that "
                f"{quoted(texts[above].rstrip().rpartition(chr(10))[2])} ends",
                "put the value in a tag",
            )
            return


def _is_open(block: Block, text: str) -> bool:
    """True for a dialogue below its label that nothing closes: its end cannot be seen."""
    if block.shape in (Shape.TAGGED, Shape.HEADED):
        return False
    lines = text.rstrip().split("\n")
    is_dialogue = _DIALOGUE.search(text) is not None
    return is_dialogue and len(lines) > 1 and lines[-1].strip() == HOLE


def _has_bare_label(blocks: Sequence[Block], texts: Sequence[str], block: int) -> bool:
    shown = texts[block].lstrip()
    is_bare = blocks[block].shape not in (Shape.TAGGED, Shape.HEADED)
    label = words.label_of(shown.partition("\n")[0])
    return is_bare and label is not None and _SPEAKER.fullmatch(label[0]) is not None


def _is_more_of_form(form: str, value: str) -> bool:
    """True if `form` ends like a filled form and `value` begins like its next field."""
    last = form.rstrip().rpartition("\n")[2]
    head = value.lstrip().partition("\n")[0]
    ends, begins = _FIELD.match(last), _FIELD.match(head)
    if begins is None:
        return bool(_OF_JSON.match(head) and _OF_JSON.search(last[-1:]))
    paragraph = re.split(r"\n[ \t]*\n", form.rstrip())[-1]
    return (
        ends is not None
        and _SPEAKS_OF_FORM.search(paragraph) is not None
        and ends["mark"] == begins["mark"]
        and ends["label"].isupper() == begins["label"].isupper()
    )


def _last_word(
    blocks: Sequence[Block],
    texts: Sequence[str],
    varies: Sequence[bool],
    order: Sequence[int],
    *,
    has_data: bool,
) -> Iterator[Refusal]:
    """The form of the answer, asked for at the end, stays the end; the task alone may lead."""
    last = len(texts) - 1
    is_moved = order[-1] != last and any(varies[block] for block in order[order.index(last) :])
    if varies[last] or not is_moved or all(varies[:last]):
        return
    first = last
    while first and not varies[first - 1] and blocks[first - 1].paragraph == blocks[last].paragraph:
        first -= 1  # sentences of one paragraph
    end = "\n".join(texts[first:])
    paragraph = re.split(r"\n[ \t]*\n", end.strip())[-1]
    paragraph = re.sub(r"\A(?:[ \t]*#[^\n]*\n)+", "", paragraph)
    line = paragraph.rpartition("\n")[2]
    if len(paragraph) > _FORM_CHARACTERS:
        paragraph = paragraph.partition(":\n")[0]  # what comes before a form, or a list
    if len(paragraph) > _FORM_CHARACTERS and has_data:
        paragraph = line
    if len(paragraph) > _FORM_CHARACTERS:
        return
    is_call = _CALL.match(paragraph) or _REMINDS.match(paragraph)
    if _FORM_OF_ANSWER.search(paragraph) or is_call:
        yield Refusal(
            f"{quoted(paragraph)} asks for the answer at the end and would not any more",
            "keep it last, and move the rest by hand",
        )
