"""The engine's settings.

Knows: ranges and defaults. Does not know the model: what depends on it (`None` here) is decided
when the engine is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stemfirst_server.errors import ConfigError


class KVDtype(StrEnum):
    """What keys and values are stored in."""

    AUTO = "auto"
    """As the model computes."""
    INT8 = "int8"
    FP8 = "fp8"
    """Four bits of exponent and three of mantissa (e4m3)."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How much the engine may hold and do at once.

    Attributes:
        page: tokens a page; a power of two from 1. Matches are floored to whole pages.
        pool_tokens: KV slots in all, rounded down to pages; None takes a share of free memory.
        kv_dtype: eight bits hold two to four times the tokens in the same memory, with an error.
        chunk_tokens: most prompt tokens computed in one step, over all requests.
        max_running: most requests that decode together.
        has_prefix_cache: False never matches and never inserts.
        has_worth_eviction: what is evicted first is what saves least; False: what was used least
            recently.
        has_kernels: False keeps to the reference attention on CUDA too.
        has_cuda_graphs: True replays recorded decode steps on CUDA, each verified at start;
            off until it was measured on a GPU.
        has_cascade: False reads a prefix once for each request on the CPU too.
        speculate_tokens: most tokens that a decoding request guesses from its own text, to be
            computed and checked in one step; 0 guesses none. Answers stay what they were.
        is_deterministic: every request's numbers are the same bit for bit, cold and warm, alone
            and among others, in any precision: chunks and matches are cut at multiples of
            `chunk_tokens`, each is computed alone, and generated tokens are not cached.
        is_checked: `check()` after every step; for tests.

    Raises:
        ConfigError: a value is out of range.
    """

    page: int = 16
    pool_tokens: int | None = None
    kv_dtype: KVDtype = KVDtype.AUTO
    chunk_tokens: int = 512
    max_running: int = 64
    has_prefix_cache: bool = True
    has_worth_eviction: bool = True
    has_kernels: bool = True
    has_cuda_graphs: bool = False
    has_cascade: bool = True
    speculate_tokens: int = 0
    is_deterministic: bool = False
    is_checked: bool = False

    def __post_init__(self) -> None:
        if self.page < 1 or self.page & (self.page - 1):
            raise ConfigError(f"page must be a power of two from 1, got {self.page}")
        if self.pool_tokens is not None and self.pool_tokens < self.page:
            raise ConfigError(
                f"pool_tokens must hold at least one page of {self.page} tokens, "
                f"got {self.pool_tokens}"
            )
        if self.chunk_tokens < 1:
            raise ConfigError(f"chunk_tokens must be at least 1, got {self.chunk_tokens}")
        if self.max_running < 1:
            raise ConfigError(f"max_running must be at least 1, got {self.max_running}")
        if self.speculate_tokens < 0:
            raise ConfigError(f"speculate_tokens must be at least 0, got {self.speculate_tokens}")
        if self.is_deterministic and self.speculate_tokens:
            raise ConfigError(
                "deterministic mode computes every token alone, and speculation several at once: "
                f"leave one of them out (speculate_tokens is {self.speculate_tokens})"
            )
        if self.is_deterministic and self.chunk_tokens % self.page:
            raise ConfigError(
                "in deterministic mode chunk_tokens must be a multiple of the page of "
                f"{self.page} tokens, got {self.chunk_tokens}"
            )
