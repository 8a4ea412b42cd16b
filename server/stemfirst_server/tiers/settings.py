"""How much slower memory an operator gives. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stemfirst_server.errors import ConfigError


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
