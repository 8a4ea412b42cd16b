"""How many pages the KV pool gets when nobody says.

Knows: free memory and the size of a token's KV. Does not know what will be asked.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from stemfirst_server.errors import ConfigError

if TYPE_CHECKING:
    from stemfirst_server.engine.config import EngineConfig
    from stemfirst_server.engine.request import ModelInfo

# The rest of a GPU's memory is for activations and for other processes.
_CUDA_SHARE = 0.85
# On a CPU the memory belongs to others too, and zeroed pages cost nothing until they are used.
_CPU_SHARE = 0.25
_CPU_MOST_BYTES = 4 * 2**30
# Enough for many contexts; more would only be slower to look through.
_MOST_CONTEXTS = 64


def pool_pages(info: ModelInfo, config: EngineConfig) -> int:
    """Return the number of pages to allocate.

    Raises:
        ConfigError: free memory does not hold even a few pages.
    """
    if config.pool_tokens is not None:
        return config.pool_tokens // config.page
    most_tokens = info.context_tokens * _MOST_CONTEXTS
    tokens = min(most_tokens, _budget_bytes(info.device) // info.kv_bytes_per_token)
    pages = tokens // config.page
    if pages < 4:
        raise ConfigError(
            f"free memory on {info.device} holds {tokens} tokens of KV, which is too little; "
            "choose a smaller model or set --pool-tokens"
        )
    return pages


def free_bytes(device: str) -> int:
    """Return the free memory of a device, as its driver or the system tells it."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(torch.device(device))
        return int(free)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        # Not every system says; this much is there on any that runs torch.
        return 8 * 2**30


def _budget_bytes(device: str) -> int:
    if device.startswith("cuda"):
        return int(free_bytes(device) * _CUDA_SHARE)
    return min(int(free_bytes(device) * _CPU_SHARE), _CPU_MOST_BYTES)
