"""One step's tensors, and the forward pass over them.

Knows: how work is packed into one row of tokens, and how the model is called: as it is, or by a
recording of a whole decode step. Does not know who should run or what is done with the logits.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stemfirst_server.engine.sequence import Work, slots_of
from stemfirst_server.kernels.static_decode import DecodeInputs
from stemfirst_server.model.attention import (
    AttentionStep,
    ChunkRow,
    SingleRows,
    Step,
    use_step,
)
from stemfirst_server.model.last_layer import NarrowStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemfirst_server.engine.sequence import Sequence as RequestSequence
    from stemfirst_server.kernels.graphs import DecodeGraphs
    from stemfirst_server.memory.pool import KVPool


# Pages of a request, and how many of its tokens, from the first, a token sees: the last is itself.
_Row = tuple[np.ndarray, int]
# Below so many tokens for each that is wanted, the last layer is computed whole.
_LEAST_NARROWED = 4


class Runner:
    """A model on its KV memory.

    Not thread-safe: one forward pass at a time.

    Args:
        model: from transformers.
        pool: its memory.
        step_type: what attends.
        recordings: of whole decode steps on CUDA.
        narrowed_layer: the last layer, if it may be computed for the wanted tokens alone.
    """

    def __init__(
        self,
        model: Any,
        pool: KVPool,
        step_type: type[AttentionStep] = AttentionStep,
        recordings: DecodeGraphs | None = None,
        narrowed_layer: int | None = None,
    ) -> None:
        self._model = model
        self._pool = pool
        self._step_type = step_type
        self._recordings = recordings
        self._narrowed_layer = narrowed_layer
        self._device: torch.device = next(model.parameters()).device
        # Most models compute logits only where asked; the others compute all of them.
        self._has_keep = "logits_to_keep" in inspect.signature(model.forward).parameters

    def run(self, work: Sequence[Work]) -> torch.Tensor:
        """Compute the work's tokens and write their KV.

        Args:
            work: chunks first, then single tokens (`packed`).

        Returns:
            `(rows, vocab)` float32: the logits behind the last token of each that is no guess,
            followed by those behind each guessed one.
        """
        page = self._pool.page
        ids, positions, slots = [], [], []
        ends: list[int] = []
        chunks: list[ChunkRow] = []
        single: list[Work] = []
        count = 0
        for item in work:
            sequence = item.sequence
            start, end = sequence.computed, sequence.computed + item.new_tokens
            ids.append(sequence.tokens[start:end])
            if item.draft:
                ids.append(np.array(item.draft, dtype=np.int32))
            positions.append(np.arange(start, end))
            slots.append(slots_of(sequence, start, end, page))
            count += item.new_tokens
            ends += range(count - 1 - len(item.draft), count)
            if item.new_tokens == 1:
                single.append(item)
                continue
            assert not single, "chunks stand before single tokens"
            chunks.append(ChunkRow(item.new_tokens, end, self._tensor(sequence.row)))
        rows = self._rows([(i.sequence.row, i.sequence.computed + 1) for i in single])
        if single and not chunks and self._recordings is not None:
            given = (np.concatenate(parts) for parts in (ids, positions, slots))
            inputs = DecodeInputs(*map(_host_tensor, (*given, *rows)))
            logits = self._recordings.run(inputs)
            if logits is not None:
                return logits
        step = self._step_type(
            self._pool,
            self._tensor(np.concatenate(slots)),
            chunks=tuple(chunks),
            singles=SingleRows(*map(self._tensor, rows)) if single else None,
        )
        position = np.concatenate(positions)
        wanted = [
            (item.sequence.row, item.sequence.computed + tokens)
            for item in work
            for tokens in range(item.known_tokens, item.new_tokens + 1)
        ]
        return self._forward(
            np.concatenate(ids), position, self._narrowed(step, count, ends, wanted), ends
        )

    def run_scratch(self, page_ids: np.ndarray, context: int, new: int) -> None:
        """Compute `new` tokens behind `context` in pages that are nobody's; for calibration."""
        position = np.arange(context, context + new)
        page = self._pool.page
        slots = page_ids[position // page].astype(np.int64) * page + position % page
        row = ChunkRow(new, context + new, self._tensor(page_ids))
        step = self._step_type(self._pool, self._tensor(slots), chunks=(row,), singles=None)
        ids = (position * 7919) % int(self._model.config.get_text_config().vocab_size)
        narrowed = self._narrowed(step, new, [new - 1], [(page_ids, context + new)])
        self._forward(ids, position, narrowed, [new - 1]).max().item()

    def clear(self, page_ids: np.ndarray) -> None:
        """Zero pages whose numbers may not be finite."""
        self._pool.clear(self._tensor(page_ids))

    def clear_tokens(self, sequence: RequestSequence, start: int, end: int) -> None:
        """Zero some tokens' KV, which may not be finite."""
        self._pool.clear_slots(self._tensor(slots_of(sequence, start, end, self._pool.page)))

    def _narrowed(
        self, step: AttentionStep, tokens: int, ends: list[int], wanted: Sequence[_Row]
    ) -> Step:
        """Return a step that computes its last layer for the wanted ones of `tokens` tokens."""
        if self._narrowed_layer is None or tokens < _LEAST_NARROWED * len(ends):
            return step
        singles = SingleRows(*map(self._tensor, self._rows(wanted)))
        last = self._step_type(self._pool, step.slots, (), singles)
        return NarrowStep(step, self._tensor(np.array(ends)), last, self._narrowed_layer)

    def _rows(self, rows: Sequence[_Row]) -> tuple[np.ndarray, np.ndarray]:
        """Return each one's tokens in pages, and `(rows, most pages)` page ids."""
        kv_tokens = np.array([tokens for _, tokens in rows], dtype=np.int64)
        used = -(-kv_tokens // self._pool.page)
        table = np.empty((len(rows), int(used.max(initial=0))), dtype=np.int64)
        for row, ((page_ids, _), pages) in enumerate(zip(rows, used.tolist(), strict=True)):
            table[row, :pages] = page_ids[:pages]
            # Masked, and still multiplied by 0: another's pages may hold NaN.
            table[row, pages:] = page_ids[0]
        return kv_tokens, table

    def _forward(
        self, ids: np.ndarray, positions: np.ndarray, step: Step, ends: list[int]
    ) -> torch.Tensor:
        keep = torch.tensor(ends, device=self._device)
        wanted = {"logits_to_keep": keep} if self._has_keep else {}
        with use_step(step):
            out = self._model(
                input_ids=self._tensor(ids)[None],
                position_ids=self._tensor(positions)[None],
                attention_mask=None,
                past_key_values=None,
                use_cache=False,
                **wanted,
            )
        logits: torch.Tensor = out.logits[0]
        return (logits if self._has_keep else logits[keep]).float()

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return _host_tensor(values).to(self._device, non_blocking=True)


def packed(work: Sequence[Work]) -> list[Work]:
    """Return the work as `run` wants it: chunks first, then single tokens."""
    return sorted(work, key=lambda item: item.new_tokens == 1)


def _host_tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))
