"""The last layer, computed only for the tokens whose logits are wanted.

Knows: nothing reads what the last layer makes of a prompt's other tokens; only their keys and
values count. So its attention is asked for the wanted tokens alone, and its feed-forward part runs
on their rows. That is most of one layer of a prefill. Does not know which tokens are wanted.

A model is narrowed only if its logits prove to be the same: code that mixes tokens anywhere else
than in attention, or makes something of its own of the last layer, is left as it is.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from stemfirst_server.memory.pool import KVPool, LayerShape
from stemfirst_server.model import gates
from stemfirst_server.model.attention import (
    AttentionStep,
    ChunkRow,
    SingleRows,
    current_step,
)

if TYPE_CHECKING:
    from stemfirst_server.model.attention import _Options

_log = logging.getLogger("stemfirst.model")

# What the families call it, beside attention in a layer.
_FEED_FORWARD = ("mlp", "feed_forward", "block_sparse_moe", "moe", "ffn")
# Unsound narrowing comes near 1. The tokens between the wanted ones are attended to by them.
_TOKENS = 24
_WANTED = (3, 10, 23)
_TOLERANCE = 1e-3
_ROUNDED_TOLERANCE = 0.05


@dataclass(slots=True, eq=False)
class NarrowStep:
    """An `AttentionStep` whose last layer answers for some tokens; zeros stand for the others.

    Attributes:
        whole: the step as it is in all other layers.
        wanted: `(n,)` int64 places in the packed row.
        last: the wanted tokens as single rows, in the same order.
        last_layer: its index.
    """

    whole: AttentionStep
    wanted: torch.Tensor
    last: AttentionStep
    last_layer: int

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        options: _Options,
    ) -> torch.Tensor:
        """Write KV, then attend; shapes as in `AttentionStep.attend`."""
        if layer != self.last_layer:
            return self.whole.attend(layer, query, key, value, options)
        self.whole.write(layer, key, value)
        seen = self.last.read(layer, query.index_select(2, self.wanted), options)
        out = seen.new_zeros(1, query.shape[2], *seen.shape[2:])
        return out.index_copy_(1, self.wanted, seen)


def narrow(model: Any, shapes: dict[int, LayerShape]) -> int | None:
    """Let the last layer's feed-forward part compute only what a `NarrowStep` wants.

    Args:
        model: a transformers model that has passed the gates.
        shapes: what each layer stores for a token.

    Returns:
        The last layer's index; None if the model is left as it was: not on a CPU, no part that is
        known, or other logits.
    """
    last_layer = max(shapes)
    part = _feed_forward(model, last_layer)
    if part is None or model.device.type != "cpu":
        return None
    own = vars(part).get("forward")
    whole = part.forward

    def forward(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        step = current_step()
        if not isinstance(step, NarrowStep) or hidden.dim() != 3 or hidden.shape[0] != 1:
            return whole(hidden, *args, **kwargs)
        made = whole(hidden.index_select(1, step.wanted), *args, **kwargs)
        # Some give their routers' scores too, which nobody reads.
        rows, *rest = made if isinstance(made, tuple) else (made,)
        out = rows.new_zeros(1, hidden.shape[1], rows.shape[-1])
        out.index_copy_(1, step.wanted, rows)
        return (out, *rest) if rest else out

    part.forward = forward
    error = _error(model, shapes, last_layer)
    is_rounded = model.dtype != torch.float32 or getattr(model, "hf_quantizer", None) is not None
    if error <= (_ROUNDED_TOLERANCE if is_rounded else _TOLERANCE):
        return last_layer
    _log.info("the last layer is computed whole: narrowed, logits are off by %.2g", error)
    del part.forward
    if own is not None:
        part.forward = own
    return None


def _error(model: Any, shapes: dict[int, LayerShape], last_layer: int) -> float:
    """Return the largest difference that narrowing makes, as a share of the largest logit."""
    ids = gates.some_tokens(model, _TOKENS)
    position = torch.arange(_TOKENS)
    page_ids = torch.zeros(1, dtype=torch.int64)
    pool = KVPool(shapes, pages=1, page=_TOKENS, dtype=model.dtype, device=model.device)
    chunk = ChunkRow(new_tokens=_TOKENS, kv_tokens=_TOKENS, page_ids=page_ids)
    wanted = torch.tensor(_WANTED)
    whole = AttentionStep(pool, position, chunks=(chunk,), singles=None)
    singles = SingleRows(wanted + 1, page_ids.expand(len(wanted), 1))
    narrowed = NarrowStep(whole, wanted, AttentionStep(pool, position, (), singles), last_layer)
    try:
        expected = gates.logits_through(model, ids, position, whole)[wanted]
        got = gates.logits_through(model, ids, position, narrowed)[wanted]
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError):
        # The part wants something else than rows of hidden states, or gives something else.
        return math.inf
    error = float((got - expected).abs().max()) / max(1e-6, float(expected.abs().max()))
    return math.inf if math.isnan(error) else error


def _feed_forward(model: Any, last_layer: int) -> torch.nn.Module | None:
    """Return the module that stands beside the last layer's attention."""
    for module in model.modules():
        indices = {getattr(child, "layer_idx", None) for child in module.children()}
        if last_layer not in indices:
            continue
        for name in _FEED_FORWARD:
            part = getattr(module, name, None)
            if isinstance(part, torch.nn.Module):
                return part
    return None
