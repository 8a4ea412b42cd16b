"""Attention over paged KV memory, for any Hugging Face model that calls `AttentionInterface`.

Knows: how to write a step's keys and values into pages and how to attend to what a request has
there; gather and `scaled_dot_product_attention`, on any device. This is the reference path that
faster kernels are compared with. Does not know requests, tokens or sampling.

A model calls `paged_attention` with the new tokens' queries, keys (after rotary embedding) and
values. What they belong to travels beside the call, not through it: some models drop keyword
arguments that they do not know, so the step is a thread-local (`use_step`).

A step packs its tokens in one row, chunks first, then single tokens:

    | chunk of request A | chunk of request B | C | D | E |
      own attention call   own attention call   one padded call
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemfirst_server.memory.pool import KVPool

ATTENTION_NAME = "stemfirst_paged"


@dataclass(frozen=True, slots=True, eq=False)
class ChunkRow:
    """The new tokens of one request that has more than one of them in this step.

    Attributes:
        new_tokens: how many.
        kv_tokens: tokens in its pages once these are written; the new ones are the last.
        page_ids: `(pages,)` int64 on the device; covers `kv_tokens`.
    """

    new_tokens: int
    kv_tokens: int
    page_ids: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SingleRows:
    """Requests with exactly one new token, attended together.

    Attributes:
        kv_tokens: `(rows,)` int64: tokens in each one's pages, the new one included.
        page_ids: `(rows, most pages)` int64; filled up with any valid page.
    """

    kv_tokens: torch.Tensor
    page_ids: torch.Tensor


@dataclass(slots=True, eq=False)
class AttentionStep:
    """Whose tokens one forward pass computes, and where their KV goes.

    Attributes:
        pool: the KV memory.
        slots: `(tokens,)` int64: page · page length + offset, for each token in order.
        chunks: requests with several new tokens, in the order of the packed row.
        singles: requests with one new token, behind the chunks; None without any.
        calls: how often each layer asked; for the load gate.
    """

    pool: KVPool
    slots: torch.Tensor
    chunks: tuple[ChunkRow, ...]
    singles: SingleRows | None
    calls: dict[int, int] = field(default_factory=dict)
    # Made by the first layer that needs them: additive masks of (chunk, window), and the pages
    # and the mask of single rows by window.
    _masks: dict[tuple[int, int | None], torch.Tensor] = field(default_factory=dict)
    _seen: dict[int | None, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        options: _Options,
    ) -> torch.Tensor:
        """Write KV, then attend.

        Args:
            layer: its index.
            query: `(1, heads, tokens, width)`.
            key: `(1, kv_heads, tokens, width)`.
            value: `(1, kv_heads, tokens, value_width)`.
            options: scale, window, softcap and sinks of this layer.

        Returns:
            `(1, tokens, heads, value_width)`.
        """
        self.write(layer, key, value)
        return self.read(layer, query, options)

    def read(self, layer: int, query: torch.Tensor, options: _Options) -> torch.Tensor:
        """Attend to what is written; shapes as in `attend`."""
        parts: list[torch.Tensor] = []
        start = 0
        for index, row in enumerate(self.chunks):
            end = start + row.new_tokens
            parts.append(self._chunk(layer, index, row, query[:, :, start:end], options))
            start = end
        if self.singles is not None:
            parts.append(self._singles(layer, self.singles, query[0, :, start:], options))
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).unsqueeze(0)

    def write(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Put the new tokens' keys and values in their slots; shapes as in `attend`."""
        self.calls[layer] = self.calls.get(layer, 0) + 1
        self.pool.write(layer, self.slots, key[0], value[0])

    def _chunk(
        self,
        layer: int,
        index: int,
        row: ChunkRow,
        query: torch.Tensor,
        options: _Options,
    ) -> torch.Tensor:
        """Return `(new_tokens, heads, value_width)` for one chunk."""
        window = options.window
        if window is not None and row.kv_tokens <= window:
            window = None
        page = self.pool.page
        # Only pages that some query can see: the first one sees back to its window's start.
        first_seen = 0 if window is None else max(0, row.kv_tokens - row.new_tokens - window + 1)
        first_page = first_seen // page
        last_page = -(-row.kv_tokens // page)
        page_ids = row.page_ids[first_page:last_page]
        kv_tokens = row.kv_tokens - first_page * page
        k = self.pool.gather("keys", layer, page_ids)[:kv_tokens].transpose(0, 1)[None]
        v = self.pool.gather("values", layer, page_ids)[:kv_tokens].transpose(0, 1)[None]
        is_plain_causal = row.new_tokens == kv_tokens and window is None
        mask = None
        if not is_plain_causal or options.needs_scores:
            mask = self._masks.get((index, window))
            if mask is None:
                mask = _causal_mask(row.new_tokens, kv_tokens, window, query)
                self._masks[index, window] = mask
        if options.needs_scores:
            assert mask is not None
            out = _attend_with_scores(query, k, v, mask, options)
        else:
            out = F.scaled_dot_product_attention(
                query,
                k,
                v,
                attn_mask=mask,
                is_causal=mask is None,
                scale=options.scale,
                enable_gqa=query.shape[1] != k.shape[1],
            )
        return out[0].transpose(0, 1)

    def _singles(
        self,
        layer: int,
        rows: SingleRows,
        query: torch.Tensor,
        options: _Options,
    ) -> torch.Tensor:
        """Return `(rows, heads, value_width)` for all requests with one new token."""
        count = len(rows.kv_tokens)
        seen = self._seen.get(options.window)
        if seen is None:
            seen = self._seen[options.window] = self._seen_pages(rows, options.window, query.dtype)
        pages, mask = seen
        page_ids = pages.flatten()
        k = self.pool.gather("keys", layer, page_ids)
        v = self.pool.gather("values", layer, page_ids)
        k = k.view(count, -1, *k.shape[1:]).transpose(1, 2)  # (rows, kv_heads, kv, width)
        v = v.view(count, -1, *v.shape[1:]).transpose(1, 2)
        heads, _, width = query.shape
        # The heads that share one KV head become its queries: no repeated keys and values.
        grouped = query.transpose(0, 1).reshape(count, k.shape[1], -1, width)
        if options.needs_scores:
            sinks = None if options.sinks is None else options.sinks.view(k.shape[1], -1)
            out = _grouped_attention(
                grouped[:, :, :, None],
                k[:, :, None],
                v[:, :, None],
                mask[:, :, None],
                options,
                sinks,
            )
        else:
            out = F.scaled_dot_product_attention(grouped, k, v, attn_mask=mask, scale=options.scale)
        return out.reshape(count, heads, v.shape[-1])

    def _seen_pages(
        self, rows: SingleRows, window: int | None, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `(rows, pages)` that a window shows, and their `(rows, 1, 1, kv)` mask."""
        page, pages = self.pool.page, rows.page_ids
        last = rows.kv_tokens[:, None]
        first_page = torch.zeros_like(last)
        if window is not None:
            first_page = (last - window).clamp_min(0) // page
            most = int((-(-last // page) - first_page).max())
            columns = first_page + torch.arange(most, device=pages.device)
            # Rows that see fewer pages repeat their last one, masked.
            pages = pages.gather(1, columns.clamp_max(pages.shape[1] - 1))
        position = first_page * page + torch.arange(pages.shape[1] * page, device=pages.device)
        is_seen = position < last
        if window is not None:
            is_seen &= position >= last - window
        return pages, _additive(is_seen, dtype)[:, None, None]


@dataclass(frozen=True, slots=True, eq=False)
class _Options:
    """What a layer asks of attention besides the usual.

    Attributes:
        scale: of the scores.
        window: tokens that a query sees, itself included; None for all.
        softcap: scores become softcap · tanh(score / softcap).
        sinks: `(heads,)` logits that take probability and give no value.
    """

    scale: float
    window: int | None
    softcap: float | None
    sinks: torch.Tensor | None

    @property
    def needs_scores(self) -> bool:
        """Whether fused attention cannot do it."""
        return self.softcap is not None or self.sinks is not None


class Step(Protocol):
    """What models in this thread attend with."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        options: _Options,
    ) -> torch.Tensor:
        """Do as `AttentionStep.attend`."""


_thread = threading.local()


def current_step() -> Step | None:
    """Return the step that this thread's models attend with."""
    step: Step | None = getattr(_thread, "step", None)
    return step


@contextmanager
def use_step(step: Step) -> Iterator[None]:
    """Make `step` the one that models called in this thread attend with."""
    previous = current_step()
    _thread.step = step
    try:
        yield
    finally:
        _thread.step = previous


@dataclass(slots=True)
class Recorder:
    """A stand-in for a step that only notes each layer's shapes, and attends without a cache."""

    shapes: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        options: _Options,
    ) -> torch.Tensor:
        """Note (kv heads, key width, value width); return plain causal attention."""
        self.calls[layer] = self.calls.get(layer, 0) + 1
        self.shapes[layer] = (key.shape[1], key.shape[3], value.shape[3])
        mask = _causal_mask(query.shape[2], key.shape[2], options.window, query)
        return _attend_with_scores(query, key, value, mask, options).transpose(1, 2)


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend with this thread's step; the function that is registered with transformers."""
    options = _Options(
        scale=scaling if scaling is not None else query.shape[-1] ** -0.5,
        window=sliding_window or None,
        softcap=softcap,
        sinks=s_aux,
    )
    layer: int = module.layer_idx  # type: ignore[assignment]
    return _thread.step.attend(layer, query, key, value, options), None


