"""Text to token ids, with the place of each token in the text, at the price of what is new.

Text between control tokens is tokenised independently of what stands around it, so whole runs
are remembered and a warm request pays for its tail only. Whether that holds for the tokenizer at
hand is tried out when the encoder is built; where it does not, every text is tokenised whole.
Knows no messages and no chat template.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Int32Array = npt.NDArray[np.int32]

SHORTEST_REMEMBERED = 64
"""Characters below which looking a run up costs what tokenising it costs."""

_PROBES = (
    "plain text",
    " leading and trailing spaces ",
    "\n\nlines\n\n",
    "digits 1234567, punctuation ... (a)[b]{c}",
    "Ünïcödé, 漢字, 😀 and\ttabs",
)


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Token ids and where each token starts in the text that was encoded.

    Attributes:
        token_ids: read-only int32.
        starts: read-only int32, one a token: character index of its first character; a token
            that is part of a character has that character's index.
    """

    token_ids: Int32Array
    starts: Int32Array


class Encoder:
    """Tokenises text; safe to call from several threads.

    Invariant: `remembered_characters` is the sum of the remembered texts' lengths and at most
    `most_characters`.
    """

    def __init__(self, tokenizer: Tokenizer, *, most_characters: int = 64_000_000) -> None:
        self._tokenizer = tokenizer
        self._runs: OrderedDict[tuple[str, str], Encoded] = OrderedDict()
        self._most_characters = most_characters
        self._lock = Lock()
        self.remembered_characters = 0
        self.hits = 0
        self.misses = 0
        self._splitter = self._make_splitter()

    def encode(
        self, text: str, *, namespace: str = "", add_special_tokens: bool = False
    ) -> Encoded:
        """Return the tokens of `text`.

        Args:
            text: anything; a lone surrogate, which no tokenizer takes, is read as U+FFFD.
            namespace: runs are remembered for one namespace, so that the time this takes tells
                nobody what others have sent.
            add_special_tokens: put the tokenizer's own first and last tokens around it.
        """
        text = printable(text)
        if self._splitter is None or add_special_tokens:
            return self._encode_whole(text, add_special_tokens=add_special_tokens)
        pieces: list[Encoded] = []
        offsets: list[int] = []
        place = 0
        for run in self._splitter.split(text):
            if run:
                pieces.append(self._encode_run(run, namespace))
                offsets.append(place)
                place += len(run)
        return _join(pieces, offsets)

    def check(self) -> None:
        """The memory's size is what its texts say, and within its bound."""
        with self._lock:
            total = sum(len(text) for _, text in self._runs)
            assert total == self.remembered_characters <= self._most_characters

    def _encode_run(self, run: str, namespace: str) -> Encoded:
        if len(run) < SHORTEST_REMEMBERED:
            return self._encode_whole(run)
        key = (namespace, run)
        with self._lock:
            known = self._runs.get(key)
            if known is not None:
                self._runs.move_to_end(key)
                self.hits += 1
                return known
            self.misses += 1
        made = self._encode_whole(run)
        if len(run) > self._most_characters:
            return made
        with self._lock:
            if key not in self._runs:
                self._runs[key] = made
                self.remembered_characters += len(run)
            while self.remembered_characters > self._most_characters:
                (_, oldest), _ = self._runs.popitem(last=False)
                self.remembered_characters -= len(oldest)
        return made

    def _encode_whole(self, text: str, *, add_special_tokens: bool = False) -> Encoded:
        encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        token_ids = np.asarray(encoding.ids, dtype=np.int32)
        spans = np.asarray(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        starts = spans[:, 0].copy()
        # Some tokenizers trim a leading space off a token's span; it belongs to that token.
        ends_before = np.concatenate(([0], spans[:-1, 1])).astype(np.int32)
        np.minimum(starts, np.maximum.accumulate(ends_before), out=starts)
        token_ids.flags.writeable = False
        starts.flags.writeable = False
        return Encoded(token_ids, starts)

    def _make_splitter(self) -> re.Pattern[str] | None:
        """Return the pattern of control tokens, or None where runs are not independent."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        # A token that swallows spaces beside it, or is matched in normalised text, is no safe cut.
        cuts = [
            token.content
            for token in added
            if token.special and not (token.lstrip or token.rstrip or token.single_word)
        ]
        if not cuts:
            return None
        cuts.sort(key=len, reverse=True)
        splitter = re.compile(f"({'|'.join(map(re.escape, cuts))})")
        for cut in cuts[:8]:
            for probe in _PROBES:
                whole = self._encode_whole(f"{cut}{probe}{cut}{probe}").token_ids
                parts = [self._encode_whole(part).token_ids for part in (cut, probe)]
                if not np.array_equal(whole, np.concatenate(parts + parts)):
                    return None
        return splitter


def printable(text: str) -> str:
    """Return `text` with lone surrogates, which UTF-8 cannot carry, as U+FFFD; same length."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", "�", text)
    return text


def _join(pieces: list[Encoded], offsets: list[int]) -> Encoded:
    if not pieces:
        empty = np.empty(0, dtype=np.int32)
        empty.flags.writeable = False
        return Encoded(empty, empty)
    token_ids = np.concatenate([piece.token_ids for piece in pieces])
    starts = np.concatenate(
        [piece.starts + np.int32(offset) for piece, offset in zip(pieces, offsets, strict=True)]
    )
    token_ids.flags.writeable = False
    starts.flags.writeable = False
    return Encoded(token_ids, starts)
