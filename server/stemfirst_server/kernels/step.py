"""The reference's attention step, carried out by our kernels.

Knows: which kernel serves which part of the packed row. Does not know whether the kernels are
right on this device; `choose` finds that out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import torch
import triton

from stemfirst_server.kernels.decode import decode
from stemfirst_server.kernels.extend import ExtendPlan, extend, plan_extend
from stemfirst_server.kernels.softmax import Scales
from stemfirst_server.kernels.store import store
from stemfirst_server.memory.quantized import QuantizedPool
from stemfirst_server.model.attention import AttentionStep

if TYPE_CHECKING:
    from stemfirst_server.memory.pool import KVPool
    from stemfirst_server.model.attention import _Options


@dataclass(slots=True, eq=False)
class TritonStep(AttentionStep):
    """An `AttentionStep` with the same contract, for CUDA.

        | chunk of request A | chunk of request B | C | D | E |
          one launch of `extend`                    one of `decode`

    Attributes:
        splits: runs that decode cuts a request's tokens into; None chooses by batch and device.
            A fixed number makes a request's answer independent of the batch.
    """

    splits: ClassVar[int | None] = None
    _plans: dict[tuple[int, int, int], ExtendPlan] = field(default_factory=dict)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        options: _Options,
    ) -> torch.Tensor:
        """Write KV, then attend; shapes as in `AttentionStep.attend`."""
        out = query.new_empty((query.shape[2], query.shape[1], value.shape[3]))
        self.attend_into(out, layer, query, key, value, options)
        return out.unsqueeze(0)

    def attend_into(
        self,
        out: torch.Tensor,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        options: _Options,
    ) -> None:
        """Write KV, and the answer into `out`, `(tokens, heads, value_width)`, all of it."""
        self.calls[layer] = self.calls.get(layer, 0) + 1
        keys, values = self.pool.keys[layer], self.pool.values[layer]
        scales = scales_of(self.pool, layer)
        if scales is None:
            store(key[0], value[0], self.slots, keys, values)
        else:
            self.pool.write(layer, self.slots, key[0], value[0])
        queries = query[0] if query.stride(-1) == 1 else query[0].contiguous()
        heads, _, width = queries.shape
        value_width = values.shape[3]
        sinks = None if options.sinks is None else options.sinks.contiguous()
        is_widened = _is_interpreted() and queries.dtype is torch.bfloat16
        chunk_tokens = 0
        if self.chunks:
            chunk_tokens = sum(chunk.new_tokens for chunk in self.chunks)
            group = heads // keys.shape[2]
            plan = self._plans.get((group, width, value_width))
            if plan is None:
                plan = plan_extend(
                    self.chunks,
                    group=group,
                    width=width,
                    value_width=value_width,
                    dtype=queries.dtype,
                )
                self._plans[group, width, value_width] = plan
            extend(
                plan,
                queries,
                keys,
                values,
                out,
                scale=options.scale,
                window=options.window,
                softcap=options.softcap,
                sinks=sinks,
                scales=scales,
                is_widened=is_widened,
            )
        if self.singles is not None:
            decode(
                self.singles,
                queries[:, chunk_tokens:],
                keys,
                values,
                out[chunk_tokens:],
                scale=options.scale,
                window=options.window,
                softcap=options.softcap,
                sinks=sinks,
                splits=self.splits,
                processors=_processors(queries.device),
                scales=scales,
                is_widened=is_widened,
            )


def scales_of(pool: KVPool, layer: int) -> Scales | None:
    """Return what a layer's eight-bit numbers are multiplied by; None: they are no such."""
    found = pool.scales(layer)
    if found is None:
        return None
    assert isinstance(pool, QuantizedPool)
    return Scales(*found, is_fp8=pool.is_fp8)


def _is_interpreted() -> bool:
    return bool(triton.knobs.runtime.interpret)


@cache
def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