def register() -> None:
    """Make `ATTENTION_NAME` known to transformers; without a mask function it builds no masks."""
    AttentionInterface.register(ATTENTION_NAME, paged_attention)


def _additive(is_seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(is_seen.shape, dtype=dtype, device=is_seen.device).masked_fill_(
        ~is_seen, float("-inf")
    )


def _causal_mask(
    queries: int, kv_tokens: int, window: int | None, like: torch.Tensor
) -> torch.Tensor:
    """Return an additive `(1, 1, queries, kv_tokens)` mask; the last query sees the last token."""
    q = torch.arange(kv_tokens - queries, kv_tokens, device=like.device)[:, None]
    k = torch.arange(kv_tokens, device=like.device)[None]
    is_seen = k <= q
    if window is not None:
        is_seen &= k > q - window
    return _additive(is_seen, like.dtype)[None, None]


def _attend_with_scores(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    options: _Options,
) -> torch.Tensor:
    """Return `(1, heads, queries, value_width)`; scores are written out."""
    kv_heads = key.shape[1]
    grouped = query.view(1, kv_heads, -1, *query.shape[2:])  # (1, kv_heads, group, queries, width)
    sinks = None if options.sinks is None else options.sinks.view(kv_heads, -1)
    out = _grouped_attention(grouped, key[:, :, None], value[:, :, None], mask, options, sinks)
    return out.flatten(1, 2)


def _grouped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    options: _Options,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attend with softcap and sinks.

    Args:
        query: `(rows, kv_heads, group, queries, width)`.
        key: `(rows, kv_heads, 1, kv, width)`.
        value: `(rows, kv_heads, 1, kv, value_width)`.
        mask: additive; broadcasts to `(rows, kv_heads, group, queries, kv)`.
        options: of this layer.
        sinks: `(kv_heads, group)` or None.
    """
    scores = (query @ key.transpose(-1, -2)) * options.scale
    if options.softcap is not None:
        scores = torch.tanh(scores / options.softcap) * options.softcap
    scores = scores + mask
    if sinks is not None:
        column = sinks[None, :, :, None, None].to(scores.dtype)
        scores = torch.cat([scores, column.expand(*scores.shape[:-1], 1)], dim=-1)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    if sinks is not None:
        weights = weights[..., :-1]
    return weights @ value
