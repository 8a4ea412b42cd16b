"""Linear layers that oneDNN computes give the numbers that torch's own give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.model import linear
from stemfirst_server.model.linear import OneDnnLinear, faster_from, take_over
from stemfirst_server.model.loading import load_model
from torch import nn

needs_one_dnn = pytest.mark.skipif(linear._one_dnn is None, reason="torch has no oneDNN here")


def model(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 64, bias=False)).to(dtype)


@pytest.fixture
def always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_LEAST_GAIN", 0.0)


@needs_one_dnn
@pytest.mark.usefixtures("always_faster")
@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (1, 300, 64), (2, 5, 64)], ids=str)
def test_the_numbers_are_those_of_torchs_own_product(shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    plain = model()
    taken = model()
    taken.load_state_dict(plain.state_dict())
    assert take_over(taken) == 1
    assert [type(layer) for layer in taken] == [OneDnnLinear, nn.GELU, OneDnnLinear]
    hidden = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(taken(hidden), plain(hidden), rtol=1e-5, atol=1e-5)


def test_few_shapes_are_computed_and_none_is_much_larger_than_asked() -> None:
    shapes = {linear.padded_rows(rows) for rows in range(1, 4097)}
    assert len(shapes) < 80
    for rows in range(1, 4097):
        assert rows <= linear.padded_rows(rows) <= max(rows + 3, rows * 9 // 8)


def test_where_it_is_not_faster_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_LEAST_GAIN", float("inf"))
    layers = model()
    assert take_over(layers) is None
    assert type(layers[0]) is nn.Linear


def test_small_products_stay_with_torch_if_only_large_ones_gain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([(2.0, 1.0), (2.0, 1.0), (1.0, 1.0)])
    monkeypatch.setattr(linear, "_seconds", lambda *_: next(times))
    monkeypatch.setattr(linear, "_one_dnn", lambda hidden, weight, *_: hidden @ weight.T)
    assert faster_from([torch.ones(8, 8)]) == 64


def test_few_rows_are_measured_with_weights_that_no_cache_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = [torch.ones(4 + index, 8) for index in range(5)]
    monkeypatch.setattr(linear, "_COLD_BYTES", sum(weight.nbytes for weight in weights[:4]))
    read: list[tuple[int, int]] = []

    def seconds(plain: Callable[[], list[torch.Tensor]], _: object) -> tuple[float, float]:
        products = plain()
        read.append((len(products[0]), len(products)))
        return 2.0, 1.0

    monkeypatch.setattr(linear, "_seconds", seconds)
    monkeypatch.setattr(linear, "_one_dnn", lambda hidden, weight, *_: hidden @ weight.T)
    assert faster_from(weights) == 1
    assert read == [(256, 1), (64, 1), (16, 4), (4, 4), (1, 4)]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda hidden, weight, *_: hidden @ weight.T + 1, id="other numbers"),
        pytest.param(lambda *_: torch.ones(2) @ torch.ones(3), id="raises"),
    ],
)
@pytest.mark.usefixtures("always_faster")
def test_what_it_cannot_do_stays_with_torch(
    broken: Callable[..., torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "_one_dnn", broken)
    layers = model()
    assert take_over(layers) is None
    assert type(layers[0]) is nn.Linear


@pytest.mark.usefixtures("always_faster")
def test_half_precision_and_other_libraries_layers_are_left_alone() -> None:
    class Quantised(nn.Linear):
        pass

    assert take_over(model(torch.bfloat16)) is None
    other = nn.Sequential(Quantised(8, 8))
    assert take_over(other) is None
    assert type(other[0]) is Quantised


@needs_one_dnn
@pytest.mark.usefixtures("always_faster")
def test_a_model_passes_the_gates_and_answers_as_without_it(
    small_folder: Callable[[str], Path],
) -> None:
    answers = []
    for has_one_dnn in (False, True):
        loaded = load_model(str(small_folder("llama")), device="cpu", has_one_dnn=has_one_dnn)
        kinds = {type(module) for module in loaded.model.modules()}
        assert (OneDnnLinear in kinds) == has_one_dnn
        engine = Engine(loaded, EngineConfig(pool_tokens=256, is_checked=True))
        engine.start()
        request = GenerationRequest(
            "r", token_array(range(5, 45)), SamplingParams(max_tokens=12, temperature=0.0)
        )
        answers.append(engine.submit(request).result(timeout=60).token_ids)
        assert engine.stop(timeout=20)
    assert answers[0] == answers[1]
