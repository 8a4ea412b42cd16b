"""From settings to tiers: how much, where, and under which name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from stemfirst_server.errors import ConfigError
from stemfirst_server.tiers.disk import DiskStore
from stemfirst_server.tiers.fingerprint import fingerprint
from stemfirst_server.tiers.host import HostMemory, page_bytes
from stemfirst_server.tiers.tiers import Tiers

if TYPE_CHECKING:
    from stemfirst_server.engine.config import EngineConfig
    from stemfirst_server.memory.pool import KVPool
    from stemfirst_server.tiers.settings import TierSettings

STAGING_BYTES = 512 * 2**20
"""Host memory of a disk cache for which nobody set any: what is read and written lies there."""


def open_tiers(
    model: torch.nn.Module, pool: KVPool, config: EngineConfig, settings: TierSettings
) -> Tiers | None:
    """Return the tiers that were asked for, with what an earlier process left; None for none.

    Raises:
        ConfigError: the folder cannot be used, or the memory cannot be had.
    """
    if not config.has_prefix_cache or not (settings.host_bytes or settings.disk_folder):
        return None
    each = page_bytes(pool)
    host_bytes = settings.host_bytes
    if host_bytes is None:
        host_bytes = min(STAGING_BYTES, pool.pages * each)
    slots = host_bytes // each
    if slots < 1:
        raise ConfigError(
            f"the host cache must hold at least one page of {each} bytes, got {host_bytes} bytes"
        )
    try:
        host = HostMemory(pool, slots)
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        raise ConfigError(
            f"the host cache needs {host_bytes / 2**30:.1f} GiB, which could not be allocated"
        ) from error
    disk = None
    if settings.disk_folder is not None:
        name = fingerprint(model, pool, config)
        disk = DiskStore(settings.disk_folder, name, settings.disk_bytes)
    return Tiers(config.page, host, disk)
