"""From settings to tiers: how much, where, and under which name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
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

STAGING_BYTES = 512 * 2**20
"""Host memory of a disk cache for which nobody set any: what is read and written lies there."""


@dataclass(frozen=True, slots=True)
class TierSettings:
    """Memory behind the device's.

    Attributes:
        host_bytes: of the host's memory; None: none, or what a disk needs.
        disk_folder: this server's alone; None for no disk.
        disk_bytes: of its files.

    Raises:
        ConfigError: a number is out of range.
    """

    host_bytes: int | None = None
    disk_folder: Path | None = None
    disk_bytes: int = 8 * 2**30

    def __post_init__(self) -> None:
        for name, value in (("host", self.host_bytes), ("disk", self.disk_bytes)):
            if value is not None and value < 0:
                raise ConfigError(f"the {name} cache must be at least 0 bytes, got {value}")


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
