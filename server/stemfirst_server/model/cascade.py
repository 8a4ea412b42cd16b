"""Attention on the CPU that reads a prefix once for all requests of a step that share it.

Knows: that attention over a whole is the mean of attention over its parts, weighted by each
part's sum of exponentials. So all queries behind a shared prefix visit it in one pass, without a
mask; then each visits what is its own; the parts are merged in float32. A lone chunk gains too:
what stands before it needs no mask. Does not know requests or how a step was planned.

Source: the merge is that of FlashAttention's blocks (Dao et al. 2022, arXiv 2205.14135); shared
prefixes as a tree, Hydragen (Juravsky et al. 2024, arXiv 2402.05099).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from stemfirst_server.model.attention import (
    AttentionStep,
    ChunkRow,
    _additive,
    _causal_mask,
)
from stemfirst_server.model.prefix_groups import prefix_groups

if TYPE_CHECKING:
    from stemfirst_server.model.attention import _Options

# A group is one more call for each layer, which costs as much as reading this many tokens.
LEAST_SAVED_TOKENS = 256
# A chunk shorter than this has too little to gain from a pass of its own over what precedes it.
LEAST_LONE_CHUNK = 32

# `scaled_dot_product_attention` uses it too, and drops the sums of exponentials.
_flash = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """Pages that the tokens of some rows all see whole.

    Attributes:
        page_ids: `(pages,)` int64.
        tokens: `(n,)` int64 places in the packed row; None: all of them.
    """

    page_ids: torch.Tensor
    tokens: torch.Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """A step's parts.

    Attributes:
        shared: what is read once.
        chunks: (first own page, tokens in own pages) of each chunk.
        single_pages: `(rows, pages)` int64: each single row's own pages.
        single_mask: `(rows, 1, 1, kv)` additive.
        longest: most tokens that a row has in its pages.
    """

    shared: tuple[_Shared, ...]
    chunks: tuple[tuple[int, int], ...]
    single_pages: torch.Tensor | None
    single_mask: torch.Tensor | None
    longest: int


@dataclass(slots=True, eq=False)
class CascadeStep(AttentionStep):
    """An `AttentionStep` with the same contract, for the CPU."""

    _plan: _Plan | None = None
    # Additive masks of chunks whose own part begins inside a page: (first token, own tokens).
    _own_masks: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    def read(self, layer: int, query: torch.Tensor, options: _Options) -> torch.Tensor:
        """Attend to what is written; shapes as in `AttentionStep.attend`."""
        plan = self._plan
        if plan is None:
            plan = self._plan = self._make_plan(query)
        is_windowed = options.window is not None and plan.longest > options.window
        if not plan.shared or is_windowed:
            return super(CascadeStep, self).read(layer, query, options)
        tokens = query.shape[2]
        parts = [
            self._own_chunk(layer, row, plan.chunks[index], start, query, options)
            for index, (row, start) in enumerate(zip(self.chunks, self._starts(), strict=True))
        ]
        if plan.single_pages is not None:
            first = tokens - len(plan.single_pages)
            parts.append(self._own_singles(layer, plan, query[0, :, first:], options))
        outs, sums = zip(*parts, strict=True)
        out = torch.cat(outs, dim=1)  # (heads, tokens, width) float32
        log_sum = torch.cat(sums, dim=1)  # (heads, tokens) float32
        for shared in plan.shared:
            out, log_sum = self._visit(layer, shared, query[0], out, log_sum, options)
        if options.sinks is not None:
            out = out * torch.sigmoid(log_sum - options.sinks.float()[:, None])[..., None]
        return out.transpose(0, 1).to(query.dtype).unsqueeze(0)

    def _starts(self) -> list[int]:
        starts, start = [], 0
        for row in self.chunks:
            starts.append(start)
            start += row.new_tokens
        return starts

    def _make_plan(self, query: torch.Tensor) -> _Plan:
        page = self.pool.page
        # Whole pages before the new tokens; the rest is a row's own.
        contexts = [
            row.page_ids[: (row.kv_tokens - row.new_tokens) // page].numpy() for row in self.chunks
        ]
        spans = [
            range(start, start + row.new_tokens)
            for row, start in zip(self.chunks, self._starts(), strict=True)
        ]
        chunk_rows = len(contexts)
        kv_tokens = [row.kv_tokens for row in self.chunks]
        tokens = query.shape[2]
        if self.singles is not None:
            table = self.singles.page_ids.numpy()
            single_tokens = self.singles.kv_tokens.tolist()
            first = tokens - len(single_tokens)
            for row, count in enumerate(single_tokens):
                contexts.append(table[row, : (count - 1) // page])
                spans.append(range(first + row, first + row + 1))
            kv_tokens += single_tokens
        groups, own_from = prefix_groups(
            contexts,
            least_saved_pages=max(1, LEAST_SAVED_TOKENS // page),
            alone=frozenset(
                i for i, row in enumerate(self.chunks) if row.new_tokens >= LEAST_LONE_CHUNK
            ),
        )
        shared = []
        for group in groups:
            places = [token for row in group.rows for token in spans[row]]
            is_all = len(places) == tokens
            some = None if is_all else torch.tensor(places)
            shared.append(_Shared(torch.from_numpy(group.page_ids), some))
        single_pages = single_mask = None
        if self.singles is not None and shared:
            own_starts = torch.tensor(own_from[chunk_rows:])
            own_tokens = self.singles.kv_tokens - own_starts * page
            pages = -(-int(own_tokens.max()) // page)
            columns = own_starts[:, None] + torch.arange(pages)
            # Rows with fewer pages repeat some valid one, masked.
            single_pages = self.singles.page_ids.gather(
                1, columns.clamp(max=self.singles.page_ids.shape[1] - 1)
            )
            is_seen = torch.arange(pages * page) < own_tokens[:, None]
            single_mask = _additive(is_seen, query.dtype)[:, None, None]
        return _Plan(
            shared=tuple(shared),
            chunks=tuple(
                (start, row.kv_tokens - start * page)
                for row, start in zip(self.chunks, own_from[:chunk_rows], strict=True)
            ),
            single_pages=single_pages,
            single_mask=single_mask,
            longest=max(kv_tokens),
        )

    def _own_chunk(
        self,
        layer: int,
        row: ChunkRow,
        own: tuple[int, int],
        start: int,
        query: torch.Tensor,
        options: _Options,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return attention `(heads, new_tokens, value_width)` over a chunk's own, and sums."""
        first_page, own_tokens = own
        page_ids = row.page_ids[first_page : -(-row.kv_tokens // self.pool.page)]
        queries = query[:, :, start : start + row.new_tokens]
        k = self.pool.gather("keys", layer, page_ids)[:own_tokens]
        v = self.pool.gather("values", layer, page_ids)[:own_tokens]
        group = queries.shape[1] // k.shape[1]
        # (1, heads, own_tokens, width)
        k = k.repeat_interleave(group, 1).transpose(0, 1)[None]
        v = v.repeat_interleave(group, 1).transpose(0, 1)[None]
        mask = None
        if own_tokens != row.new_tokens or options.softcap is not None:
            mask = self._own_masks.get((start, own_tokens))
            if mask is None:
                mask = _causal_mask(row.new_tokens, own_tokens, None, query)
                self._own_masks[start, own_tokens] = mask
        out, log_sum = _attention(queries, k, v, options, mask, is_causal=mask is None)
        return out[0].float(), log_sum[0]

    def _own_singles(
        self, layer: int, plan: _Plan, query: torch.Tensor, options: _Options
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `(heads, rows, value_width)` and `(heads, rows)` over what is each row's own."""
        assert plan.single_pages is not None
        assert plan.single_mask is not None
        count = len(plan.single_pages)
        page_ids = plan.single_pages.flatten()
        k = self.pool.gather("keys", layer, page_ids)
        v = self.pool.gather("values", layer, page_ids)
        k = k.view(count, -1, *k.shape[1:]).transpose(1, 2)  # (rows, kv_heads, kv, width)
        v = v.view(count, -1, *v.shape[1:]).transpose(1, 2)
        heads, _, width = query.shape
        grouped = query.transpose(0, 1).reshape(count, k.shape[1], -1, width)
        mask = plan.single_mask.expand(-1, 1, grouped.shape[2], -1)
        out, log_sum = _attention(grouped, k, v, options, mask)
        return (
            out.reshape(count, heads, v.shape[-1]).transpose(0, 1).float(),
            log_sum.reshape(count, heads).transpose(0, 1),
        )

    def _visit(
        self,
        layer: int,
        shared: _Shared,
        query: torch.Tensor,
        out: torch.Tensor,
        log_sum: torch.Tensor,
        options: _Options,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `out` and `log_sum` with a shared run merged in."""
        places = shared.tokens
        queries = query if places is None else query.index_select(1, places)
        k = self.pool.gather("keys", layer, shared.page_ids).transpose(0, 1)[None]
        v = self.pool.gather("values", layer, shared.page_ids).transpose(0, 1)[None]
        heads, count, width = queries.shape
        # Without a mask, the heads that share one KV head are only more queries.
        folded = queries.reshape(1, k.shape[1], -1, width)
        seen, seen_sum = _attention(folded, k, v, options, None)
        seen, seen_sum = seen.reshape(heads, count, -1), seen_sum.reshape(heads, count)
        if places is None:
            return _merged(out, log_sum, seen, seen_sum)
        merged, merged_sum = _merged(out[:, places], log_sum[:, places], seen, seen_sum)
        return out.index_copy_(1, places, merged), log_sum.index_copy_(1, places, merged_sum)


def can_cascade(device: torch.device) -> bool:
    """Whether `CascadeStep` runs here: it needs a kernel that tells its sums of exponentials."""
    return device.type == "cpu" and _flash is not None


def best_step(device: torch.device) -> type[AttentionStep]:
    """Return the kind of step to run where there are no kernels of ours."""
    return CascadeStep if can_cascade(device) else AttentionStep


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    options: _Options,
    mask: torch.Tensor | None,
    *,
    is_causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attention and the float32 logarithms of its sums of exponentials.

    Args:
        query: `(rows, heads, queries, width)`.
        key: `(rows, heads, kv, width)`.
        value: `(rows, heads, kv, value_width)`.
        options: its scale and its softcap count.
        mask: additive, or None; needed with a softcap where not everything is seen.
        is_causal: the last query sees all, the one before it all but the last, and so on.

    Returns:
        `(rows, heads, queries, value_width)` and `(rows, heads, queries)`.
    """
    if options.softcap is not None:
        assert not is_causal, "a mask says it"
        return _capped_attention(query, key, value, options, options.softcap, mask)
    assert _flash is not None
    width, value_width = key.shape[-1], value.shape[-1]
    # The kernel knows one width; zeros add nothing to a score and are cut from the answer.
    if value_width < width:
        value = F.pad(value, (0, width - value_width))
    elif value_width > width:
        query, key = (F.pad(tensor, (0, value_width - width)) for tensor in (query, key))
    out, log_sum = _flash(query, key, value, 0.0, is_causal, attn_mask=mask, scale=options.scale)
    return out[..., :value_width], log_sum


def _capped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    options: _Options,
    softcap: float,
    mask: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do as `_attention` with scores written out."""
    scores = (query @ key.transpose(-1, -2)).float().mul_(options.scale / softcap)
    scores.tanh_().mul_(softcap)
    if mask is not None:
        scores += mask
    log_sum = scores.logsumexp(-1)
    weights = scores.sub_(log_sum[..., None]).exp_().to(value.dtype)
    return weights @ value, log_sum


def _merged(
    a: torch.Tensor, a_sum: torch.Tensor, b: torch.Tensor, b_sum: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float32 attention over two parts from attention over each."""
    log_sum = torch.logaddexp(a_sum, b_sum)
    a_share = (a_sum - log_sum).exp_()[..., None]
    b_share = (b_sum - log_sum).exp_()[..., None]
    return a * a_share + b.float() * b_share, log_sum
