"""Checkpoints quantised by another library pass the same gates and are served as they are."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import SMALL
from safetensors.torch import load_file
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.errors import ModelLoadError, UnsupportedModelError
from stemfirst_server.model import gates
from stemfirst_server.model.loading import LoadedModel, load_model
from transformers import AutoConfig, AutoModelForCausalLM

SaveSmall = Callable[..., Path]
_ids = itertools.count()


def _weights_of(bits: int, group: int | None) -> dict[str, Any]:
    strategy: dict[str, Any] = {"strategy": "channel"}
    if group is not None:
        strategy = {"strategy": "group", "group_size": group}
    return {"num_bits": bits, "type": "int", "symmetric": True} | strategy


# What stands in checkpoints on the hub: weights in 8 or 4 bits; inputs rounded on the way too.
INPUTS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
SCHEMES: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "w8a16": ("pack-quantized", _weights_of(8, None), None),
    "w4a16": ("pack-quantized", _weights_of(4, 32), None),
    "w8a8": ("int-quantized", _weights_of(8, None), INPUTS),
}


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a checkpoint with `compressed-tensors`, once each."""
    if sys.version_info >= (3, 14):
        pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationConfig,
        QuantizationStatus,
        apply_quantization_config,
    )

    folders: dict[tuple[str, str], Path] = {}

    def write(scheme: str, model_type: str = "llama", dtype: torch.dtype = torch.float32) -> Path:
        key = (scheme, f"{model_type} {dtype}")
        if key in folders:
            return folders[key]
        form, weights, inputs = SCHEMES[scheme]
        config = AutoConfig.for_model(model_type, **SMALL)
        torch.manual_seed(5)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        groups = {
            "group_0": {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
        }
        given = QuantizationConfig(config_groups=groups, ignore=["lm_head"], format=form)
        apply_quantization_config(model, given)
        for module in model.modules():
            scale = getattr(module, "weight_scale", None)
            if scale is not None:
                rows, groups_of_row = scale.shape
                largest = module.weight.detach().abs().view(rows, groups_of_row, -1).amax(-1)
                scale.data.copy_(largest / (2 ** (weights["num_bits"] - 1) - 1))
                module.quantization_status = QuantizationStatus.FROZEN
        compressor = ModelCompressor.from_pretrained_model(model, form)
        compressor.compress_model(model)
        folders[key] = folder = tmp_path_factory.mktemp("quantized")
        model.save_pretrained(folder, state_dict=model.state_dict())
        compressor.update_config(folder)
        return folder

    return write


def ask(engine: Engine, prompt: list[int]) -> Any:
    sampling = SamplingParams(max_tokens=8, temperature=0, ignore_eos=True)
    return engine.submit(GenerationRequest(f"r{next(_ids)}", token_array(prompt), sampling))


@torch.inference_mode()
def own_gaps(loaded: LoadedModel, prompt: list[int], output: tuple[int, ...]) -> torch.Tensor:
    """Return how far each answered token stands behind the best of the model's own logits."""
    ids = torch.tensor([prompt + list(output[:-1])])
    loaded.model.set_attn_implementation("eager")
    try:
        logits = loaded.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :]
    finally:
        gates.use_our_attention(loaded.model)
    return logits.max(-1).values - logits.gather(1, torch.tensor(output)[:, None])[:, 0]


@pytest.mark.parametrize(
    ("scheme", "model_type"), [("w8a16", "llama"), ("w4a16", "qwen3"), ("w8a8", "llama")]
)
def test_a_quantised_checkpoint_is_served_with_its_own_numbers(
    scheme: str, model_type: str, quantized: Callable[..., Path]
) -> None:
    folder = quantized(scheme, model_type)
    stored = load_file(folder / "model.safetensors")
    assert any(tensor.dtype in (torch.int8, torch.int32) for tensor in stored.values())
    said: list[str] = []
    loaded = load_model(str(folder), device="cpu", progress=said.append)
    assert "self-test passed" in said[-1]
    print(said[-1])
    engine = Engine(
        loaded, EngineConfig(page=4, pool_tokens=1024, chunk_tokens=21, is_checked=True)
    )
    engine.start()
    rng = np.random.default_rng(6)
    stem = rng.integers(2, 199, 40).tolist()
    prompts = [stem + rng.integers(2, 199, n).tolist() for n in (3, 17, 30)]
    try:
        first = [ask(engine, prompt).result(timeout=60) for prompt in prompts]
        handles = [ask(engine, prompt) for prompt in prompts]
        warm = [handle.result(timeout=60) for handle in handles]
    finally:
        assert engine.stop(timeout=20)
    assert all(done.finish.report.cached_tokens >= 40 for done in warm)
    # Inputs that are rounded on the way turn the last bit of a sum into a step of 255.
    most = 1e-4 if scheme != "w8a8" else 0.3
    for prompt, *answers in zip(prompts, first, warm, strict=True):
        for done in answers:
            assert float(own_gaps(loaded, prompt, done.token_ids).max()) < most


def test_half_precision_and_its_weights_survive_the_self_test(
    quantized: Callable[..., Path],
) -> None:
    folder = quantized("w8a16", dtype=torch.bfloat16)
    loaded = load_model(str(folder), device="cpu", dtype="bfloat16")
    assert loaded.info.dtype == "bfloat16"
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    ids = torch.tensor([[5, 6, 7, 8]])
    loaded.model.set_attn_implementation("eager")
    again.set_attn_implementation("eager")
    with torch.inference_mode():
        assert torch.equal(loaded.model(ids).logits, again(ids).logits)


def refusal(folder: Path, kind: type[ModelLoadError]) -> str:
    with pytest.raises(kind) as caught:
        load_model(str(folder), device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message, "says what to do"
    return message


def with_quantizer(folder: Path, **settings: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = settings
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_library_that_is_missing_is_named(save_small: SaveSmall) -> None:
    folder = with_quantizer(save_small("llama"), quant_method="gptq", bits=4, group_size=128)
    message = refusal(folder, UnsupportedModelError)
    assert "a library that is not installed (gptq)" in message
    assert "install it, or choose weights that are not quantised" in message


def test_weights_that_a_quantiser_cannot_load_are_not_called_half_downloaded(
    save_small: SaveSmall,
) -> None:
    if sys.version_info >= (3, 14):
        pytest.importorskip("compressed_tensors")
    folder = with_quantizer(
        save_small("llama"),
        quant_method="compressed-tensors",
        format="pack-quantized",
        config_groups={"group_0": {"targets": ["Linear"], "weights": {"num_bits": 99.5}}},
    )
    message = refusal(folder, UnsupportedModelError)
    assert "quantised by compressed-tensors" in message
    assert "download" not in message


def test_a_wrong_structure_is_still_refused(
    quantized: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tolerance is wider for quantised weights, and not so wide."""
    folder = quantized("w8a16")
    attend = gates.AttentionStep.attend

    def misplaced(self: Any, layer: Any, q: Any, k: Any, v: Any, options: Any) -> Any:
        return attend(self, layer, q, k.roll(1, 2), v, options)

    monkeypatch.setattr(gates.AttentionStep, "attend", misplaced)
    assert "silently wrong" in refusal(folder, UnsupportedModelError)
