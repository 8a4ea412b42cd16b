"""The demo model: real shapes and real timings, random weights, no download.

Knows: how to write a complete Hugging Face checkpoint folder from a fixed seed, so that the demo
goes through the same loader, gates and attention as any other model. Does not know what its text
means: it is noise.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

DEMO_MODEL_NAME = "stemfirst-demo"

_SHIPPED = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_SEED = 20_26
_WEIGHT_STD = 0.02
# Sharper attention: with the usual width it averages over a long prompt, and one token repeats.
_ATTENTION_STD = 0.04
_RECIPE = f"{_SEED} {_WEIGHT_STD} {_ATTENTION_STD}"
# Their embeddings are zero, so that their logits are: greedy output never ends early.
_SILENT_TOKENS = (0, 1, 2, 3)


def demo_model_folder(cache: Path | None = None) -> Path:
    """Return a folder with the demo checkpoint, writing its 103 MB if they are not there yet.

    Args:
        cache: where to keep it; by default the user's cache folder, or a temporary one if that
            cannot be written.

    Raises:
        OSError: there is no room or no right to write it anywhere.
    """
    shipped = {name: _resource(name) for name in _SHIPPED}
    digest = hashlib.sha256(b"".join([*shipped.values(), _RECIPE.encode()])).hexdigest()[:12]
    if cache is not None:
        return _written(cache / f"{DEMO_MODEL_NAME}-{digest}", shipped)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stemfirst"
    try:
        return _written(home / f"{DEMO_MODEL_NAME}-{digest}", shipped)
    except OSError:
        # A read-only home or a full disk there; the system's temporary folder may be elsewhere.
        user = os.getuid() if hasattr(os, "getuid") else 0
        fallback = Path(tempfile.gettempdir()) / f"stemfirst-{user}"
        return _written(fallback / f"{DEMO_MODEL_NAME}-{digest}", shipped)


def _resource(name: str) -> bytes:
    return (files("stemfirst_server.demo_model") / name).read_bytes()


def _written(folder: Path, shipped: dict[str, bytes]) -> Path:
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed: another process never sees half a model.
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in shipped.items():
            (aside / name).write_bytes(content)
        weights = _weights(json.loads(shipped["config.json"]))
        save_file(weights, str(aside / "model.safetensors"), metadata={"format": "pt"})
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same bytes
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _weights(config: dict[str, int]) -> dict[str, np.ndarray]:
    """Return a Llama's tensors by name: normal with one width, norms at one."""
    rng = np.random.Generator(np.random.Philox(_SEED))
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]

    def normal(*shape: int, std: float = _WEIGHT_STD) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(std)

    embedding = normal(config["vocab_size"], hidden)
    embedding[list(_SILENT_TOKENS)] = 0
    tensors = {"model.embed_tokens.weight": embedding}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        tensors |= {
            f"{at}.self_attn.q_proj.weight": normal(queries, hidden, std=_ATTENTION_STD),
            f"{at}.self_attn.k_proj.weight": normal(keys, hidden, std=_ATTENTION_STD),
            f"{at}.self_attn.v_proj.weight": normal(keys, hidden),
            f"{at}.self_attn.o_proj.weight": normal(hidden, queries),
            f"{at}.mlp.gate_proj.weight": normal(inner, hidden),
            f"{at}.mlp.up_proj.weight": normal(inner, hidden),
            f"{at}.mlp.down_proj.weight": normal(hidden, inner),
            f"{at}.input_layernorm.weight": np.ones(hidden, dtype=np.float32),
            f"{at}.post_attention_layernorm.weight": np.ones(hidden, dtype=np.float32),
        }
    tensors["model.norm.weight"] = np.ones(hidden, dtype=np.float32)
    return tensors
