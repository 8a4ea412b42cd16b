"""SGLang's radix caches, imported with as little of SGLang as goes, in an environment of its own.

Knows: what that import asks for and does not need on a CPU: torchvision, whose operators want a
CUDA build of torch, and the pools of KV memory. Made with sglang 0.5.23 and torch 2.13 for CPU:

    python -m venv v
    v/bin/pip install torch==2.13.0 numpy transformers fastapi uvicorn aiohttp ipython
    v/bin/pip install orjson pybase64 requests psutil pydantic pyzmq setproctitle msgspec
    v/bin/pip install prometheus_client pillow einops sentencepiece loguru gguf dill
    v/bin/pip install --no-deps sglang==0.5.23 triton==3.9.0 apache-tvm-ffi==0.1.11
    v/bin/pip install --no-deps compressed-tensors
"""

from __future__ import annotations

import sys
from unittest.mock import MagicMock

from transformers.utils import is_torchvision_available

assert not is_torchvision_available(), "asked once and remembered, before the stand-in is there"
_NOT_WANTED = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.transforms.v2",
    "torchvision.transforms.v2.functional",
    "torchvision.io",
    "sglang.srt.mem_cache.memory_pool",
)
for _name in _NOT_WANTED:
    sys.modules[_name] = MagicMock(__spec__=None)

from sglang.srt.mem_cache.base_prefix_cache import (  # noqa: E402
    EvictParams,
    InsertParams,
    MatchPrefixParams,
)
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey  # noqa: E402
from sglang.srt.mem_cache.rust_tree_core import adapter  # noqa: E402
from sglang.srt.mem_cache.rust_tree_core.extension import bindings  # noqa: E402

__all__ = [
    "EvictParams",
    "InsertParams",
    "MatchPrefixParams",
    "RadixCache",
    "RadixKey",
    "adapter",
    "bindings",
]
