"""Three gates that a model must pass before it is served, because its own flags lie.

Knows: what our attention can do, and how to see that a model uses it as we think. Does not know
files or requests. Two families say that they support any attention backend and are silently
wrong with it; others say so and never call it. So a model is asked, run and compared:

1. its layers are of kinds that attention alone can serve;
2. in a probe, every layer calls us exactly once;
3. its logits through our paged attention, in chunks over scattered pages, equal those of its own
   eager attention, at two lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from stemfirst_server.engine.config import KVDtype
from stemfirst_server.errors import UnsupportedModelError
from stemfirst_server.memory.pool import LayerShape
from stemfirst_server.memory.quantized import make_pool
from stemfirst_server.memory.size import free_bytes
from stemfirst_server.model.attention import (
    ATTENTION_NAME,
    AttentionStep,
    ChunkRow,
    Recorder,
    SingleRows,
    Step,
    use_step,
)
from stemfirst_server.model.context import context_of

if TYPE_CHECKING:
    from collections.abc import Sequence

SUPPORTED_LAYER_TYPES = frozenset({"full_attention", "sliding_attention"})
# The short run fits in a page, the long one crosses pages and the windows of small models.
_SELF_TEST_TOKENS = (7, 75)
_SELF_TEST_PAGE = 4
# Shares of the largest logit. In float32 sound models stay below 1e-5, unsound ones come near 1;
# in half precision, or where inputs are rounded to eight bits on the way, rounding alone reaches
# 0.1, and more where it sends a token to other experts.
_TOLERANCE = 1e-3
_ROUNDED_TOLERANCE = 0.15
_WIDENING_SHARE = 0.7
# Medians over positions: a rounding that sends a token to other experts says nothing of the rest.
# Families with small random weights reach 0.024 and 0.15, exaggerated by their randomness.
_KV_TOLERANCE = {KVDtype.INT8: 0.05, KVDtype.FP8: 0.2}
_HALVES = (torch.float16, torch.bfloat16)


def check_layer_types(config: Any, model_class: Any) -> None:
    """Gate 1, before any weight is read.

    Args:
        config: the model's configuration.
        model_class: the class that would run it.

    Raises:
        UnsupportedModelError: it has layers that are not attention, or of another kind.
    """
    text = config.get_text_config()
    name = model_class.__name__
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"{name} has an encoder, and only decoder-only models can be served; "
            "choose a causal language model"
        )
    layer_types = getattr(text, "layer_types", None) or ()
    foreign = sorted(set(layer_types) - SUPPORTED_LAYER_TYPES)
    if foreign:
        raise UnsupportedModelError(
            f"{name} has layers of type {', '.join(foreign)}, whose state this server cannot "
            "cache exactly; serve a model with full or sliding-window attention only"
        )


def use_our_attention(model: Any) -> None:
    """Make a model attend through us.

    Some classes refuse by a flag, and a few of those would work: they look the function up by
    the configuration's name like all others. So the name is set, and the probe tells.
    """
    try:
        model.set_attn_implementation(ATTENTION_NAME)
    except (ValueError, NotImplementedError, KeyError):
        model.config.get_text_config()._attn_implementation = ATTENTION_NAME


def probe(model: Any) -> dict[int, LayerShape]:
    """Gate 2: run a few tokens and return what each layer stores for a token.

    Raises:
        UnsupportedModelError: a layer did not call us exactly once.
    """
    recorder = Recorder()
    ids = some_tokens(model, 5)
    name = type(model).__name__
    try:
        logits_through(model, ids, torch.arange(len(ids), device=ids.device), recorder)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        # The model's own code, called in a way that it was perhaps not written for.
        raise UnsupportedModelError(
            f"{name} cannot run on paged attention ({type(error).__name__} in its own code); "
            "serve a model whose attention goes through transformers' AttentionInterface"
        ) from error
    layers = int(model.config.get_text_config().num_hidden_layers)
    called = sorted(layer for layer, count in recorder.calls.items() if count == 1)
    if called != list(range(layers)):
        raise UnsupportedModelError(
            f"{name} has {layers} layers and {len(called)} of them used the replaced attention, "
            "so part of its state would never reach the cache; serve a model whose every layer "
            "goes through transformers' AttentionInterface"
        )
    return {layer: LayerShape(*recorder.shapes[layer]) for layer in called}


def self_test(model: Any, shapes: dict[int, LayerShape]) -> float:
    """Gate 3: compare with the model's own eager attention; return the largest relative error.

    It looks for a wrong structure, not for rounding, so weights in half precision are widened
    meanwhile (which loses nothing) if memory allows; otherwise the tolerance is wider. So it is for
    quantised weights, whose products may round their inputs too.

    Raises:
        UnsupportedModelError: the logits differ by more than rounding explains.
    """
    if getattr(model, "hf_quantizer", None) is not None:
        return _compare(model, shapes, _ROUNDED_TOLERANCE)
    halves = [t for t in (*model.parameters(), *model.buffers()) if t.dtype in _HALVES]
    # Twice the bytes, and the old and new copy of one tensor at a time.
    extra_bytes = sum(t.nbytes for t in halves) + 2 * max((t.nbytes for t in halves), default=0)
    if not halves or extra_bytes > free_bytes(str(model.device)) * _WIDENING_SHARE:
        return _compare(model, shapes, _ROUNDED_TOLERANCE if halves else _TOLERANCE)
    dtypes = [t.dtype for t in halves]
    try:
        for tensor in halves:
            tensor.data = tensor.data.float()
        return _compare(model, shapes, _TOLERANCE)
    finally:
        for tensor, dtype in zip(halves, dtypes, strict=True):
            tensor.data = tensor.data.to(dtype)


@dataclass(frozen=True, slots=True)
class KVError:
    """What storing KV in eight bits does to logits.

    Attributes:
        median: over positions, of the largest difference as a share of the largest logit.
        largest: of all positions.
        agreement: share of positions whose best token stays the best.
    """

    median: float
    largest: float
    agreement: float


def check_kv_dtype(model: Any, shapes: dict[int, LayerShape], kv_dtype: KVDtype) -> KVError:
    """Compare KV in eight bits with KV as the model computes it.

    Raises:
        UnsupportedModelError: the logits differ by more than eight bits should bring.
    """
    ids = some_tokens(model, _lengths(model)[-1])
    expected = _paged_logits(model, ids, shapes)
    got = _paged_logits(model, ids, shapes, kv_dtype)
    scale = max(1e-6, float(expected.abs().max()))
    errors = (got - expected).abs().amax(-1) / scale
    found = KVError(
        median=float(errors.median()),
        largest=float(errors.max()),
        agreement=float((got.argmax(-1) == expected.argmax(-1)).float().mean()),
    )
    if not found.median <= _KV_TOLERANCE[kv_dtype]:  # also if it is NaN
        raise UnsupportedModelError(
            f"{type(model).__name__} does not bear its KV in {kv_dtype.value}: its logits move by "
            f"{found.median:.2g} of the largest, and {_KV_TOLERANCE[kv_dtype]:g} is the limit; "
            "serve it with --kv-dtype auto"
        )
    return found


def _compare(model: Any, shapes: dict[int, LayerShape], tolerance: float) -> float:
    worst = 0.0
    for length in _lengths(model):
        ids = some_tokens(model, length)
        expected = _eager_logits(model, ids)
        if not expected.isfinite().all():
            raise UnsupportedModelError(
                f"{type(model).__name__} gives logits that are not finite by its own code, so "
                "these weights are damaged; download the model again"
            )
        got = _paged_logits(model, ids, shapes)
        scale = max(1e-6, float(expected.abs().max()))
        error = float((got - expected).abs().max()) / scale
        if not error <= tolerance:  # also if it is NaN
            raise UnsupportedModelError(
                f"{type(model).__name__} gives other logits through paged attention than through "
                f"its own (off by {error:.2g} of the largest, at {length} tokens), so its answers "
                "would be silently wrong; serve another model"
            )
        worst = max(worst, error)
    return worst


def _lengths(model: Any) -> Sequence[int]:
    """Return the lengths to try: learned positions end where the context does."""
    most = context_of(model.config).tokens
    return sorted({min(length, most) for length in _SELF_TEST_TOKENS})


def some_tokens(model: Any, count: int) -> torch.Tensor:
    """Return `(count,)` distinct-looking ordinary ids, the same ones each time."""
    vocab = int(model.config.get_text_config().vocab_size)
    generator = torch.Generator().manual_seed(count)
    # The upper half: added tokens of a multimodal model sit at the end, control ones in front.
    low, high = vocab // 4, max(vocab // 4 + 1, vocab // 2)
    return torch.randint(low, high, (count,), generator=generator).to(model.device)


@torch.inference_mode()
def logits_through(
    model: Any, ids: torch.Tensor, positions: torch.Tensor, step: Step
) -> torch.Tensor:
    """Return float32 logits `(tokens, vocab)` through our attention."""
    use_our_attention(model)
    with use_step(step):
        out = model(
            input_ids=ids[None],
            position_ids=positions[None],
            attention_mask=None,
            past_key_values=None,
            use_cache=False,
        )
    logits: torch.Tensor = out.logits[0]
    return logits.float()


@torch.inference_mode()
def _eager_logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    model.set_attn_implementation("eager")
    try:
        logits: torch.Tensor = model(input_ids=ids[None], use_cache=False).logits[0]
        return logits.float()
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        # Of the device's memory, say what it is.
        if isinstance(error, torch.OutOfMemoryError):
            raise
        what = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:120]}"
        raise UnsupportedModelError(
            f"{type(model).__name__} does not run by its own code ({what}); its config.json does "
            "not fit its weights or this version of transformers, so serve another model"
        ) from error
    finally:
        use_our_attention(model)


def _paged_logits(
    model: Any,
    ids: torch.Tensor,
    shapes: dict[int, LayerShape],
    kv_dtype: KVDtype = KVDtype.AUTO,
) -> torch.Tensor:
    """Return logits computed as the engine does: chunk, chunk, then a single token."""
    count, device, page = len(ids), ids.device, _SELF_TEST_PAGE
    pages = -(-count // page)
    pool = make_pool(shapes, kv_dtype, pages=pages, page=page, dtype=model.dtype, device=device)
    page_ids = torch.randperm(pages, generator=torch.Generator().manual_seed(1)).to(device)
    position = torch.arange(count, device=device)
    slots = page_ids[position // page] * page + position % page
    parts: list[torch.Tensor] = []
    for start, end in _cuts(count):
        chunk = ChunkRow(new_tokens=end - start, kv_tokens=end, page_ids=page_ids)
        single = SingleRows(torch.tensor([end], device=device), page_ids[None, : -(-end // page)])
        is_single = end - start == 1
        step = AttentionStep(
            pool,
            slots[start:end],
            chunks=() if is_single else (chunk,),
            singles=single if is_single else None,
        )
        parts.append(logits_through(model, ids[start:end], position[start:end], step))
    return torch.cat(parts)


def _cuts(count: int) -> Sequence[tuple[int, int]]:
    third = count // 3
    return ((0, third), (third, count - 1), (count - 1, count))
