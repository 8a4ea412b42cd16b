"""Decoder layers of the common shape, computed with fewer and larger calls on the CPU.

Knows: the layers of Llama, Mistral, Qwen2 and Qwen3 (norm, attention, norm, a gated feed-forward
part). Their queries, keys and values are made by one product, so are gate and up; queries and keys
are rotated together; residuals are added in place. In the model's own code, a step of one token is
some sixty small calls a layer, and calling took longer than reading the weights. Does not know
requests.

A layer is taken over only if it also gives the same as its own code for the same input. Called in
another way than by the engine, it runs its own code, on the same weights.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from stemfirst_server.memory.pool import KVPool
from stemfirst_server.model import gates
from stemfirst_server.model.attention import AttentionStep, ChunkRow, SingleRows, current_step
from stemfirst_server.model.last_layer import NarrowStep
from stemfirst_server.model.linear import OneDnnLinear, product

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stemfirst_server.memory.pool import LayerShape
    from stemfirst_server.model.attention import Step, _Options

_log = logging.getLogger("stemfirst.model")

# Read by us: what looks the same may clip, scale late positions, or norm in another way.
_KNOWN = frozenset(
    f"transformers.models.{family.lower()}.modeling_{family.lower()}.{family}DecoderLayer"
    for family in ("Llama", "Mistral", "Qwen2", "Qwen3")
)
# Of a layer's largest change to a hidden state; another structure comes near 1.
_TOLERANCE = 1e-4
_ROUNDED_TOLERANCE = 0.05
# One product of few rows saves a call; of many, what it gives is too large for a cache.
_MOST_JOINED_ROWS = 64
# A chunk, then single tokens behind it.
_CHECKED_TOKENS = (21, 1, 1)


def fuse(model: Any, shapes: dict[int, LayerShape], context_tokens: int) -> int:
    """Take over a model's layers where they prove to be the same; return how many.

    Args:
        model: a transformers model in evaluation mode that has passed the gates.
        shapes: what each layer stores for a token.
        context_tokens: the longest request; places up to it are tried.
    """
    if model.device.type != "cpu" or getattr(model, "hf_quantizer", None) is not None:
        return 0
    turns = _Turns()
    trials = [
        _Trial(module, _FusedLayer(module, turns))
        for module in model.modules()
        if f"{type(module).__module__}.{type(module).__qualname__}" in _KNOWN and _is_plain(module)
    ]
    if not trials:
        return 0
    try:
        _run_a_little(model, shapes, context_tokens)
    finally:
        fused = [trial for trial in trials if trial.settle()]
    if len(fused) < len(trials):
        _log.info("%d layers run their own code: fused, they give others", len(trials) - len(fused))
    return len(fused)


class _Turns:
    """Cosines and sines as the layers of one step use them, made by the first."""

    def __init__(self) -> None:
        self._made: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def of(self, cosines: torch.Tensor, sines: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both as `(tokens, 1, width)`, the sines of the first half negative."""
        made = self._made  # in one piece: engines of several threads may share a model
        if made is None or made[0] is not sines:
            half = sines.shape[-1] // 2
            turned = torch.cat((-sines[0, :, None, :half], sines[0, :, None, half:]), -1)
            self._made = made = (sines, cosines[0, :, None], turned)
        return made[1], made[2]


