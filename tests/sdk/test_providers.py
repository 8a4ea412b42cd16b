"""The table of providers' cache rules: one place for minimums, steps and lifetimes."""

from __future__ import annotations

import pytest
from stemfirst.breakpoints import bedrock_limits, claude_limits, openai_limits
from stemfirst.providers import ENGINE, Mode, cache_rules, retentions


@pytest.mark.parametrize(
    ("model", "provider", "name", "mode", "minimum", "step"),
    [
        ("claude-opus-5-5", None, "Anthropic", Mode.MARKERS, 512, 1),
        ("claude-opus-4-5", None, "Anthropic", Mode.MARKERS, 4096, 1),
        ("claude-sonnet-4-5", None, "Anthropic", Mode.MARKERS, 1024, 1),
        ("us.anthropic.claude-haiku-4-5-v1:0", None, "Anthropic", Mode.MARKERS, 4096, 1),
        ("anthropic/claude-opus-4-7", None, "Anthropic", Mode.MARKERS, 2048, 1),
        ("amazon.nova-pro-v1:0", None, "Amazon Nova", Mode.MARKERS, 1024, 1),
        ("gpt-6-sol", None, "OpenAI from GPT-5.6", Mode.BREAKPOINTS, 1024, 1),
        ("gpt-5.5", None, "OpenAI before GPT-5.6", Mode.PREFIX, 1024, 128),
        ("gpt-4o-mini", None, "OpenAI before GPT-5.6", Mode.PREFIX, 1024, 128),
        ("gpt-oss-120b", "https://api.groq.com/openai/v1", "Groq", Mode.PREFIX, 128, 128),
        ("gemini-2.5-flash", None, "Google Gemini", Mode.PREFIX, 2048, 1),
        ("gemini-3.8-flash", None, "Google Gemini", Mode.PREFIX, 4096, 1),
        ("deepseek-flash", None, "DeepSeek", Mode.PREFIX, 64, 64),
        ("Qwen/Qwen3-8B", "vllm", "inference engine", Mode.PREFIX, 16, 16),
        ("anything", "http://127.0.0.1:8000/v1", "inference engine", Mode.PREFIX, 16, 16),
    ],
)
def test_each_model_has_its_vendors_rules(
    model: str, provider: str | None, name: str, mode: Mode, minimum: int, step: int
) -> None:
    rules = cache_rules(model, provider)
    assert rules is not None
    assert (rules.name, rules.mode, rules.min_tokens, rules.step_tokens) == (
        name,
        mode,
        minimum,
        step,
    )


@pytest.mark.parametrize("model", ["acme-1", "Qwen/Qwen3-8B", "deepseek-ai/DeepSeek-R1"])
def test_a_model_of_no_known_vendor_has_no_rules(model: str) -> None:
    assert cache_rules(model) is None


def test_open_weights_of_openai_run_on_an_engine() -> None:
    assert cache_rules("gpt-oss-20b") is ENGINE


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-opus-4-6", "claude-opus-4-8"])
def test_breakpoints_start_at_the_tables_minimum(model: str) -> None:
    rules = cache_rules(model)
    assert rules is not None
    assert claude_limits(model).min_tokens == rules.min_tokens
    assert bedrock_limits(f"eu.anthropic.{model}-v1:0").min_tokens == rules.min_tokens


def test_a_fine_tuned_model_is_kept_as_long_as_its_base() -> None:
    for model in ("gpt-4.1-mini", "ft:gpt-4.1-mini:acme"):
        rules = cache_rules(model)
        assert rules is not None
        assert rules.ttl_s == 1_800
        assert retentions(model) == ("in_memory", "24h")
    assert retentions("ft:gpt-4o:acme") == ("in_memory",)


def test_openais_and_novas_breakpoints_do_too() -> None:
    rules = cache_rules("gpt-6-sol"), cache_rules("amazon.nova-lite-v1:0")
    limits = openai_limits("gpt-6-sol"), bedrock_limits("amazon.nova-lite-v1:0")
    assert [item and item.min_tokens for item in rules] == [item.min_tokens for item in limits]
