"""Work to try attention on: requests of chosen lengths over scattered pages of noise.

Knows: how to lay requests out as the engine would. Does not know what is tried, nor a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from stemfirst_server.engine.config import KVDtype
from stemfirst_server.memory.quantized import make_pool
from stemfirst_server.model.attention import ChunkRow, SingleRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stemfirst_server.memory.pool import KVPool, LayerShape


@dataclass(frozen=True, slots=True)
class Work:
    """The lengths of one packed row.

    Attributes:
        chunks: cached and new tokens of requests with several new ones.
        singles: tokens, the new one included, of requests with one new token.
    """

    chunks: tuple[tuple[int, int], ...] = ()
    singles: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """Work in memory: what an `AttentionStep` is made of.

    Attributes:
        pool: noise everywhere, also behind the requests' tokens.
        slots: `(tokens,)` int64: where the new tokens' KV goes.
        positions: `(tokens,)` int64: of the new tokens in their requests.
        chunks: of the step.
        singles: of the step.
    """

    pool: KVPool
    slots: torch.Tensor
    positions: torch.Tensor
    chunks: tuple[ChunkRow, ...]
    singles: SingleRows | None


def lay_out(
    work: Work,
    shapes: Mapping[int, LayerShape],
    *,
    page: int,
    dtype: torch.dtype,
    device: torch.device,
    kv_dtype: KVDtype = KVDtype.AUTO,
    seed: int = 7,
) -> Laid:
    """Return the work over pages in random order, none of them shared.

    Args:
        work: at least one request.
        shapes: a layer's index to what it stores.
        page: tokens a page.
        dtype: of keys and values as they are computed.
        device: of all tensors.
        kv_dtype: what they are stored in.
        seed: of order and noise.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = [cached + new for cached, new in work.chunks] + list(work.singles)
    counts = [-(-length // page) for length in lengths]
    in_all = sum(counts)
    pool = make_pool(dict(shapes), kv_dtype, pages=in_all, page=page, dtype=dtype, device=device)
    everywhere = torch.arange(in_all * page, device=device)
    for layer, shape in shapes.items():
        key, value = (
            torch.randn((shape.kv_heads, len(everywhere), width), generator=generator).to(
                device=device, dtype=dtype
            )
            for width in (shape.key_width, shape.value_width)
        )
        pool.write(layer, everywhere, key, value)
    order = torch.randperm(pool.pages, generator=generator).to(device)
    ends = list(accumulate(counts))
    pages = [order[end - count : end] for count, end in zip(counts, ends, strict=True)]
    new = [torch.arange(cached, cached + count) for cached, count in work.chunks]
    new += [torch.tensor([length - 1]) for length in work.singles]
    runs = [run.to(device) for run in new]
    chunks = tuple(
        ChunkRow(count, cached + count, ids)
        for (cached, count), ids in zip(work.chunks, pages, strict=False)
    )
    singles = None
    if work.singles:
        own = pages[len(work.chunks) :]
        table = torch.zeros(len(own), max(len(ids) for ids in own), dtype=torch.int64)
        table = table.to(device)
        for row, ids in enumerate(own):
            table[row, : len(ids)] = ids
        singles = SingleRows(torch.tensor(work.singles, device=device), table)
    return Laid(
        pool=pool,
        slots=torch.cat(
            [ids[run // page] * page + run % page for ids, run in zip(pages, runs, strict=True)]
        ),
        positions=torch.cat(runs),
        chunks=chunks,
        singles=singles,
    )
