"""What is wrong with a model folder is said in one sentence, with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from stemfirst_server.engine.config import KVDtype
from stemfirst_server.errors import ModelFilesError, ModelLoadError, UnsupportedModelError
from stemfirst_server.model import gates
from stemfirst_server.model.demo import demo_model_folder
from stemfirst_server.model.loading import load_model


@pytest.fixture
def folder(small_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    shutil.copytree(small_folder("llama"), copy)
    return copy


def refusal(folder: Path | str, kind: type[ModelLoadError], **settings: object) -> str:
    with pytest.raises(kind) as caught:
        load_model(str(folder), device="cpu", **settings)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message, "says what to do"
    return message


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "there is no model folder" in refusal(tmp_path / "nowhere", ModelFilesError)


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    assert "no config.json" in refusal(tmp_path, ModelFilesError)


def test_a_config_that_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "lla')
    assert "cannot be read" in refusal(folder, ModelFilesError)


def test_a_config_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "no weights" in refusal(folder, ModelFilesError)


def test_weights_that_are_cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "is cut short" in refusal(folder, ModelFilesError)
    weights.write_bytes(weights.read_bytes()[:100])
    assert "is cut short" in refusal(folder, ModelFilesError)


def test_a_pointer_in_place_of_weights(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    (folder / "model.safetensors").write_text(pointer)
    assert "safetensors is cut short" in refusal(folder, ModelFilesError)


def test_a_missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    message = refusal(folder, ModelFilesError)
    assert "1 of 2 weight files are missing" in message
    assert "model-00002-of-00002.safetensors" in message


def test_a_tensor_that_the_weights_lack(folder: Path) -> None:
    """transformers would fill it with random numbers and only warn."""
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "model.layers.1.mlp.up_proj.weight" in refusal(folder, ModelFilesError)


def test_an_architecture_that_transformers_does_not_know(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "martian", "architectures": ["MartianForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    message = refusal(folder, UnsupportedModelError)
    assert "martian" in message
    assert "upgrade transformers" in message


def test_a_model_that_writes_no_text(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    assert "vit" in refusal(folder, UnsupportedModelError)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dtype": "int3"}, "dtype must be auto"),
        ({"context_tokens": 0}, "between 1 and the model's 512"),
        ({"context_tokens": 513}, "between 1 and the model's 512"),
    ],
)
def test_a_setting_out_of_range(folder: Path, settings: dict[str, object], said: str) -> None:
    with pytest.raises(UnsupportedModelError, match=said):
        load_model(str(folder), device="cpu", **settings)  # type: ignore[arg-type]


_BY_LENGTH = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8,
    "original_max_position_embeddings": 128,
}


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        pytest.param(
            "phi3",
            {"rope_parameters": _BY_LENGTH, "original_max_position_embeddings": 128},
            id="one for all layers",
        ),
        pytest.param(
            "gemma3_text",
            {
                "query_pre_attn_scalar": 16,
                "layer_types": ["full_attention", "sliding_attention"],
                "rope_parameters": {
                    "full_attention": _BY_LENGTH,
                    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                },
            },
            id="one for each kind of layer",
        ),
    ],
)
def test_rotary_frequencies_that_depend_on_the_length_cap_the_context(
    save_small: Callable[..., Path],
    model_type: str,
    changes: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = save_small(model_type, **({"num_hidden_layers": 2} | changes))
    assert load_model(str(folder), device="cpu").info.context_tokens == 128
    assert "128 of 512 tokens" in caplog.text
    with pytest.raises(UnsupportedModelError, match=r"got 129; .*depend on a request's length"):
        load_model(str(folder), device="cpu", context_tokens=129)


def test_learned_positions_end_before_the_self_test_would(save_small: Callable[..., Path]) -> None:
    folder = save_small("gpt2", max_position_embeddings=48)
    loaded = load_model(str(folder), device="cpu")
    assert loaded.info.context_tokens == 48
    assert gates.check_kv_dtype(loaded.model, loaded.shapes, KVDtype.INT8).median < 0.05


def test_weights_that_are_not_numbers(save_small: Callable[..., Path]) -> None:
    folder = save_small("llama")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "weights are damaged" in refusal(folder, UnsupportedModelError)


def test_a_configuration_that_the_models_own_code_cannot_run(folder: Path) -> None:
    loaded = load_model(str(folder), device="cpu")
    del loaded.model.model.layers[1].mlp.down_proj.weight
    with pytest.raises(UnsupportedModelError, match="LlamaForCausalLM does not run by its own"):
        gates.self_test(loaded.model, loaded.shapes)


def test_the_demo_model_is_written_once_and_passes_the_gates(tmp_path: Path) -> None:
    folder = demo_model_folder(tmp_path)
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert demo_model_folder(tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "nothing left aside"
    said: list[str] = []
    info = load_model(str(folder), name="demo", device="cpu", progress=said.append).info
    assert info.parameters == 25_698_816
    assert (info.name, info.dtype) == ("demo", "float32")
    assert info.context_tokens >= 16_384
    assert "self-test passed" in said[-1]
