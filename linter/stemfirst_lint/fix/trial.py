"""A change on trial: the prompt before and after, rendered with values for its holes.

Knows templates, values and how alike two answers are. Knows nothing of servers: it says what to
send and judges what came back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from stemfirst_lint.errors import LintError
from stemfirst_lint.model import Template, Text

Values = dict[str, str]
"""Texts by the name of the hole that they fill."""

MADE_UP_SETS = 3
"""How many sets of values are made up where none are given: one to store, two to hit."""


class ValuesError(LintError):
    """A file of values that cannot be read; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to one rendered prompt.

    `logprobs` are natural logarithms, one a token; empty where the server gives none.
    `cached_tokens` is None where it reports none.
    """

    text: str
    prompt_tokens: int
    cached_tokens: int | None
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike the answers to both versions are.

    Attributes:
        pairs: how many answers were compared.
        equal: how many are equal, character by character.
        logprob_distance: mean absolute difference of the log-probabilities of tokens that both
            answers begin with; None where the server gives none.
        compared_tokens: how many tokens that mean is taken over.
    """

    pairs: int
    equal: int
    logprob_distance: float | None
    compared_tokens: int


def read_values(data: bytes, path: str) -> list[dict[str, object]]:
    """Return the objects of a JSON file, a JSON list, or a file with one object a line.

    Raises:
        ValuesError: it holds something else.
    """
    try:
        text = data.decode("utf-8-sig")
        try:
            found = json.loads(text)
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ValuesError(f"{path} is neither JSON nor one JSON object a line: {error}") from None
    items = found if isinstance(found, list) else [found]
    for item in items:
        if not isinstance(item, dict):
            raise ValuesError(f"{path}: an object from names to values is wanted, got {item!r}")
    return items


def values_for(template: Template, given: Sequence[dict[str, object]]) -> list[Values]:
    """Return the sets of values that fit a template.

    A declared object names a hole of it; a recorded request holds a message that reads like it.
    """
    names = {hole.name for hole in template.holes}
    found: list[Values] = []
    for item in given:
        declared = {name: str(value) for name, value in item.items() if name in names}
        if declared:
            found.append(declared)
        else:
            found.extend(_recorded(template, item))
    return found


def _recorded(template: Template, item: object) -> Iterator[Values]:
    """Yield the values with which the template reads like a string anywhere in a request."""
    if sum(len(piece.text) for piece in template.pieces if isinstance(piece, Text)) < 16:
        return  # nearly anything would fit
    pattern = re.compile(
        "".join(
            re.escape(piece.text) if isinstance(piece, Text) else "(.*?)"
            for piece in template.pieces
        ),
        re.DOTALL,
    )
    for text in _strings(item):
        match = pattern.fullmatch(text)
        if match:
            yield {
                hole.name: value for hole, value in zip(template.holes, match.groups(), strict=True)
            }


def _strings(item: object) -> Iterator[str]:
    pending = [item]
    while pending:
        current = pending.pop()
        if isinstance(current, str):
            yield current
        elif isinstance(current, dict):
            pending.extend(reversed(list(current.values())))
        elif isinstance(current, list):
            pending.extend(reversed(current))


def completed(template: Template, found: Sequence[Values]) -> tuple[list[Values], list[str]]:
    """Return sets of values for every hole, and the names of the holes whose values are made up.

    Made-up values differ from set to set where the hole varies, and are equal where it does not.
    """
    sets = [dict(values) for values in found] or [{} for _ in range(MADE_UP_SETS)]
    made_up: list[str] = []
    for hole in template.holes:
        if hole.constant_text is not None:
            for values in sets:
                values.setdefault(hole.name, hole.constant_text)
        for number, values in enumerate(sets):
            if hole.name not in values:
                shown = hole.name.replace("_", " ")
                values[hole.name] = f"{shown} {number + 1}" if hole.verdict.tier else shown
                if hole.name not in made_up:
                    made_up.append(hole.name)
    return sets, made_up


def render(template: Template, values: Values) -> str:
    """Return the text that the model reads."""
    return "".join(
        piece.text if isinstance(piece, Text) else values[piece.name] for piece in template.pieces
    )


def agreement(before: Sequence[Answer], after: Sequence[Answer]) -> Agreement:
    """Return how alike the answers to the same values are."""
    equal = 0
    distances: list[float] = []
    for old, new in zip(before, after, strict=True):
        equal += old.text == new.text
        distances.extend(_distances(old, new))
    distance = sum(distances) / len(distances) if distances else None
    return Agreement(len(before), equal, distance, len(distances))


def _distances(old: Answer, new: Answer) -> Iterable[float]:
    """Yield the distances of the log-probabilities while both answers say the same."""
    for one, other, first, second in zip(
        old.tokens, new.tokens, old.logprobs, new.logprobs, strict=False
    ):
        if one != other:
            return
        yield abs(first - second)
