"""What KV depends on, as one name: other weights never find it.

Knows models; does not know tiers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import xxhash

if TYPE_CHECKING:
    from stemfirst_server.engine.config import EngineConfig
    from stemfirst_server.memory.pool import KVPool

_STEP_NUMBERS = 2**24


def fingerprint(model: torch.nn.Module, pool: KVPool, config: EngineConfig) -> str:
    """Return 32 hex characters that stand for weights, shapes and the way to compute.

    Every byte of the weights counts: a second or two for 10 GB.
    """
    total = xxhash.xxh3_128()
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
