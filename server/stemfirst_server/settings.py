"""What an operator may set: one value for each flag of `stemfirst serve`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stemfirst_server.engine.config import EngineConfig, KVDtype
from stemfirst_server.tenants import Keys, keys_of
from stemfirst_server.tiers.settings import TierSettings

GIB = 2**30


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of one server.

    Attributes:
        model: folder or hub id; None serves the demo model.
        served_names: what requests may call it; empty: the folder's or id's own name.
        host: address to listen on.
        port: 0 takes a free one.
        dtype: as `load_model` takes it.
        threads: as `load_model` takes it.
        has_one_dnn: as `load_model` takes it.
        device: as `load_model` takes it.
        context_tokens: a lower limit than the model's own, or None.
        most_output_tokens: of an answer; None: up to the end of the context.
        page: tokens in a page.
        pool_tokens: KV slots in all; None takes a share of free memory.
        kv_dtype: as `EngineConfig` takes it.
        chunk_tokens: most prompt tokens computed in one step.
        max_running: most requests that decode together.
        has_prefix_cache: False computes every prompt anew.
        speculate_tokens: most tokens of an answer guessed from its own text; 0: none.
        attention: `auto`: the fastest path that is exact here; `reference`: the plain one.
        has_cuda_graphs: replay recorded decode steps on CUDA.
        is_deterministic: a hit changes no bit of an answer; slower.
        price_per_hour: of the device, in USD; None: money is not reported.
        calibration_s: most seconds to measure prefill before the first request.
        shadow_rate: share of the requests with a hit that are computed again without the cache
            when nothing else runs, to measure how far the estimate of what it saved is off.
        most_queued: requests that may wait beside those that run; more are told to come later.
        api_keys: accepted keys, each a tenant of its own.
        admin_keys: keys of the operator's routes.
        keys_file: TOML file of tenants and their hashed keys, or None. Without any key at all
            everybody may ask, as one tenant.
        shutdown_s: seconds that SIGTERM leaves to running requests.
        state_dir: folder for what outlives the process; None: nothing does.
        write_timeout_s: seconds after which a stream that nobody reads is ended.
        tool_call_parser: how the model spells calls of tools; None: as its chat template says.
        host_cache_gib: memory of the host for KV that the device gives up; None: none, or what
            a disk cache needs.
        disk_cache: folder for KV that the host gives up, this server's alone; None: none.
        disk_cache_gib: most that the folder holds.
        logs_text: prompts and answers stand in the log.
    """

    model: str | None = None
    served_names: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    dtype: str = "auto"
    threads: int | None = None
    has_one_dnn: bool = True
    device: str = "auto"
    context_tokens: int | None = None
    most_output_tokens: int | None = None
    page: int = 16
    pool_tokens: int | None = None
    kv_dtype: str = "auto"
    chunk_tokens: int = 512
    max_running: int = 64
    has_prefix_cache: bool = True
    speculate_tokens: int = 0
    attention: str = "auto"
    has_cuda_graphs: bool = False
    is_deterministic: bool = False
    price_per_hour: float | None = None
    calibration_s: float = 6.0
    shadow_rate: float = 0.0
    most_queued: int = 256
    api_keys: tuple[str, ...] = ()
    admin_keys: tuple[str, ...] = ()
    keys_file: Path | None = None
    shutdown_s: float = 30.0
    tool_call_parser: str | None = None
    state_dir: Path | None = None
    write_timeout_s: float = 60.0
    host_cache_gib: float | None = None
    disk_cache: Path | None = None
    disk_cache_gib: float = 8.0
    logs_text: bool = False

    def tiers(self) -> TierSettings:
        """Return the memory behind the device's.

        Raises:
            ConfigError: a size is negative.
        """
        return TierSettings(
            None if self.host_cache_gib is None else int(self.host_cache_gib * GIB),
            self.disk_cache,
            int(self.disk_cache_gib * GIB),
        )

    def keys(self) -> Keys:
        """Return who may ask.

        Raises:
            ConfigError: the key file cannot be used.
        """
        return keys_of(self.api_keys, self.admin_keys, self.keys_file)

    def engine_config(self) -> EngineConfig:
        """Return the engine's share of the settings.

        Raises:
            ConfigError: a value is out of range.
        """
        return EngineConfig(
            page=self.page,
            pool_tokens=self.pool_tokens,
            kv_dtype=KVDtype(self.kv_dtype),
            chunk_tokens=self.chunk_tokens,
            max_running=self.max_running,
            has_prefix_cache=self.has_prefix_cache,
            speculate_tokens=self.speculate_tokens,
            has_kernels=self.attention == "auto",
            has_cascade=self.attention == "auto",
            has_cuda_graphs=self.has_cuda_graphs,
            is_deterministic=self.is_deterministic,
        )
