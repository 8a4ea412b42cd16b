"""What KV depends on, as one name: other weights never find it.

Knows models; does not know tiers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
import xxhash

if TYPE_CHECKING:
    from stemfirst_server.engine.config import EngineConfig
    from stemfirst_server.memory.pool import KVPool

_STEP_NUMBERS = 2**24


def fingerprint(model: torch.nn.Module, pool: KVPool, config: EngineConfig) -> str:
    """Return 32 hex characters that stand for weights, configuration and the way to compute.

    Every byte of the weights counts: a second or two for 10 GB. So does every setting of the
    model, since positions and norms make other KV of the same weights; where it lies does not.
    """
    total = xxhash.xxh3_128()
    settings = json.loads(model.config.to_json_string(use_diff=False))  # type: ignore[operator,union-attr]
    total.update(json.dumps(_without_names(settings), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().contiguous().flatten()
        for start in range(0, len(flat), _STEP_NUMBERS):
            part = flat[start : start + _STEP_NUMBERS].to("cpu").contiguous()
            total.update(part.view(torch.uint8).numpy().data)
    device = pool.tensors()[0].device.type
    shapes = [(str(tensor.dtype), tuple(tensor.shape[1:])) for tensor in pool.tensors()]
    # int8 and fp8 are both bytes and scales, and mean other numbers.
    total.update(config.kv_dtype.encode())
    # Another build or device computes other bits: no wrong answer, but not the same one either.
    total.update(f"{device} {torch.__version__} {shapes} {config.page}".encode())
    total.update(f"{config.is_deterministic} {config.chunk_tokens}".encode())
    return total.hexdigest()


def _without_names(settings: Any) -> Any:
    """Return a configuration, and those within it, without the paths that they came from."""
    if isinstance(settings, dict):
        return {
            key: _without_names(value) for key, value in settings.items() if key != "_name_or_path"
        }
    if isinstance(settings, list):
        return [_without_names(value) for value in settings]
    return settings
