"""What `stemfirst serve` is told reaches the engine."""

from __future__ import annotations

from dataclasses import fields

import pytest
from stemfirst_server.cli import serve
from stemfirst_server.engine.config import EngineConfig, KVDtype
from stemfirst_server.errors import ConfigError
from stemfirst_server.settings import ServeSettings


def config_of(*flags: str) -> EngineConfig:
    given = serve.make_context("serve", list(flags)).params
    return ServeSettings(**{f.name: given[f.name] for f in fields(ServeSettings)}).engine_config()


def test_without_flags_the_engine_has_its_defaults() -> None:
    assert config_of() == EngineConfig()


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        (("--speculate", "8"), {"speculate_tokens": 8}),
        (("--kv-dtype", "int8"), {"kv_dtype": KVDtype.INT8}),
        (("--kv-cache-dtype", "fp8"), {"kv_dtype": KVDtype.FP8}),
        (("--attention", "reference"), {"has_kernels": False, "has_cascade": False}),
        (("--cuda-graphs",), {"has_cuda_graphs": True}),
        (("--deterministic", "--kv-dtype", "int8"), {"is_deterministic": True, "kv_dtype": "int8"}),
        (("--no-prefix-caching", "--page", "1"), {"has_prefix_cache": False, "page": 1}),
    ],
    ids=" ".join,
)
def test_each_flag_sets_what_it_names(flags: tuple[str, ...], changed: dict[str, object]) -> None:
    assert config_of(*flags) == EngineConfig(**changed)  # type: ignore[arg-type]


def test_guesses_and_deterministic_mode_are_refused_together() -> None:
    with pytest.raises(ConfigError, match=r"leave one of them out \(speculate_tokens is 4\)"):
        config_of("--deterministic", "--speculate", "4")
