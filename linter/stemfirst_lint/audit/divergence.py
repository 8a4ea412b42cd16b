"""Where two prompts part, and how much of what follows had been sent before all the same.

Knows how to compare two laid-out requests. Does not know why they differ.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher

from stemfirst_lint.audit.records import Path, SegmentPlace
from stemfirst_lint.audit.stream import SETTING, Stream
from stemfirst_lint.audit.templates import lines_of_text

_LEAST_LINE = 12
"""Characters from which an equal line is no coincidence."""

_BEFORE, _BEHIND = 28, 37
_MOST_LINES, _MOST_LABELS, _LEAST_LABEL = 300, 4, 3


@dataclass(frozen=True, slots=True)
class Window:
    """Both texts around the place where they part, made safe to print, and the caret's column."""

    was: str
    now: str
    caret: int


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first difference between a request and an earlier one.

    Attributes:
        earlier, later: both.
        block: index of the later request's block that differs; it may lie behind its last.
        offset: characters of that block that still agree.
        shared_tokens: tokens of the later one before the difference.
        resent_tokens: tokens of the later one behind the difference that the earlier one sent
            too: what a better order would have let the cache keep, at most.
    """

    earlier: Stream
    later: Stream
    block: int
    offset: int
    shared_tokens: float
    resent_tokens: float = 0.0

    @property
    def is_extension(self) -> bool:
        """Whether the later request only goes on where the earlier one ends."""
        blocks = self.earlier.blocks
        if self.block >= len(blocks):
            return True
        return self.block == len(blocks) - 1 and self.offset == len(blocks[self.block].text)

    @property
    def is_whole(self) -> bool:
        """Whether the later request is a prefix of the earlier one, or equal to it."""
        return self.block >= len(self.later.blocks)

    @property
    def texts(self) -> tuple[str, str]:
        """The differing blocks' texts, earlier first; empty for a block that is not there."""
        first = (
            self.earlier.blocks[self.block].text if self.block < len(self.earlier.blocks) else ""
        )
        second = self.later.blocks[self.block].text if self.block < len(self.later.blocks) else ""
        return first, second

    @property
    def at(self) -> Path:
        """Where the differing block stands in the later request's body."""
        return self.later.blocks[min(self.block, len(self.later.blocks) - 1)].at

    @property
    def byte(self) -> int:
        """Bytes of the differing string's UTF-8 before the difference."""
        return len(self.texts[1][: self.offset].encode("utf-8", "surrogatepass"))

    @property
    def segment(self) -> SegmentPlace | None:
        """The SDK's segment that the difference lies in, where the recording names segments."""
        position = 0
        found = None
        for segment in self.later.request.segments:
            if segment.at == self.at:
                found = segment
                position += segment.size_bytes
                if self.byte < position:
                    return segment
        return found

    def window(self) -> Window:
        """Return both texts around the difference."""
        was, now = self.texts
        start = max(0, self.offset - _BEFORE)
        before = ("…" if start else "") + now[start : self.offset]
        return Window(
            printable(before + _cut(was, self.offset)),
            printable(before + _cut(now, self.offset)),
            len(printable(before)),
        )


def diverge(earlier: Stream, later: Stream) -> Divergence:
    """Return the first difference; `resent_tokens` is not counted yet."""
    index = 0
    for index, (first, second) in enumerate(zip(earlier.blocks, later.blocks, strict=False)):
        if earlier.digests[index] != later.digests[index]:
            offset = 0
            if first.role == second.role and second.role != SETTING:
                offset = common_length(first.text, second.text)
            before = later.tokens_before(index, offset)
            return Divergence(earlier, later, index, offset, before)
    index = min(len(earlier.blocks), len(later.blocks))
    return Divergence(earlier, later, index, 0, later.start(index))


