"""From a model and settings to KV memory and a way to run the model on it.

Knows: what is decided once, when an engine is made: how much memory, stored how, and what
attends. Does not know requests.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stemfirst_server.engine.batch import Runner
from stemfirst_server.engine.config import KVDtype
from stemfirst_server.errors import ConfigError
from stemfirst_server.kernels.choose import choose_path
from stemfirst_server.memory.quantized import kv_bytes_per_token, make_pool
from stemfirst_server.memory.size import pool_pages
from stemfirst_server.model.attention import AttentionStep
from stemfirst_server.model.cascade import best_step
from stemfirst_server.model.gates import check_kv_dtype

if TYPE_CHECKING:
    from stemfirst_server.engine.config import EngineConfig
    from stemfirst_server.engine.request import ModelInfo
    from stemfirst_server.memory.pool import KVPool, LayerShape
    from stemfirst_server.model.loading import LoadedModel

_log = logging.getLogger("stemfirst.engine")


@dataclass(frozen=True, slots=True, eq=False)
class Assembly:
    """What an engine works with.

    Attributes:
        info: the model, with `context_tokens` cut to what the pool can hold and
            `kv_bytes_per_token` as it is stored.
        pages: that requests may be given.
        runner: the model on its KV memory.
        pool: that memory.
        shapes: what each layer stores for a token.
    """

    info: ModelInfo
    pages: int
    runner: Runner
    pool: KVPool
    shapes: dict[int, LayerShape]


def assemble(loaded: LoadedModel, config: EngineConfig) -> Assembly:
    """Make the KV memory and choose how to attend.

    Raises:
        ConfigError: the pool cannot be made as asked.
        UnsupportedModelError: the model does not bear its KV in eight bits.
    """
    if config.kv_dtype is not KVDtype.AUTO:
        found = check_kv_dtype(loaded.model, loaded.shapes, config.kv_dtype)
        _log.info(
            "KV in %s moves logits by %.1e of the largest (median; %.1e at most), and %.0f %% of "
            "the best tokens stay",
            *(config.kv_dtype.value, found.median, found.largest, 100 * found.agreement),
        )
    token_bytes = kv_bytes_per_token(loaded.shapes, config.kv_dtype, model_dtype=loaded.model.dtype)
    info = replace(loaded.info, kv_bytes_per_token=token_bytes)
    pages = pool_pages(info, config)
    pool = _pool(loaded, config, pages, token_bytes)
    info = _fitting(info, pages * config.page)
    if info.is_pool_short:
        _log.warning(
            "requests have at most %d tokens, of the model's %d: the KV memory holds no more; "
            "--pool-tokens sets it",
            *(info.context_tokens, loaded.info.context_tokens),
        )
    runner = _runner(loaded, pool, config, info)
    return Assembly(info, pages, runner, pool, dict(loaded.shapes))


def with_other_weights(made: Assembly, loaded: LoadedModel, config: EngineConfig) -> Assembly:
    """Return an assembly of a model of the same shape on the same KV memory.

    Raises:
        ConfigError: it is not of the same shape.
        UnsupportedModelError: the model does not bear its KV in eight bits.
    """
    if config.kv_dtype is not KVDtype.AUTO:
        check_kv_dtype(loaded.model, loaded.shapes, config.kv_dtype)
    token_bytes = kv_bytes_per_token(loaded.shapes, config.kv_dtype, model_dtype=loaded.model.dtype)
    info = replace(loaded.info, kv_bytes_per_token=token_bytes)
    info = _fitting(info, made.pages * config.page)
    if loaded.shapes != made.shapes or replace(info, end_token_ids=()) != replace(
        made.info, end_token_ids=()
    ):
        raise ConfigError(
            f"the new weights are of another model ({info.architecture}, {info.dtype}, "
            f"{info.parameters} parameters): start the server again to serve it"
        )
    return replace(made, info=info, runner=_runner(loaded, made.pool, config, info))


def _fitting(info: ModelInfo, held_tokens: int) -> ModelInfo:
    """Return what is known of a model, with its context cut to what the pool holds."""
    is_pool_short = held_tokens < info.context_tokens
    context_tokens = min(info.context_tokens, held_tokens)
    return replace(info, context_tokens=context_tokens, is_pool_short=is_pool_short)


def _runner(loaded: LoadedModel, pool: KVPool, config: EngineConfig, info: ModelInfo) -> Runner:
    path = choose_path(loaded, pool, config, context_tokens=info.context_tokens)
    step_type = path.step_type
    if step_type is AttentionStep and config.has_cascade:
        step_type = best_step(loaded.model.device)
    return Runner(loaded.model, pool, step_type, path.recordings, loaded.narrowed_layer)


def _pool(loaded: LoadedModel, config: EngineConfig, pages: int, token_bytes: int) -> KVPool:
    try:
        return make_pool(
            loaded.shapes,
            config.kv_dtype,
            # Batches that are filled up for a recording write to the last one, nobody's.
            pages=pages + config.has_cuda_graphs,
            page=config.page,
            dtype=loaded.model.dtype,
            device=loaded.model.device,
        )
    except (MemoryError, OverflowError, ValueError, RuntimeError) as error:
        # numpy's, its limits on sizes, and torch's (out of memory on a device is a RuntimeError).
        tokens = pages * config.page
        raise ConfigError(
            f"a pool of {tokens} tokens needs {tokens * token_bytes / 2**30:.1f} GiB, which "
            "could not be allocated; lower --pool-tokens"
        ) from error
