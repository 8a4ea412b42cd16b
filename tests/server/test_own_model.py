"""A checkpoint of the user's own, served from its folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

SHIPPED = Path(__file__).parents[2] / "server" / "stemfirst_server" / "demo_model"


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 checkpoint with the demo's tokenizer and no chat template."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-qwen"
    torch.manual_seed(3)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=4096,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=1024,
            eos_token_id=2,
        )
    )
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / name, folder / name)
    return folder


def test_a_folder_is_served_under_its_own_name(start: Callable[..., Any], qwen: Path) -> None:
    served = start("--port", "0", "--model", str(qwen), "--calibration-seconds", "0.1")
    with httpx.Client(base_url=served.wait_until_ready().url, trust_env=False) as http:
        listed = http.get("/v1/models").json()["data"]
        text = "The order was sent on Monday and it will arrive on Friday. " * 3
        answers = [
            http.post("/v1/completions", json={"prompt": text, "max_tokens": 3, "temperature": 0})
            for _ in range(2)
        ]
        chat = http.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]}
        )
        facts = http.get("/v1/stemfirst").json()
    assert [card["id"] for card in listed] == ["tiny-qwen"]
    assert listed[0]["max_model_len"] == 1024
    cold, warm = (answer.json() for answer in answers)
    assert cold["choices"][0]["text"] == warm["choices"][0]["text"]
    assert warm["stemfirst"]["cached_tokens"] > 0
    assert warm["stemfirst"]["notice"] is None
    assert warm["stemfirst"]["cost"] is None
    assert facts["price_reason"]
    assert facts["architecture"] == "Qwen2ForCausalLM"
    assert facts["demo"] is False
    assert chat.status_code == 400
    assert "no chat template" in chat.json()["error"]["message"]


def test_no_prefix_caching_computes_every_prompt_and_says_so(
    start: Callable[..., Any], qwen: Path
) -> None:
    served = start(
        "--port", "0", "--model", str(qwen), "--served-model-name", "mine",
        "--no-prefix-caching", "--calibration-seconds", "0",
    )  # fmt: skip
    with httpx.Client(base_url=served.wait_until_ready().url, trust_env=False) as http:
        body = {"model": "mine", "prompt": "again and again " * 20, "max_tokens": 1}
        reports = [http.post("/v1/completions", json=body).json()["stemfirst"] for _ in range(2)]
    assert [report["cached_tokens"] for report in reports] == [0, 0]
    assert reports[1]["missed"]["reason"] == "cache_disabled"
    assert reports[1]["time"]["prefill_ms_saved"] is None
