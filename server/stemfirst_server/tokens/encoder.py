"""Text to token ids, with the place of each token in the text, at the price of what is new.

Text between control tokens is tokenised independently of what stands around it, so whole runs
are remembered and a warm request pays for its tail only. Whether that holds for the tokenizer at
hand is tried out when the encoder is built; where it does not, whole texts are remembered.
Knows no messages and no chat template.
"""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stemfirst_server.tokens.cuts import find_cuts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tokenizers import Tokenizer

Int32Array = npt.NDArray[np.int32]

MOST_BYTES = 256 * 2**20
"""Memory for remembered runs: about 40 million characters of English with their tokens."""

_ENTRY_BYTES = 600
"""What a remembered run takes beside its text and its numbers: two arrays, a key, a link."""

_PROBES = (
    "plain text",
    " leading and trailing spaces ",
    "\n\nlines\n\n",
    "digits 1234567, punctuation ... (a)[b]{c}",
    "Ünïcödé, 漢字, 😀 and\ttabs",
    "\u0338 a mark that joins what stands before it",
)


_LONG_CHARACTERS = 20_000
"""Of a text whose tokenising others would notice; it takes some milliseconds."""


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

    @property
    def is_one_token(self) -> bool:
        """Whether this is a single token."""
        return len(self.token_ids) == 1

    @property
    def nbytes(self) -> int:
        """Memory of the numbers."""
        return self.token_ids.nbytes + self.starts.nbytes


