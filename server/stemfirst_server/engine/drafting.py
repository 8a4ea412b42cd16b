"""Guesses at what a request will say next, looked up in what it has read and written so far.

Knows: one request's tokens, and how often its guesses came true. Does not know the model: a guess
costs a place in the forward pass and can never change an answer, since every token is still
chosen from the model's own logits.

Source: prompt lookup decoding (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stemfirst_server.engine.request import TokenArray

# A run of two tokens recurs by chance; longer ones than four choose no better place.
_LEAST_RUN = 2
_MOST_RUN = 4
_MOST_PAUSE = 32


class Drafter:
    """One request's guesses.

    A guess grows while it comes true and pauses after it did not, twice as long each time: text
    that repeats nothing soon pays nothing.

    Args:
        most_tokens: of a guess; at least 1.
        end_tokens: what ends an answer. A guess stops before it: nothing follows.
    """

    def __init__(self, most_tokens: int, end_tokens: frozenset[int] = frozenset()) -> None:
        self._most_tokens = most_tokens
        self._end_tokens = end_tokens
        self._length = most_tokens
        self._pause = 0
        self._next_pause = 1

    def propose(self, tokens: TokenArray, most_tokens: int) -> tuple[int, ...]:
        """Return what may follow `tokens`, at most `most_tokens` of them; empty without a guess."""
        if self._pause:
            self._pause -= 1
            return ()
        guess = lookup(tokens, min(self._length, most_tokens))
        end = next((n for n, token in enumerate(guess) if token in self._end_tokens), len(guess))
        return guess[:end]

    def learn(self, *, drafted: int, accepted: int) -> None:
        """Note how much of a guess came true."""
        if accepted == drafted:
            self._length = min(self._most_tokens, 2 * self._length)
        else:
            self._length = max(1, accepted)
        if accepted:
            self._next_pause = 1
        else:
            self._pause = self._next_pause
            self._next_pause = min(_MOST_PAUSE, 2 * self._next_pause)


def lookup(tokens: TokenArray, most_tokens: int) -> tuple[int, ...]:
    """Return what followed the last tokens when they stood somewhere before.

    The longest run of two to four tokens counts, and of its places the latest. If the text ends
    before the guess is long enough, it goes round: what repeats every three tokens goes on so.

    Args:
        tokens: `(length,)` int32.
        most_tokens: of the guess.

    Returns:
        `most_tokens` ids, or none where nothing is found.
    """
    end = len(tokens)
    if most_tokens < 1 or end <= _LEAST_RUN:
        return ()
    # Where the last token stands, then those before it agree too.
    places = np.flatnonzero(tokens[:-1] == tokens[-1])
    for run in range(2, _MOST_RUN + 1):
        if run >= end:
            break
        inside = places[places >= run - 1]
        agreeing = inside[tokens[inside - (run - 1)] == tokens[end - run]]
        if not len(agreeing):
            if run <= _LEAST_RUN:
                return ()
            break
        places = agreeing
    start = int(places[-1]) + 1
    period = end - start
    return tuple(tokens[start + np.arange(most_tokens) % period].tolist())
