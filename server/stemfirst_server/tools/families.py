"""Which formats there are, and which one a chat template teaches its model."""

from __future__ import annotations

import re

from stemfirst_server.tools.formats import DeepSeek, Format, LlamaJson, Mistral, Tagged
from stemfirst_server.tools.harmony import Harmony

HERMES = Tagged(has_tags=False)
QWEN3_CODER = Tagged(has_tags=True)
LLAMA3_JSON = LlamaJson()
MISTRAL = Mistral(has_args_token=False)
MISTRAL_ARGS = Mistral(has_args_token=True)
DEEPSEEK_V3 = DeepSeek(has_fence=True)
DEEPSEEK_V31 = DeepSeek(has_fence=False)
OPENAI = Harmony()

FORMATS: dict[str, Format] = {
    "hermes": HERMES,
    "qwen3_coder": QWEN3_CODER,
    "llama3_json": LLAMA3_JSON,
    "mistral": MISTRAL,
    "mistral_args": MISTRAL_ARGS,
    "deepseek_v3": DEEPSEEK_V3,
    "deepseek_v31": DEEPSEEK_V31,
    "openai": OPENAI,
}


def format_of(template: str) -> Format | None:
    """Return the format that a chat template teaches its model; None if it teaches none."""
    if "<|channel|>" in template and "<|message|>" in template:
        return OPENAI
    if "[TOOL_CALLS]" in template:
        return MISTRAL_ARGS if "[ARGS]" in template else MISTRAL
    if "tool▁calls▁begin" in template:
        return DEEPSEEK_V3 if "```json" in template else DEEPSEEK_V31
    if "<tool_call>" in template:
        return QWEN3_CODER if "<function=" in template else HERMES
    if "<|python_tag|>" in template or re.search(r'\{"name": function name, "param', template):
        return LLAMA3_JSON
    return None