class Encoder:
    """Tokenises text; safe to call from several threads.

    Takes the tokenizer over: a limit or a padding that its file asks for is switched off, because
    a prompt is neither cut nor filled up unseen.

    Invariant: `remembered_bytes` is what the remembered runs take, and at most `most_bytes`.
    """

    def __init__(self, tokenizer: Tokenizer, *, most_bytes: int = MOST_BYTES) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._runs: OrderedDict[tuple[str, str, str], Encoded] = OrderedDict()
        self._most_bytes = most_bytes
        self._lock = Lock()
        self._one_long = Lock()
        self.remembered_bytes = 0
        self.hits = 0
        self.misses = 0
        self._cuts = find_cuts(tokenizer)
        self._cut_tokens: dict[str, Encoded] = {}
        if self._cuts is not None:
            self._cut_tokens = {cut: self._encode_now(cut) for cut in sorted(self._cuts.contents)}
            if not self._has_independent_runs():
                self._cuts = None

    @property
    def is_split(self) -> bool:
        """Whether runs between control tokens are remembered, and not only whole texts."""
        return self._cuts is not None

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
        if add_special_tokens:
            return self._remembered(text, namespace, "special")
        if self._cuts is None:
            return self._remembered(text, namespace, "start")
        pieces: list[Encoded] = []
        offsets: list[int] = []
        place = 0
        for part, is_cut in self._cuts.split(text):
            if is_cut:
                pieces.append(self._cut_tokens[part])
            else:
                pieces.append(self._remembered(part, namespace, "inside" if place else "start"))
            offsets.append(place)
            place += len(part)
        return _join(pieces, offsets)

    def remember_written(
        self,
        prompt: Int32Array,
        output: Sequence[int],
        bytes_of: Callable[[int], bytes],
        namespace: str,
    ) -> None:
        """Remember the tokens that a model chose for its text, in place of our own choice.

        The same text can be spelled by many sequences of tokens, and the cache holds the one that
        was generated. When the text comes back as part of a conversation, between the same
        control tokens, it becomes those tokens again.

        Args:
            prompt: what was continued.
            output: the tokens generated, without the one that ended them.
            bytes_of: a token's bytes; tokens must be joined by joining these.
            namespace: in which the text may come back.
        """
        cuts = {int(made.token_ids[0]) for made in self._cut_tokens.values() if made.is_one_token}
        if self._cuts is None or not cuts or not output:
            return
        begin = len(prompt)
        while begin > 0 and int(prompt[begin - 1]) not in cuts:
            begin -= 1
        if begin == 0:
            return  # the text's first run is tokenised in another way than those inside it
        run: list[int] = []
        for token_id in [*prompt[begin:].tolist(), *output, None]:
            if token_id is not None and token_id not in cuts:
                run.append(token_id)
                continue
            self._remember_run(run, bytes_of, namespace)
            run = []

    def check(self) -> None:
        """The memory's size is what its runs take, and within its bound."""
        with self._lock:
            total = sum(_bytes_of(key[2], made) for key, made in self._runs.items())
            assert total == self.remembered_bytes <= self._most_bytes

    def _remembered(self, run: str, namespace: str, where: str) -> Encoded:
        # The text itself is the key: a hash alone would serve one prompt's tokens for another's.
        key = (namespace, where, run)
        with self._lock:
            known = self._runs.get(key)
            if known is not None:
                self._runs.move_to_end(key)
                self.hits += 1
                return known
            self.misses += 1
        if where == "inside":
            made = self._encode_inside(run)
        else:
            made = self._encode_now(run, add_special_tokens=where == "special")
        self._keep(key, made, replaces=False)
        return made

    def _remember_run(
        self, run: list[int], bytes_of: Callable[[int], bytes], namespace: str
    ) -> None:
        pieces = [bytes_of(token_id) for token_id in run]
        try:
            text = b"".join(pieces).decode()
        except UnicodeDecodeError:
            return  # cut within a character: no client can send that back
        if not text or any(part != text for part, _ in self._split(text)):
            return
        lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
        data = np.frombuffer(b"".join(pieces), dtype=np.uint8)
        # Characters that began before each byte; a token within one has that one's index.
        begun = np.concatenate(([0], np.cumsum((data & 0xC0) != 0x80)))
        places = np.cumsum(lengths) - lengths
        is_inside = (data[np.minimum(places, len(data) - 1)] & 0xC0) == 0x80
        starts = (begun[places] - is_inside).astype(np.int32)
        made = _read_only(np.array(run, dtype=np.int32), starts)
        self._keep((namespace, "inside", text), made, replaces=True)

    def _split(self, text: str) -> Iterator[tuple[str, bool]]:
        assert self._cuts is not None
        return self._cuts.split(text)

    def _keep(self, key: tuple[str, str, str], made: Encoded, *, replaces: bool) -> None:
        size = _bytes_of(key[2], made)
        if size > self._most_bytes:
            return
        with self._lock:
            known = self._runs.get(key)
            if known is not None:
                if not replaces:
                    return
                self.remembered_bytes -= _bytes_of(key[2], known)
                del self._runs[key]
            self._runs[key] = made
            self.remembered_bytes += size
            while self.remembered_bytes > self._most_bytes:
                oldest, tokens = self._runs.popitem(last=False)
                self.remembered_bytes -= _bytes_of(oldest[2], tokens)

    def _encode_inside(self, run: str) -> Encoded:
        """Return the tokens of a run that does not begin the text.

        Some tokenizers mark the text's first word; behind a cut there is none.
        """
        cut, tokens = next(iter(self._cut_tokens.items()))
        both = self._encode_now(cut + run)
        skipped = len(tokens.token_ids)
        return _read_only(
            both.token_ids[skipped:].copy(), np.maximum(both.starts[skipped:] - len(cut), 0)
        )

    def _encode_now(self, text: str, *, add_special_tokens: bool = False) -> Encoded:
        if len(text) < _LONG_CHARACTERS:
            encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        else:
            # `encode` holds the interpreter until it is done, and everybody's stream with it; a
            # batch does not. One long text at a time: each takes 250 bytes a character meanwhile.
            with self._one_long:
                (encoding,) = self._tokenizer.encode_batch(
                    [text], add_special_tokens=add_special_tokens
                )
        token_ids = np.asarray(encoding.ids, dtype=np.int32)
        spans = np.asarray(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        starts = spans[:, 0].copy()
        # Some tokenizers trim a leading space off a token's span; it belongs to that token.
        ends_before = np.concatenate(([0], spans[:-1, 1])).astype(np.int32)
        np.minimum(starts, np.maximum.accumulate(ends_before), out=starts)
        return _read_only(token_ids, starts)

    def _has_independent_runs(self) -> bool:
        """Return whether cut texts gave the tokens of whole ones wherever it was tried."""
        assert self._cuts is not None
        for cut in list(self._cut_tokens)[:8]:
            for probe in _PROBES:
                for text in (f"{cut}{probe}{cut}{probe}", f"{probe}{cut}{cut}{probe}"):
                    whole = self._encode_now(text).token_ids
                    parts = [
                        self._cut_tokens[part]
                        if is_cut
                        else self._encode_inside(part)
                        if place
                        else self._encode_now(part)
                        for place, (part, is_cut) in enumerate(self._cuts.split(text))
                    ]
                    if not np.array_equal(whole, np.concatenate([p.token_ids for p in parts])):
                        return False
        return True


def printable(text: str) -> str:
    """Return `text` with lone surrogates, which UTF-8 cannot carry, as U+FFFD; same length."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", "�", text)
    return text


def _bytes_of(run: str, made: Encoded) -> int:
    return sys.getsizeof(run) + made.nbytes + _ENTRY_BYTES


def _join(pieces: list[Encoded], offsets: list[int]) -> Encoded:
    if len(pieces) == 1:
        return pieces[0]
    if not pieces:
        return _read_only(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32))
    lengths = [len(piece.token_ids) for piece in pieces]
    starts = np.concatenate([piece.starts for piece in pieces])
    starts += np.repeat(np.asarray(offsets, dtype=np.int32), lengths)
    return _read_only(np.concatenate([piece.token_ids for piece in pieces]), starts)


def _read_only(token_ids: Int32Array, starts: Int32Array) -> Encoded:
    token_ids.flags.writeable = False
    starts.flags.writeable = False
    return Encoded(token_ids, starts)
