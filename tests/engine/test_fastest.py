"""Precision and threads of the CPU, chosen by measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from stemfirst_server.model import fastest
from stemfirst_server.model.fastest import fastest_dtype, fastest_threads
from stemfirst_server.model.loading import load_model


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("gain", "dtype"), [(0.9, torch.bfloat16), (1.1, torch.float32)])
def test_bfloat16_is_taken_only_where_it_is_faster(
    gain: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fastest._seconds

    def seconds(matrices: list[torch.Tensor], tokens: int) -> float:
        real(matrices, tokens)
        return gain**2 if matrices[0].dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(fastest, "_seconds", seconds)
    assert fastest_dtype(64) == dtype


def test_measuring_leaves_the_threads_as_they_were() -> None:
    torch.set_num_threads(1)
    assert fastest_dtype(64) in (torch.float32, torch.bfloat16)
    assert fastest_threads(64, torch.float32) >= 1
    assert torch.get_num_threads() == 1


def test_the_fastest_number_of_threads_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(4)
    took = {4: 1.0, 2: 0.5, 3: 0.7}
    monkeypatch.setattr(fastest, "_usable_cores", lambda: 3)
    monkeypatch.setattr(fastest, "_seconds", lambda *_: took[torch.get_num_threads()])
    assert fastest_threads(64, torch.float32) == 2
    took[2] = 0.95  # not worth it
    assert fastest_threads(64, torch.float32) == 3


def test_a_model_loads_with_what_was_measured(
    small_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "stemfirst_server.model.loading.fastest_dtype", lambda width: torch.bfloat16
    )
    loaded = load_model(str(small_folder("llama")), device="cpu", dtype="fastest", threads=0)
    assert loaded.info.dtype == "bfloat16"
    assert load_model(str(small_folder("llama")), device="cpu", threads=1).info.dtype == "float32"
    assert torch.get_num_threads() == 1
