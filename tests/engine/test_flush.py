"""Forgetting everything, in every tier, beside requests and a disk that takes its time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.model.loading import LoadedModel, load_model
from stemfirst_server.tiers.block import Block
from stemfirst_server.tiers.disk import DiskStore
from stemfirst_server.tiers.settings import TierSettings
from stemfirst_server.tiers.tiers import Tiers

MIB = 2**20


class Tiered:
    """An engine of 512 tokens with a host and a disk behind it."""

    def __init__(self, loaded: LoadedModel, folder: Path) -> None:
        config = EngineConfig(is_checked=True, pool_tokens=512, page=16)
        self.engine = Engine(loaded, config, TierSettings(4 * MIB, folder, 64 * MIB))
        self.engine.start()
        self.count = 0

    @property
    def tiers(self) -> Tiers:
        assert self.engine.tiers is not None
        return self.engine.tiers

    def cached_tokens(self, seed: int) -> int:
        """Ask a prompt of 200 tokens."""
        self.count += 1
        tokens = token_array([random.Random(seed).randrange(3, 60) for _ in range(200)])
        params = SamplingParams(max_tokens=2, temperature=0.0, ignore_eos=True)
        self.tiers.prefetch("", tokens.tobytes())
        asked = self.engine.submit(GenerationRequest(str(self.count), tokens, params))
        return asked.result(timeout=60).finish.report.cached_tokens

    def push_out(self) -> None:
        for seed in range(100, 104):
            self.cached_tokens(seed)


@pytest.fixture
def tiered(load_small: Callable[[str], LoadedModel], tmp_path: Path) -> Iterator[Tiered]:
    made = Tiered(load_small("llama"), tmp_path)
    yield made
    made.engine.check()
    made.tiers.check()
    assert made.engine.stop(timeout=20)
    assert made.tiers._disk is not None
    made.tiers._disk.close()


def test_no_step_finds_one_tier_flushed_and_another_not(
    tiered: Tiered, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiered.cached_tokens(1)
    tiered.push_out()
    found: list[int] = []
    first = tiered.engine._between_steps

    def then_ask(run: Callable[[], Any]) -> Any:
        done = first(run)
        found.append(tiered.cached_tokens(1))
        return done

    monkeypatch.setattr(tiered.engine, "_between_steps", then_ask)
    tiered.engine.flush()
    assert found == [0]


def test_what_waits_for_the_disk_is_not_written_once_it_is_forgotten(
    tiered: Tiered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tiered.tiers._disk
    assert disk is not None
    began, goes_on, written = threading.Event(), threading.Event(), []
    write = disk.write

    def slowly(block: Block, *values: Any) -> Any:
        written.append(block)
        began.set()
        assert goes_on.wait(60)
        return write(block, *values)

    monkeypatch.setattr(disk, "write", slowly)
    for seed in range(8):
        tiered.cached_tokens(seed)
    assert began.wait(60)
    assert tiered.tiers._to_write.qsize()
    tiered.tiers.forget()
    goes_on.set()
    assert tiered.tiers.settle(60)
    assert len(written) == 1
    tiered.tiers.clear_disk()
    assert not list(tmp_path.glob("*/*.safetensors"))
    assert disk.files == 0


def test_a_file_that_is_flushed_before_it_is_there_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DiskStore(tmp_path, "weights", MIB)
    block = Block("", token_array(range(16)).tobytes(), 0, 1)
    rename = Path.replace

    def after_a_flush(self: Path, target: Path) -> Path:
        assert store.flush() == 1
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", after_a_flush)
        assert store.write(block, (torch.ones(1, 16, 2),)) is None
    assert not list(tmp_path.glob("*/*.safetensors"))
    store.check()
    assert store.write(block, (torch.ones(1, 16, 2),)) is not None
    assert store.files == 1
    store.close()


def test_a_reload_has_the_engines_thread_wait_for_no_disk(
    tiered: Tiered, small_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = load_model(str(small_folder("llama")), device="cpu")
    with torch.no_grad():
        for parameter in others.model.parameters():
            parameter.mul_(1.1)
    waiting: list[str] = []
    settle, place_of = tiered.tiers.settle, tiered.tiers.place_of

    def settled(*values: float) -> bool:
        waiting.append(threading.current_thread().name)
        return settle(*values)

    def place(fingerprint_of: Callable[[], str]) -> Any:
        waiting.append(threading.current_thread().name)
        return place_of(fingerprint_of)

    monkeypatch.setattr(tiered.tiers, "settle", settled)
    monkeypatch.setattr(tiered.tiers, "place_of", place)
    tiered.cached_tokens(1)
    tiered.push_out()
    assert tiered.engine.reload(others) > 0
    assert len(waiting) == 2
    assert "stemfirst-engine" not in waiting
    assert tiered.cached_tokens(1) == 0


def test_what_nobody_waits_for_is_logged_when_it_fails(
    tiered: Tiered, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*values: Any) -> int:
        raise RuntimeError("no page may go")

    monkeypatch.setattr(tiered.engine._cache, "trim", breaks)
    tiered.engine.trim(lambda space: True, 0)
    tiered.engine.check()  # behind it in the engine's thread
    assert "no page may go" in caplog.text


def test_what_is_no_mere_exception_ends_the_engine_and_nobody_hangs(
    load_small: Callable[[str], LoadedModel],
) -> None:
    class OutOfEverythingError(BaseException):
        pass

    def breaks() -> None:
        raise OutOfEverythingError

    engine = Engine(load_small("llama"), EngineConfig(pool_tokens=512))
    engine.start()
    with pytest.raises(OutOfEverythingError):
        engine._between_steps(breaks)
    deadline = time.monotonic() + 20
    while engine.is_running:
        assert time.monotonic() < deadline
    assert engine.stop(timeout=20)
