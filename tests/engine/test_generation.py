"""A whole answer is read once, at its end, and says what a streamed one says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from stemfirst_server.api.generation import Generation, Piece
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.tokens.detokenize import Vocabulary
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

VOCABULARY = Vocabulary(Tokenizer(WordLevel({f"w{n}": n for n in range(199)}, "w0")))


class Remembering:
    """An engine, and the answers that would be remembered."""

    def __init__(self, engine: Engine) -> None:
        self.submit, self.abort = engine.submit, engine.abort
        self.outputs: list[list[int]] = []

    def remember(self, request: GenerationRequest, output: Sequence[int]) -> None:
        self.outputs.append(list(output))


def pieces(
    engine: Engine, *, is_whole: bool, stops: tuple[str, ...] = (), max_tokens: int = 40
) -> list[Piece]:
    """Return what is told of two choices."""
    requests = [
        GenerationRequest(
            f"{is_whole}{stops}{choice}",
            token_array([5, 6, 7, 8 + choice]),
            SamplingParams(max_tokens=max_tokens, temperature=0, ignore_eos=True),
        )
        for choice in (0, 1)
    ]

    async def read() -> list[Piece]:
        generation = Generation(Remembering(engine), VOCABULARY, requests, stops, is_whole=is_whole)
        generation.start()
        return [piece async for piece in generation.pieces()]

    return asyncio.run(read())


def said(told: list[Piece], choice: int) -> tuple[str, list[int]]:
    mine = [piece for piece in told if piece.choice == choice]
    assert [piece.finish for piece in mine[:-1]] == [None] * (len(mine) - 1)
    return "".join(p.text for p in mine), [t.token_id for p in mine for t in p.tokens]


def test_a_whole_answer_is_read_once_and_is_the_streamed_one(
    start_engine: Callable[..., Engine],
) -> None:
    engine = start_engine()
    streamed, whole = pieces(engine, is_whole=False), pieces(engine, is_whole=True)
    assert len(streamed) > 3
    assert len(whole) <= 3, "one wake at the end of each; the first may find the other half done"
    for choice in (0, 1):
        assert said(whole, choice) == said(streamed, choice)
        assert len(said(whole, choice)[1]) == 40


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_stop_string_ends_the_engines_work_early(
    start_engine: Callable[..., Engine], is_whole: bool
) -> None:
    engine = start_engine()
    third = said(pieces(engine, is_whole=False, max_tokens=3), 0)[1][2]
    told = pieces(engine, is_whole=is_whole, stops=(f"w{third}",), max_tokens=400)
    assert len(said(told, 0)[1]) <= 3
    assert [p.stop for p in told if p.choice == 0 and p.finish] == [f"w{third}"]
    assert engine.stats().requests_finished["abort"] >= 1
