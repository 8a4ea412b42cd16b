"""A decode step whose tensors stay where they are, which is what a CUDA graph replays.

Knows: how to fill a batch up to a fixed size. Does not know CUDA.

    row          0        1        2        3
    request      A        B        -        -       two of four rows are used
    tokens       812      95       1        1
    pages        A's      B's      dummy    dummy   a page that belongs to nobody, ever
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from stemfirst_server.model.attention import AttentionStep, SingleRows, use_step

if TYPE_CHECKING:
    from stemfirst_server.memory.pool import KVPool


@dataclass(frozen=True, slots=True, eq=False)
class DecodeInputs:
    """One new token for each of some requests; on any device.

    Attributes:
        ids: `(rows,)` int64.
        positions: `(rows,)` int64.
        slots: `(rows,)` int64: where their KV goes.
        kv_tokens: `(rows,)` int64: tokens in each one's pages, the new one included.
        page_ids: `(rows, most pages)` int64; filled up with any valid page.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    kv_tokens: torch.Tensor
    page_ids: torch.Tensor


class StaticDecode:
    """The forward pass of at most `rows` single tokens, always of `rows`.

    Attributes:
        rows: the batch size.
        table_pages: most pages of a request.
    """

    def __init__(
        self,
        model: Any,
        pool: KVPool,
        step_type: type[AttentionStep],
        *,
        rows: int,
        table_pages: int,
        dummy_page: int,
    ) -> None:
        self.rows = rows
        self.table_pages = table_pages
        self._model = model
        self._pool = pool
        self._step_type = step_type
        self._dummy_page = dummy_page
        self._has_keep = "logits_to_keep" in inspect.signature(model.forward).parameters
        device = model.device

        def whole(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        self._ids, self._positions = whole(rows), whole(rows)
        self._slots, self._kv_tokens = whole(rows), whole(rows)
        self._page_ids = whole(rows, table_pages)
        self._last_rows = torch.arange(rows, device=device)
        self._clear(0)

    def fill(self, inputs: DecodeInputs) -> None:
        """Put a batch in; the rows behind it become dummies.

        Args:
            inputs: at most `rows` rows of at most `table_pages` pages.
        """
        count, pages = inputs.page_ids.shape
        assert count <= self.rows
        assert pages <= self.table_pages
        for static, given in (
            (self._ids, inputs.ids),
            (self._positions, inputs.positions),
            (self._slots, inputs.slots),
            (self._kv_tokens, inputs.kv_tokens),
        ):
            static[:count].copy_(given, non_blocking=True)
        # What stands behind a row's pages is never read, so a shorter table may leave it there.
        self._page_ids[:count, :pages].copy_(inputs.page_ids, non_blocking=True)
        self._clear(count)

    def forward(self) -> torch.Tensor:
        """Return `(rows, vocab)` float32 logits of what was put in; the dummies' mean nothing."""
        step = self._step_type(
            self._pool, self._slots, chunks=(), singles=SingleRows(self._kv_tokens, self._page_ids)
        )
        # Naming all rows is naming none; but some models change their output's shape with it.
        wanted = {"logits_to_keep": self._last_rows} if self._has_keep else {}
        with use_step(step):
            out = self._model(
                input_ids=self._ids[None],
                position_ids=self._positions[None],
                attention_mask=None,
                past_key_values=None,
                use_cache=False,
                **wanted,
            )
        logits: torch.Tensor = out.logits[0]
        return logits.float()

    def _clear(self, count: int) -> None:
        self._ids[count:] = 0
        self._positions[count:] = 0
        self._kv_tokens[count:] = 1
        self._slots[count:] = self._dummy_page * self._pool.page
        self._page_ids[count:, :1] = self._dummy_page
