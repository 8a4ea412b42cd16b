"""Usage of every provider in one shape; the shapes are those that the vendors' packages read."""

import pytest
from stemfirst.savings import Savings
from stemfirst.usage import Usage, usage_of

SHAPES = {
    "OpenAI chat": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 86},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        Usage(2006, 1920, 86, None, 300),
    ),
    "OpenAI responses": (
        {
            "input_tokens": 2006,
            "input_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 0},
            "output_tokens": 300,
            "total_tokens": 2306,
        },
        Usage(2006, 1920, 0, None, 300),
    ),
    "an OpenAI-like server without details": (
        {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        Usage(10, None, None, None, 2),
    ),
    "vLLM without --enable-prompt-tokens-details": (
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": None},
        Usage(10, None, None, None, 2),
    ),
    "vLLM with it": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 64, "created_cache_tokens": 32},
        },
        Usage(100, 64, 32, None, 2),
    ),
    "Anthropic, which counts exclusively": (
        {
            "input_tokens": 50,
            "cache_creation_input_tokens": 248,
            "cache_read_input_tokens": 1800,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 148,
                "ephemeral_1h_input_tokens": 100,
            },
            "output_tokens": 503,
        },
        Usage(2098, 1800, 248, 100, 503),
    ),
    "Anthropic without a cache": (
        {
            "input_tokens": 50,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 3,
        },
        Usage(50, 0, 0, None, 3),
    ),
    "Bedrock Converse": (
        {
            "inputTokens": 20,
            "outputTokens": 7,
            "totalTokens": 1327,
            "cacheReadInputTokens": 1000,
            "cacheWriteInputTokens": 300,
            "cacheDetails": [
                {"ttl": "1h", "inputTokens": 100},
                {"ttl": "5m", "inputTokens": 200},
            ],
        },
        Usage(1320, 1000, 300, 100, 7),
    ),
    "Gemini": (
        {
            "promptTokenCount": 5000,
            "cachedContentTokenCount": 4096,
            "candidatesTokenCount": 12,
            "totalTokenCount": 5012,
        },
        Usage(5000, 4096, None, None, 12),
    ),
    "Gemini's package": (
        {"prompt_token_count": 5000, "cached_content_token_count": None},
        Usage(5000, None, None, None, None),
    ),
    "DeepSeek": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 5,
            "prompt_cache_hit_tokens": 896,
            "prompt_cache_miss_tokens": 104,
        },
        Usage(1000, 896, None, None, 5),
    ),
    "Kimi": (
        {"prompt_tokens": 1000, "completion_tokens": 5, "cached_tokens": 768},
        Usage(1000, 768, None, None, 5),
    ),
    "nothing": (None, Usage()),
    "something else": ({"tokens": 3}, Usage()),
    "no mapping": ("many", Usage()),
    "counts that are none": (
        {"prompt_tokens": "10", "completion_tokens": -1, "cached_tokens": True},
        Usage(),
    ),
    "LiteLLM, of an Anthropic model": (
        {
            "prompt_tokens": 2_006,
            "completion_tokens": 300,
            "prompt_tokens_details": {"cached_tokens": 1_500},
            "cache_creation_input_tokens": 420,
            "cache_read_input_tokens": 1_500,
        },
        Usage(prompt_tokens=2_006, cached_tokens=1_500, written_tokens=420, output_tokens=300),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_usage_of(name):
    reported, expected = SHAPES[name]
    assert usage_of(reported) == expected


def test_usage_is_read_from_the_packages_own_objects():
    anthropic = pytest.importorskip("anthropic", reason="pip install anthropic")
    openai = pytest.importorskip("openai", reason="pip install openai")
    message = anthropic.types.Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": "Hi"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": SHAPES["Anthropic, which counts exclusively"][0],
        }
    )
    saved = Savings.of(message)
    assert (saved.prompt_tokens, saved.cached_tokens, saved.written_tokens) == (2098, 1800, 248)
    assert saved.cost is not None
    completion = openai.types.CompletionUsage.model_validate(SHAPES["OpenAI chat"][0])
    assert usage_of(completion) == SHAPES["OpenAI chat"][1]


def test_geminis_thoughts_are_output():
    counts = {"promptTokenCount": 50, "candidatesTokenCount": 10, "thoughtsTokenCount": 300}
    assert usage_of(counts).output_tokens == 310
    assert usage_of({"promptTokenCount": 50}).output_tokens is None
