"""Small models with random weights as real checkpoint folders, and engines over them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.model.loading import LoadedModel, load_model
from transformers import AutoConfig, AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parent))

from architectures import SERVED, SMALL


@pytest.fixture(autouse=True, scope="session")
def _quiet_and_on_one_thread() -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


@pytest.fixture(scope="session")
def save_small(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a small checkpoint and returns its folder."""

    def save(model_type: str, **changes: Any) -> Path:
        config = AutoConfig.for_model(model_type, **(SMALL | changes))
        torch.manual_seed(5)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        folder = tmp_path_factory.mktemp(model_type)
        model.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def small_folder(save_small: Callable[..., Path]) -> Callable[[str], Path]:
    """Return a function from an architecture's name to its folder, written once."""
    folders: dict[str, Path] = {}

    def folder(model_type: str) -> Path:
        if model_type not in folders:
            folders[model_type] = save_small(model_type, **SERVED[model_type])
        return folders[model_type]

    return folder


@pytest.fixture(scope="session")
def load_small(small_folder: Callable[[str], Path]) -> Callable[[str], LoadedModel]:
    """Return a function from an architecture's name to the model as the server loads it."""
    loaded: dict[str, LoadedModel] = {}

    def load(model_type: str) -> LoadedModel:
        if model_type not in loaded:
            loaded[model_type] = load_model(str(small_folder(model_type)), device="cpu")
        return loaded[model_type]

    return load


@pytest.fixture
def start_engine(
    load_small: Callable[[str], LoadedModel],
) -> Iterator[Callable[..., Engine]]:
    """Return a function that starts an engine; afterwards every page must have its owner."""
    engines: list[Engine] = []

    def start(model_type: str = "llama", **settings: Any) -> Engine:
        config = EngineConfig(**({"is_checked": True, "pool_tokens": 4096} | settings))
        engine = Engine(load_small(model_type), config)
        engine.start()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        engine.check()
        stats = engine.stats()
        assert stats.pages_free + stats.pages_held + stats.pages_cached == stats.pages_total
        if not (stats.running or stats.waiting):
            assert stats.pages_held == 0
        assert engine.stop(timeout=20)
        engine.check()
        assert engine.stats().pages_held == 0
        engine.flush()
        assert engine.stats().pages_total == engine._cache.free_pages  # nothing is left locked
