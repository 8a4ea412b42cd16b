"""Small configurations of every family that the engine is known to serve, and of some it refuses.

Widths are tiny and windows shorter than the prompts, so that every path is walked in little time.
"""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "vocab_size": 199,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
_WINDOW = {"sliding_window": 24}
_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
_GPT2 = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512}
_EXPERTS = {
    "num_local_experts": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
_GROUPED_EXPERTS = {
    "n_routed_experts": 4,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
}
_MIXED_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
_GEMMA3N = {
    "hidden_size_per_layer_input": 16,
    "vocab_size_per_layer_input": 199,
    "laurel_rank": 8,
    "altup_num_inputs": 2,
    "activation_sparsity_pattern": [0.0] * 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "intermediate_size": [96] * 4,
    "num_hidden_layers": 4,
}

SERVED: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": _EXPERTS | {"decoder_sparse_step": 1},
    "mistral": _WINDOW,
    "ministral3": _WINDOW
    | {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            # Queries are scaled by their position from here on.
            "original_max_position_embeddings": 16,
            "llama_4_scaling_beta": 0.1,
        }
    },
    "mixtral": _WINDOW | _EXPERTS,
    "gemma2": _WINDOW
    | {
        "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 10.0,
    },
    "gemma3_text": _WINDOW | {"query_pre_attn_scalar": 16},
    "gemma3n_text": _WINDOW | _GEMMA3N | {"num_kv_shared_layers": 0},
    "gemma4_text": _WINDOW
    | {
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "hidden_size_per_layer_input": 16,
        "vocab_size_per_layer_input": 199,
        "global_head_dim": 32,
    },
    "phi": {},
    "phi3": {"original_max_position_embeddings": 512},
    "phimoe": _EXPERTS,
    "gpt2": _GPT2,
    "gpt_neox": {},
    "gpt_bigcode": _GPT2,
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "gpt_oss": _WINDOW | _EXPERTS | _ROPE | {"layer_types": _MIXED_LAYERS},
    "deepseek_v3": _GROUPED_EXPERTS
    | {
        "q_lora_rank": 24,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "head_dim": 8,
        "v_head_dim": 12,
        "num_key_value_heads": 4,
    },
    "olmo2": {},
    "olmo3": _WINDOW,
    "cohere": {},
    "glm4": {},
    "glm4_moe": _GROUPED_EXPERTS | {"n_group": 1},
    "smollm3": {"no_rope_layers": [1, 0, 1]},
    "granite": {},
    "starcoder2": _WINDOW,
    "stablelm": {},
    "persimmon": {},
    "nemotron": {},
    "exaone4": _WINDOW | {"layer_types": _MIXED_LAYERS},
    "ernie4_5": {},
    "seed_oss": {},
    "apertus": _ROPE,
}

# With what the refusal says. None takes a setting away.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "bloom": ({"n_layer": 2, "n_head": 4}, "0 of them used the replaced attention"),
    "falcon": ({"head_dim": None}, "0 of them used the replaced attention"),
    "mamba": ({"state_size": 4}, "MambaForCausalLM"),
    "jamba": (_EXPERTS, "JambaForCausalLM"),
    "qwen3_next": (_EXPERTS, "layers of type linear_attention"),
    "gptj": (_GPT2 | {"rotary_dim": 8}, "0 of them used the replaced attention"),
    "codegen": (_GPT2 | {"rotary_dim": 8}, "0 of them used the replaced attention"),
    "mpt": ({"d_model": 64, "n_heads": 4, "n_layers": 2}, "MptForCausalLM"),
    "lfm2": (
        {"layer_types": ["conv", "full_attention", "conv"], "block_ff_dim": 64},
        "layers of type conv",
    ),
    "llama4_text": (
        _EXPERTS
        | {
            "intermediate_size_mlp": 64,
            "attention_chunk_size": 16,
            "layer_types": ["chunked_attention", "full_attention", "chunked_attention"],
        },
        "layers of type chunked_attention",
    ),
}
