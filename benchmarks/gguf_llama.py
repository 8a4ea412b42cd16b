"""A Llama checkpoint of Hugging Face's shape as a GGUF file, for llama.cpp.

Knows: the format's third version, and how llama.cpp wants a Llama's tensors: queries and keys in
the order of its rotary embedding. Does not know other architectures or quantisation.

Source: the GGUF specification in ggml's repository (docs/gguf.md), November 2026.

    python benchmarks/gguf_llama.py CHECKPOINT OUT.gguf
"""

from __future__ import annotations

import argparse
import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load_file

ALIGNMENT = 32
_TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 30}
_UINT32, _INT32, _FLOAT32, _STRING, _ARRAY = 4, 5, 6, 8, 9
_NORMAL, _CONTROL = 1, 3
_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(checkpoint: Path, out: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the checkpoint's weights and tokenizer to one file."""
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    tensors = _tensors(config, load_file(checkpoint / "model.safetensors"), dtype)
    with out.open("wb") as file:
        metadata = _metadata(config, json.loads((checkpoint / "tokenizer.json").read_text("utf-8")))
        file.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)))
        for key, (kind, value) in metadata.items():
            _string(file, key)
            file.write(struct.pack("<I", kind))
            _value(file, kind, value)
        offset = 0
        for name, tensor in tensors.items():
            _string(file, name)
            file.write(struct.pack("<I", tensor.dim()))
            file.write(struct.pack(f"<{tensor.dim()}Q", *reversed(tensor.shape)))
            file.write(struct.pack("<IQ", _TYPES[tensor.dtype], offset))
            offset += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        _align(file)
        for tensor in tensors.values():
            file.write(tensor.contiguous().view(torch.uint8).numpy().tobytes())
            _align(file)


def _metadata(config: dict[str, Any], tokenizer: dict[str, Any]) -> dict[str, tuple[int, Any]]:
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    vocab = tokenizer["model"]["vocab"]
    tokens = [f"<unused {index}>" for index in range(config["vocab_size"])]
    kinds = [_CONTROL] * len(tokens)
    for token, index in vocab.items():
        tokens[index], kinds[index] = token, _NORMAL
    for added in tokenizer.get("added_tokens", ()):
        tokens[added["id"]], kinds[added["id"]] = added["content"], _CONTROL
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    end = config["eos_token_id"]
    return {
        "general.architecture": (_STRING, "llama"),
        "general.name": (_STRING, "random"),
        "llama.block_count": (_UINT32, config["num_hidden_layers"]),
        "llama.context_length": (_UINT32, config["max_position_embeddings"]),
        "llama.embedding_length": (_UINT32, config["hidden_size"]),
        "llama.feed_forward_length": (_UINT32, config["intermediate_size"]),
        "llama.attention.head_count": (_UINT32, config["num_attention_heads"]),
        "llama.attention.head_count_kv": (_UINT32, config["num_key_value_heads"]),
        "llama.attention.key_length": (_UINT32, head),
        "llama.attention.value_length": (_UINT32, head),
        "llama.attention.layer_norm_rms_epsilon": (_FLOAT32, config["rms_norm_eps"]),
        "llama.rope.dimension_count": (_UINT32, head),
        "llama.rope.freq_base": (_FLOAT32, config["rope_parameters"]["rope_theta"]),
        "llama.vocab_size": (_UINT32, config["vocab_size"]),
        "tokenizer.ggml.model": (_STRING, "gpt2"),
        "tokenizer.ggml.pre": (_STRING, "gpt-2"),
        "tokenizer.ggml.tokens": (_ARRAY, (_STRING, tokens)),
        "tokenizer.ggml.token_type": (_ARRAY, (_INT32, kinds)),
        "tokenizer.ggml.merges": (_ARRAY, (_STRING, merges)),
        "tokenizer.ggml.eos_token_id": (_UINT32, end[0] if isinstance(end, list) else end),
    }


def _tensors(
    config: dict[str, Any], weights: dict[str, torch.Tensor], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors = {"token_embd.weight": weights["model.embed_tokens.weight"]}
    tensors["output_norm.weight"] = weights["model.norm.weight"]
    if not config.get("tie_word_embeddings"):
        tensors["output.weight"] = weights["lm_head.weight"]
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours in _NAMES.items():
            tensor = weights[f"model.layers.{layer}.{theirs}.weight"]
            if ours in heads:
                # Hugging Face rotates the halves of a head, llama.cpp neighbouring pairs.
                shape = tensor.shape
                tensor = tensor.view(heads[ours], 2, -1, shape[1]).transpose(1, 2).reshape(shape)
            tensors[f"blk.{layer}.{ours}.weight"] = tensor
    # Norms stay in float32: llama.cpp has no other kernel for them.
    return {
        name: tensor.to(torch.float32 if tensor.dim() == 1 else dtype)
        for name, tensor in tensors.items()
    }


def _value(file: BinaryIO, kind: int, value: Any) -> None:
    if kind == _STRING:
        _string(file, value)
    elif kind == _ARRAY:
        item_kind, items = value
        file.write(struct.pack("<IQ", item_kind, len(items)))
        for item in items:
            _value(file, item_kind, item)
    else:
        code = {_UINT32: "<I", _INT32: "<i", _FLOAT32: "<f"}[kind]
        file.write(struct.pack(code, value))


def _string(file: BinaryIO, text: str) -> None:
    raw = text.encode()
    file.write(struct.pack("<Q", len(raw)) + raw)


def _align(file: BinaryIO) -> None:
    file.write(b"\0" * (-file.tell() % ALIGNMENT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    write_gguf(given.checkpoint, given.out)


if __name__ == "__main__":
    main()
