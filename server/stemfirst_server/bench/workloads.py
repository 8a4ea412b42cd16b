"""What is asked: prompts that share prefixes as real traffic does, from a seed.

Knows words and turns; does not know HTTP or tokens. A word of these is about a token of most
vocabularies; how many tokens a prompt had is what the server counts. Source of the trace's
schema: Mooncake's published traces (2024): `timestamp` in ms, `input_length`, `output_length`,
`hash_ids` of blocks of 512 tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemfirst.errors import StemfirstError

BLOCK_WORDS = 512
"""Words of a trace's block."""

_WORDS = (
    "order", "refund", "parcel", "invoice", "delivery", "address", "account", "customer",
    "policy", "product", "return", "price", "store", "receipt", "voucher", "contract",
    "payment", "shipment", "warranty", "discount", "season", "member", "service", "hour",
    "day", "week", "month", "year", "city", "street", "window", "door", "table", "number",
    "answer", "question", "reason",
)  # fmt: skip


class TraceError(StemfirstError):
    """A trace's file cannot be used."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a session.

    Attributes:
        text: what the user adds to the conversation.
        output_tokens: most tokens of the answer.
    """

    text: str
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation: its turns are asked one after the other, each with all that went before.

    Attributes:
        system: what it begins with; may be empty.
        turns: at least one.
        at_s: when it begins, from the start of the run; None: as soon as there is room.
    """

    system: str
    turns: tuple[Turn, ...]
    at_s: float | None = None


def words(count: int, chance: random.Random) -> str:
    """Return this many words."""
    return " ".join(chance.choices(_WORDS, k=count))


def shared_prefix(
    *, requests: int, prefixes: int, prefix_words: int, question_words: int,
    output_tokens: int, seed: int,
) -> list[Session]:  # fmt: skip
    """Return single requests, each of which begins with one of a few long prefixes."""
    chance = random.Random(seed)  # noqa: S311
    stems = [f"Policy {index}. {words(prefix_words, chance)}" for index in range(prefixes)]
    return [
        Session(
            stems[number % prefixes],
            (Turn(f"{number}: {words(question_words, chance)}", output_tokens),),
        )
        for number in range(requests)
    ]


def multi_turn(
    *, sessions: int, turns: int, prefix_words: int, question_words: int,
    output_tokens: int, seed: int,
) -> list[Session]:  # fmt: skip
    """Return conversations that share their system's message and then go their own ways."""
    chance = random.Random(seed)  # noqa: S311
    system = words(prefix_words, chance)
    return [
        Session(
            system,
            tuple(
                Turn(f"{number}.{turn}: {words(question_words, chance)}", output_tokens)
                for turn in range(turns)
            ),
        )
        for number in range(sessions)
    ]


def trace(file: Path, *, most_requests: int | None = None, speed: float = 1.0) -> list[Session]:
    """Return the requests of a trace, at the times that it says.

    Args:
        file: JSON lines in Mooncake's schema.
        most_requests: of its first ones; None: all.
        speed: how many times faster than it was recorded.

    Raises:
        TraceError: the file cannot be read, or a line has not the schema; names the line.
    """
    sessions: list[Session] = []
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if most_requests is not None and len(sessions) >= most_requests:
                    break
                if line.strip():
                    sessions.append(_traced(line, number, file, speed))
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"the trace {file} cannot be read: {error}") from error
    if not sessions:
        raise TraceError(f"the trace {file} holds no requests")
    return sessions


def poisson(sessions: list[Session], *, rate: float, seed: int) -> list[Session]:
    """Return the sessions with times at which a Poisson process of this rate starts them."""
    chance = random.Random(seed)  # noqa: S311
    timed = []
    at_s = 0.0
    for session in sessions:
        at_s += chance.expovariate(rate)
        timed.append(Session(session.system, session.turns, at_s))
    return timed


def _traced(line: str, number: int, file: Path, speed: float) -> Session:
    try:
        entry: Mapping[str, Any] = json.loads(line)
        length, output = int(entry["input_length"]), int(entry["output_length"])
        at_s = float(entry["timestamp"]) / 1000 / speed
        blocks = [int(block) for block in entry["hash_ids"]]
    except (ValueError, KeyError, TypeError) as error:
        raise TraceError(
            f"{file}, line {number}: timestamp, input_length, output_length and hash_ids are "
            f"needed ({type(error).__name__}: {error})"
        ) from None
    return Session("", (Turn(" ".join(_blocks(blocks, length)), max(1, output)),), at_s)


def _blocks(blocks: list[int], length: int) -> Iterator[str]:
    left = length
    for block in blocks:
        if left <= 0:
            return
        # The same id is the same text, whatever else the trace holds.
        chance = random.Random(f"block {block}")  # noqa: S311
        yield f"[{block}] " + words(max(1, min(left, BLOCK_WORDS) - 2), chance)
        left -= BLOCK_WORDS
    if left > 0:
        yield words(left, random.Random(f"rest {blocks[-1:]} {length}"))  # noqa: S311
