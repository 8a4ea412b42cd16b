"""A planned step carried out, so that one request's fault stays its own.

Knows: how a step's logits become choices, and what to do when the model raises or the device has
no memory left: the step is cut in halves until what cannot run stands alone. Computing tokens
again writes the same KV to the same slots, so a part may be tried twice. Does not know who is
told, or what becomes of a request.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from stemfirst_server.engine.batch import Runner, packed
from stemfirst_server.engine.sampling import Choice
from stemfirst_server.engine.sequence import Work
from stemfirst_server.errors import RequestFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemfirst_server.engine.sequence import Sequence as RequestSequence

_log = logging.getLogger("stemfirst.engine")


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of one piece of work.

    Attributes:
        work: what was computed; with too little memory, fewer tokens than were planned.
        choices: the next tokens: what came true of a guess, and one more; empty where more
            prefill follows or none is wanted.
        fault: what failed the request instead, or behind the choices.
    """

    work: Work
    choices: tuple[Choice, ...] = ()
    fault: RequestFailedError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepOutcome:
    """What came of a step.

    Attributes:
        outcomes: one for each piece of work.
        ran_short: the device had too little memory for the step as it was planned.
    """

    outcomes: tuple[Outcome, ...]
    ran_short: bool


class Stepper:
    """Steps on one runner.

    Args:
        runner: the model on its KV memory.
        is_each_alone: a forward pass for each piece of work, so that its numbers do not depend
            on what else runs.
    """

    def __init__(self, runner: Runner, *, is_each_alone: bool) -> None:
        self._runner = runner
        self._is_each_alone = is_each_alone

    def run(self, work: Sequence[Work]) -> StepOutcome:
        """Compute the work, whatever the model's code raises."""
        ran_short = False
        outcomes: list[Outcome] = []
        todo = packed(work)
        parts = [[item] for item in reversed(todo)] if self._is_each_alone else [todo]
        while parts:
            part = parts.pop()
            try:
                outcomes += self._computed(part)
            except Exception as error:  # noqa: BLE001
                is_short = _is_out_of_memory(error)
                ran_short |= is_short
                _log.warning(
                    "a pass over %d requests failed%s",
                    len(part),
                    ": out of memory" if is_short else "",
                    exc_info=None if is_short else error,
                )
                if is_short and torch.cuda.is_available():
                    torch.cuda.empty_cache()
                if len(part) > 1:
                    half = len(part) // 2
                    parts += [part[half:], part[:half]]
                elif part[0].draft:
                    parts.append([Work(part[0].sequence, part[0].known_tokens)])
                elif is_short and part[0].new_tokens > 1 and not self._is_each_alone:
                    parts.append([Work(part[0].sequence, part[0].new_tokens // 2)])
                else:
                    outcomes.append(Outcome(part[0], fault=_fault(is_short)))
        return StepOutcome(tuple(outcomes), ran_short)

    def _computed(self, work: list[Work]) -> list[Outcome]:
        logits = self._runner.run(work)
        best = logits.max(-1)
        likeliest = best.indices.tolist()
        is_finite = best.values.isfinite().tolist()
        outcomes = []
        row = 0
        for item in work:
            rows = slice(row, row + 1 + len(item.draft))
            row = rows.stop
            if all(is_finite[rows]):
                outcomes.append(_chosen(item, logits[rows], likeliest[rows]))
            elif item.draft:
                # A guess may be what the model cannot bear; masked, it is still multiplied by 0.
                sequence, known_tokens = item.sequence, item.known_tokens
                start = sequence.computed + known_tokens
                self._runner.clear_tokens(sequence, start, start + len(item.draft))
                outcomes += self._computed([Work(sequence, known_tokens)])
            else:
                fault = RequestFailedError("the model's numbers are not finite for this prompt")
                outcomes.append(Outcome(item, fault=fault))
        return outcomes


def _chosen(item: Work, logits: torch.Tensor, likeliest: list[int]) -> Outcome:
    """Choose a token behind what is known, and behind each guess that came true.

    Each is chosen as if nothing had been guessed, in order and with the request's own random
    numbers; a guess only says whether the next row's logits are those of this text. So a draw is
    the same one, not only as likely.

    Args:
        item: what was computed.
        logits: `(1 + guessed, vocab)`.
        likeliest: each row's best token.
    """
    sequence = item.sequence
    params = sequence.request.sampling
    if item.known_tokens < sequence.remaining or params.max_tokens == 0:
        return Outcome(item)
    is_plain = sequence.sampler.takes_likeliest
    choices: list[Choice] = []
    for row, best in enumerate(likeliest):
        if is_plain:
            choice = Choice(best)
        else:
            written = [*sequence.output, *(choice.token_id for choice in choices)]
            found = _sampled(sequence, logits[row], written)
            if isinstance(found, RequestFailedError):
                return Outcome(item, tuple(choices), found)
            choice = found
        choices.append(choice)
        # Every choice is told, none is taken back: a grammar may be moved on by each.
        if sequence.sampler.is_complete:
            break
        if row < len(item.draft) and choice.token_id != item.draft[row]:
            break
    return Outcome(item, tuple(choices))


def _sampled(
    sequence: RequestSequence, logits: torch.Tensor, written: list[int]
) -> Choice | RequestFailedError:
    try:
        return sequence.sampler.choose(logits, prompt=sequence.request.token_ids, output=written)
    except RequestFailedError as error:
        return error
    except Exception:  # noqa: BLE001
        # One request's parameters may hit a fault of ours or torch's; only it must fail.
        _log.exception("sampling failed for request %s", sequence.request_id)
        return RequestFailedError("the sampling parameters could not be applied")


def _fault(is_short: bool) -> RequestFailedError:
    if is_short:
        return RequestFailedError(
            "the device ran out of memory on this request; try again when the server is less "
            "busy, or start it with a smaller --pool-tokens"
        )
    return RequestFailedError("the model failed on this request; try again")


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # torch's allocator for CPUs raises a plain RuntimeError.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