def with_resent(
    found: Divergence, is_stable: Callable[[str], bool], *, same_conversation: bool
) -> Divergence:
    """Return the divergence with `resent_tokens` counted.

    Tools and system text count by whole blocks and by lines, where the template's requests
    mostly send that line. Messages count by whole blocks and only within a conversation:
    elsewhere two prompts that hold the same document are no fault of order.
    """
    earlier, later = found.earlier, found.later
    if found.is_extension or found.is_whole:
        return found
    left = Counter(earlier.digests[found.block :])
    first_user = next((i for i, b in enumerate(later.blocks) if b.role == "user"), -1)
    lines: set[str] | None = None
    resent = 0.0
    for index in range(found.block, len(later.blocks)):
        block = later.blocks[index]
        digest = later.digests[index]
        is_fixed = block.is_head or index == first_user
        if index > found.block and left[digest] and (is_fixed or same_conversation):
            left[digest] -= 1
            resent += later.tokens(index)
            continue
        if not is_fixed or not block.text:
            continue
        if lines is None:
            lines = _lines_behind(found)
        rest = block.text[found.offset :] if index == found.block else block.text
        again = sum(
            len(line)
            for line in lines_of_text(rest)
            if len(line) >= _LEAST_LINE and line in lines and is_stable(line)
        )
        resent += later.tokens(index) * again / len(block.text)
    return Divergence(earlier, later, found.block, found.offset, found.shared_tokens, resent)


def further_differences(found: Divergence) -> tuple[str, ...]:
    """Return the fixed words before each later difference in the same block, a few at most.

    Mending the first difference alone moves the prompts' parting to the next of these.
    """
    was, now = (text[found.offset :].split("\n")[:_MOST_LINES] for text in found.texts)
    labels = []
    pairs = SequenceMatcher(None, was[1:], now[1:], autojunk=False)
    for kind, i, _, j, end in pairs.get_opcodes():
        if kind == "equal":
            continue
        second = now[1 + j] if j < end else ""
        first = was[1 + i] if 1 + i < len(was) else ""
        label = first[: common_length(first, second)] if second else ""
        label = re.sub(r"[^\s:=]*$", "", label).strip()
        if len(label) < _LEAST_LABEL:  # nothing in common: the line above names it
            label = next((line for line in reversed(now[1 : 1 + j]) if line.strip()), "").strip()
        if len(label) >= _LEAST_LABEL and label not in labels:
            labels.append(label)
    return tuple(label[:48] for label in labels[:_MOST_LABELS])


def in_same_conversation(earlier: Stream, later: Stream) -> bool:
    """Whether the later request goes on with the conversation of the earlier one."""
    first, second = earlier.request, later.request
    if first.session is not None and first.session == second.session:
        return True  # different names prove nothing: some loggers name every request
    known = {
        digest
        for digest, block in zip(earlier.digests, earlier.blocks, strict=True)
        if block.message is not None and block.role != "system" and len(block.text) >= _LEAST_LINE
    }
    again = [
        block.role
        for digest, block in zip(later.digests, later.blocks, strict=True)
        if digest in known and block.message is not None
    ]
    return len(again) >= 2 or "user" in again


def common_length(first: str, second: str) -> int:
    """Return how many characters two texts have in common at their start."""
    least = min(len(first), len(second))
    if first[:least] == second[:least]:
        return least
    low, high = 0, least  # first[:low] agrees, first[:high] does not
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


_SHOWN = {"\n": "⏎", "\t": "⇥", "\r": "␍"}
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)


def printable(text: str) -> str:
    """Return text on one line with every control character visible, one column each."""
    return _UNSAFE.sub(lambda found: _SHOWN.get(found[0], "�"), text)


def _cut(text: str, offset: int) -> str:
    if offset >= len(text):
        return "␃"  # the text ends here
    end = offset + _BEHIND
    return text[offset:end] + ("…" if end < len(text) else "")


def _lines_behind(found: Divergence) -> set[str]:
    lines: set[str] = set()
    for index in range(found.block, len(found.earlier.blocks)):
        text = found.earlier.blocks[index].text
        if index == found.block:
            text = text[found.offset :]
        lines.update(lines_of_text(text))
    return lines