@dataclass(slots=True, eq=False)
class _Product:
    """Linear layers over the same input, as one.

    Attributes:
        weight: `(out, in)`, one below the other.
        bias: `(out,)` or None.
        least_rows: from which oneDNN computes it; None: never.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    least_rows: int | None

    @classmethod
    def of(cls, *parts: nn.Linear) -> _Product:
        """Return the product with `parts`, whose own weights become parts of one.

        So nothing is held twice, and no more than these are while a model is loaded.
        """
        least_rows = parts[0].least_rows if isinstance(parts[0], OneDnnLinear) else None
        if len(parts) == 1:
            return cls(parts[0].weight, parts[0].bias, least_rows)
        biases: list[torch.Tensor] = [part.bias for part in parts if part.bias is not None]
        assert len(biases) in (0, len(parts)), "`_is_plain` says so"
        weights: list[torch.Tensor] = [part.weight for part in parts]
        made = cls(torch.cat(weights), torch.cat(biases) if biases else None, least_rows)
        start = 0
        for part in parts:
            end = start + part.out_features
            part.weight.data = made.weight[start:end]
            if made.bias is not None:
                part.bias.data = made.bias[start:end]
            start = end
        return made

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return `(tokens, out)`."""
        if self.least_rows is None or len(rows) < self.least_rows:
            return F.linear(rows, self.weight, self.bias)
        return product(rows, self.weight, self.bias)

    def halves(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the first and the second half of a token's numbers, each `(tokens, out / 2)`."""
        half = len(self.weight) // 2
        if len(rows) <= _MOST_JOINED_ROWS or self.bias is not None:
            both = self(rows)
            return both[:, :half], both[:, half:]
        first, second = self.weight[:half], self.weight[half:]
        if self.least_rows is None or len(rows) < self.least_rows:
            return F.linear(rows, first), F.linear(rows, second)
        return product(rows, first, None), product(rows, second, None)


class _FusedLayer:
    """One layer's weights, and its forward pass.

    Attributes:
        index: of the layer.
        width: of an attention head.
        options: of its attention, learned from its own code.
    """

    def __init__(self, layer: Any, turns: _Turns) -> None:
        attention, feed_forward = layer.self_attn, layer.mlp
        self.index = int(attention.layer_idx)
        self.width = int(attention.head_dim)
        self.options: _Options | None = None
        self._turns = turns
        self._norms = (layer.input_layernorm, layer.post_attention_layernorm)
        self._qkv = _Product.of(attention.q_proj, attention.k_proj, attention.v_proj)
        self._out = _Product.of(attention.o_proj)
        self._gate_up = _Product.of(feed_forward.gate_proj, feed_forward.up_proj)
        self._down = _Product.of(feed_forward.down_proj)
        self._activation = feed_forward.act_fn
        self._heads = attention.q_proj.out_features // self.width
        kv_heads = attention.k_proj.out_features // self.width
        self._turned_heads = self._heads + kv_heads
        # `(heads and kv heads, width)`: norms of each head, of queries and keys together.
        self._head_norms: torch.Tensor | None = None
        if hasattr(attention, "q_norm"):
            norms, counts = (attention.q_norm, attention.k_norm), (self._heads, kv_heads)
            self._head_epsilon = norms[0].variance_epsilon
            self._head_norms = torch.cat(
                [norm.weight.expand(count, -1) for norm, count in zip(norms, counts, strict=True)]
            )

    def run(
        self, hidden: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, step: Step
    ) -> torch.Tensor:
        """Return the hidden states behind the layer.

        Args:
            hidden: `(1, tokens, width)`; not changed.
            cosines: `(1, tokens, head width)`.
            sines: the same.
            step: what attends.
        """
        assert self.options is not None
        residual = hidden[0]
        heads = self._qkv(self._normed(0, residual)).view(len(residual), -1, self.width)
        cosines, sines = self._turns.of(cosines, sines)
        turned = heads[:, : self._turned_heads]
        if self._head_norms is not None:
            turned = F.rms_norm(turned, (self.width,), None, self._head_epsilon) * self._head_norms
        # x · cos + (-x2, x1) · sin, with the sign in the sines.
        turned = torch.addcmul(turned * cosines, turned.roll(self.width // 2, -1), sines)
        seen = step.attend(
            self.index,
            turned[:, : self._heads].transpose(0, 1)[None],
            turned[:, self._heads :].transpose(0, 1)[None],
            heads[:, self._turned_heads :].transpose(0, 1)[None],
            self.options,
        )[0].flatten(1)
        wanted = None
        if isinstance(step, NarrowStep) and step.last_layer == self.index:
            wanted = step.wanted
            seen, residual = seen.index_select(0, wanted), residual.index_select(0, wanted)
        residual = self._out(seen).add_(residual)
        gates, ups = self._gate_up.halves(self._normed(1, residual))
        made = self._down(self._activation(gates).mul_(ups)).add_(residual)
        if wanted is not None:
            made = hidden.new_zeros(hidden.shape[1:]).index_copy_(0, wanted, made)
        return made[None]

    def _normed(self, which: int, rows: torch.Tensor) -> torch.Tensor:
        norm = self._norms[which]
        return F.rms_norm(rows, norm.weight.shape, norm.weight, norm.variance_epsilon)


class _Trial:
    """A layer that runs its own code and the fused one, until `settle` decides between them."""

    def __init__(self, layer: nn.Module, fused: _FusedLayer) -> None:
        self._layer = layer
        self._fused = fused
        self._own = layer.forward
        self._patched = vars(layer).get("forward")
        self._runs = 0
        self._is_same = True
        layer.forward = self._both

    def settle(self) -> bool:
        """Take the layer over if all runs were the same; return whether they were."""
        if self._is_same and self._runs == len(_CHECKED_TOKENS):
            self._layer.forward = _forward(self._fused, self._own)
            return True
        del self._layer.forward
        if self._patched is not None:
            self._layer.forward = self._patched
        return False

    def _both(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        step = current_step()
        assert isinstance(step, _Noting)
        own = self._own(hidden_states, *args, **kwargs)
        self._runs += 1
        self._fused.options = step.options.get(self._fused.index)
        try:
            self._is_same &= self._gives(own, hidden_states, step, **kwargs)
        except (RuntimeError, ValueError, TypeError, LookupError):
            # Something of another shape; its own code knows it.
            self._is_same = False
        return own

    def _gives(
        self,
        own: Any,
        hidden: torch.Tensor,
        step: Step,
        position_embeddings: Sequence[torch.Tensor] | None = None,
        **_: Any,
    ) -> bool:
        if not isinstance(position_embeddings, tuple) or not isinstance(own, torch.Tensor):
            return False
        cosines, sines = position_embeddings
        got = self._fused.run(hidden, cosines, sines, step)
        tolerance = _TOLERANCE if hidden.dtype == torch.float32 else _ROUNDED_TOLERANCE
        change = float((own - hidden).abs().max())
        return float((got - own).abs().max()) <= tolerance * change


@dataclass(slots=True, eq=False)
class _Noting(AttentionStep):
    """A step that remembers what each layer asks of attention."""

    options: dict[int, _Options] = field(default_factory=dict)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        options: _Options,
    ) -> torch.Tensor:
        """Do as `AttentionStep.attend`."""
        self.options[layer] = options
        return AttentionStep.attend(self, layer, query, key, value, options)


def _forward(fused: _FusedLayer, own: Callable[..., Any]) -> Callable[..., Any]:
    """Return the forward pass of a layer that was taken over."""

    def forward(
        hidden_states: torch.Tensor,
        *args: Any,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        step = current_step()
        # Without a step, it attends in its own way: the gates compare with that.
        if step is None or position_embeddings is None or args or torch.is_grad_enabled():
            return own(hidden_states, *args, position_embeddings=position_embeddings, **kwargs)
        return fused.run(hidden_states, *position_embeddings, step)

    return forward


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer's products are plain ones, and nobody listens to its parts."""
    parts = dict(layer.named_modules())
    linears = [part for part in parts.values() if isinstance(part, nn.Linear)]
    is_watched = any(part._forward_hooks or part._forward_pre_hooks for part in parts.values())
    qkv = [parts[f"self_attn.{name}_proj"] for name in "qkv"]
    return (
        not is_watched
        and len(linears) == 7
        and all(type(linear) in (nn.Linear, OneDnnLinear) for linear in linears)
        and len({part.bias is None for part in qkv}) == 1
        and (parts["mlp.gate_proj"].bias is None) == (parts["mlp.up_proj"].bias is None)
    )


@torch.inference_mode()
def _run_a_little(model: Any, shapes: dict[int, LayerShape], context_tokens: int) -> None:
    """Compute a chunk and single tokens, at places all over the context."""
    count = sum(_CHECKED_TOKENS)
    ids = gates.some_tokens(model, count)
    places = torch.linspace(0, context_tokens - 1, count).long()
    pool = KVPool(shapes, pages=1, page=count, dtype=model.dtype, device=model.device)
    page_ids, slots, start = torch.zeros(1, dtype=torch.int64), torch.arange(count), 0
    for tokens in _CHECKED_TOKENS:
        end = start + tokens
        is_one = tokens == 1
        step = _Noting(
            pool,
            slots[start:end],
            () if is_one else (ChunkRow(tokens, end, page_ids),),
            SingleRows(torch.tensor([end]), page_ids[None]) if is_one else None,
        )
        gates.logits_through(model, ids[start:end], places[start:end], step)
        start = end
