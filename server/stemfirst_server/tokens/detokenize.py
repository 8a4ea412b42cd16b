"""Token ids to text, one at a time, never half a character.

Knows the two ways in which tokenizers spell bytes: byte-level BPE, where each token is a run of
bytes and a UTF-8 decoder is all it takes, and everything else, where only the tokenizer itself
can join tokens. Does not know stop strings or streams.
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

_LONGEST_CHARACTER = 4
"""Bytes of the longest UTF-8 character, and so the most tokens that one can be spread over."""


class Detokenizer(Protocol):
    """Turns one request's tokens into text, in order."""

    def feed(self, token_id: int) -> str:
        """Return the text that became certain with this token; may be empty."""
        ...

    def finish(self) -> str:
        """Return what is left; an unfinished character becomes U+FFFD."""
        ...


class Vocabulary:
    """What each token id stands for: its bytes, or that it is not shown.

    Built once for a tokenizer; makes a `Detokenizer` for each request.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.added = {token.content: i for i, token in added.items()}
        self._hidden = frozenset(i for i, token in added.items() if token.special)
        self._plain = {i: token.content.encode() for i, token in added.items() if not token.special}
        self.is_byte_level = _is_byte_level(tokenizer)

    def detokenizer(self, shown: frozenset[int] = frozenset()) -> Detokenizer:
        """Return a fresh detokenizer for one request; `shown` control tokens become text."""
        return _ByteLevel(self, shown) if self.is_byte_level else _ByDecoding(self, shown)

    def is_hidden(self, token_id: int) -> bool:
        """Whether the token is a control token, whose text is not shown."""
        return token_id in self._hidden

    def bytes_of(self, token_id: int) -> bytes:
        """Return the token's own bytes, control tokens included; may be part of a character."""
        if token_id in self._plain:
            return self._plain[token_id]
        piece = self._tokenizer.id_to_token(token_id)
        if piece is None:  # the output layer may have more rows than the tokenizer has tokens
            return b""
        if self.is_byte_level and token_id not in self._hidden:
            return bytes(_BYTE_OF[character] for character in piece)
        text: str = self._tokenizer.decode([token_id], skip_special_tokens=False)
        return text.encode()

    def decode(self, token_ids: Sequence[int], *, has_control_tokens: bool = False) -> str:
        """Return the text of a run of tokens, control tokens left out unless asked for."""
        text: str = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=not has_control_tokens
        )
        return text


class _ByteLevel:
    """Tokens are bytes: a UTF-8 decoder keeps the unfinished character."""

    def __init__(self, vocabulary: Vocabulary, shown: frozenset[int]) -> None:
        self._vocabulary = vocabulary
        self._shown = shown
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        if self._vocabulary.is_hidden(token_id) and token_id not in self._shown:
            return ""
        return self._decoder.decode(self._vocabulary.bytes_of(token_id))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class _ByDecoding:
    """Only the tokenizer knows: decode a short window, and emit what is new in it.

    The window starts at tokens that were emitted already, because the first token of a decode
    loses its leading space. Text that ends in U+FFFD may be an unfinished character and waits,
    but no longer than a character can last.
    """

    def __init__(self, vocabulary: Vocabulary, shown: frozenset[int]) -> None:
        self._vocabulary = vocabulary
        self._shown = shown
        self._window: list[int] = []
        self._emitted = 0  # tokens of the window whose text is out

    def feed(self, token_id: int) -> str:
        if token_id in self._shown:
            text = self.finish() + self._vocabulary.bytes_of(token_id).decode()
            self._window.clear()
            self._emitted = 0
            return text
        if self._vocabulary.is_hidden(token_id):
            return ""
        self._window.append(token_id)
        return self._new_text(is_last=False)

    def finish(self) -> str:
        return self._new_text(is_last=True)

    def _new_text(self, *, is_last: bool) -> str:
        before = self._vocabulary.decode(self._window[: self._emitted])
        whole = self._vocabulary.decode(self._window)
        waiting = len(self._window) - self._emitted
        if whole.endswith("�") and not is_last and waiting <= _LONGEST_CHARACTER:
            return ""
        self._window = self._window[self._emitted :]
        self._emitted = len(self._window)
        return whole[len(before) :]


def _is_byte_level(tokenizer: Tokenizer) -> bool:
    decoder = json.loads(tokenizer.to_str()).get("decoder") or {}
    parts = decoder.get("decoders", [decoder])
    return bool(parts) and all(part.get("type") == "ByteLevel" for part in parts)


def _byte_alphabet() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for.

    Source: GPT-2's published encoder (2019): printable bytes stand for themselves, the others
    for the characters from U+0100 on, in order.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + index): byte for index, byte in enumerate(others)
    }


_BYTE_OF = _byte_alphabet()
