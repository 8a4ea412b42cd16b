"""What each provider's prefix cache needs for a hit: minimum, steps, marks, lifetime.

The one table of these rules: breakpoints are placed by it, and `audit` expects hits by it. Knows
providers' published rules, as far as they are published. Does not know prices (see
`stemfirst.prices`), a request's shape, or its text.

Sources, read 2026-11-23: the vendors' client packages and guides (OpenAI, Anthropic, AWS,
Google, DeepSeek, Moonshot, Groq, xAI, MiniMax, Alibaba); vLLM 0.33.0 and SGLang 0.5.23. Where a
vendor publishes nothing, `note` says what is assumed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

HOSTS: tuple[tuple[str, str | None], ...] = (
    (r"api\.openai\.com", "openai"),
    (r"openai\.azure\.com", "azure.ai.openai"),
    (r"(services\.ai|cognitiveservices)\.azure\.com", "azure.ai.inference"),
    (r"api\.anthropic\.com", "anthropic"),
    (r"bedrock[a-z-]*\.[a-z0-9-]+\.(amazonaws\.com|api\.aws)", "aws.bedrock"),
    (r"generativelanguage\.googleapis\.com", "gcp.gemini"),
    (r"([a-z0-9-]+-)?aiplatform\.googleapis\.com", "gcp.vertex_ai"),
    (r"api\.deepseek\.com", "deepseek"),
    (r"api\.groq\.com", "groq"),
    (r"api\.mistral\.ai", "mistral_ai"),
    (r"api\.moonshot\.(ai|cn)", "moonshot_ai"),
    (r"api\.x\.ai", "x_ai"),
    (r"api\.perplexity\.ai", "perplexity"),
    (r"api\.cohere\.(ai|com)", "cohere"),
    (r"api\.cerebras\.ai", None),
    (r"api\.minimaxi?\.(com|io)", None),
    (r"api\.z\.ai", None),
    (r"open\.bigmodel\.cn", None),
    (r"api\.meta\.ai", None),
    (r"api\.together\.xyz", None),
    (r"api\.fireworks\.ai", None),
    (r"openrouter\.ai", None),
)
"""Known public APIs: the domain, and OpenTelemetry's name of who answers there, if it has one."""


@lru_cache(maxsize=256)
def public_api(host: str) -> tuple[str, str | None] | None:
    """Return the entry of `HOSTS` for a host, regional ones too; None for all others."""
    for entry in HOSTS:
        if re.fullmatch(rf"(.*\.)?{entry[0]}", host):
            return entry
    return None


class Mode(Enum):
    """How a provider finds a stored prefix."""

    PREFIX = "longest stored prefix"
    """Whatever prefix was sent before can hit, in steps of so many tokens."""
    MARKERS = "markers"
    """Only prefixes that end at a marker are stored; looked up from markers backwards."""
    BREAKPOINTS = "breakpoints"
    """As markers, and the newest eligible message's end is one without being asked."""


@dataclass(frozen=True, slots=True)
class CacheRules:
    """What one provider's cache needs for one model.

    Attributes:
        name: whose rules these are.
        mode: how a stored prefix is found.
        min_tokens: shorter prefixes are never read from the cache.
        step_tokens: hits are whole multiples of this.
        ttl_s: seconds after its last use for which a prefix is expected to live; None where
            only room in memory limits it.
        lookback_blocks: content blocks that are searched back from a marker; None for all.
        renders_tools_first: tool definitions stand before the system text. Anthropic says so;
            OpenAI's published format (Harmony) and most open-weights templates put them behind
            it. Where nothing is published they are taken to stand before: the smaller loss.
        note: what is assumed because it is not published.
    """

    name: str
    mode: Mode = Mode.PREFIX
    min_tokens: int = 1
    step_tokens: int = 1
    ttl_s: int | None = None
    lookback_blocks: int | None = None
    renders_tools_first: bool = True
    note: str = ""


ENGINE = CacheRules(
    "inference engine",
    min_tokens=16,
    step_tokens=16,
    renders_tools_first=False,
    note="pages of 16 tokens, memory for all",
)
"""An engine of one's own: stemfirst's server, vLLM, SGLang."""

ANTHROPIC = CacheRules("Anthropic", Mode.MARKERS, 1024, ttl_s=300, lookback_blocks=20)
"""Without a model's own minimum: 1,024 holds for most."""

_OPENAI = CacheRules(
    "OpenAI before GPT-5.6", Mode.PREFIX, 1024, 128, 600, renders_tools_first=False,
    note="kept 5 to 10 minutes idle; 10 are assumed",
)  # fmt: skip
_OPENAI_24H = replace(_OPENAI, ttl_s=1800, note="kept up to 24 hours, typically 30 minutes")
_OPENAI_BREAKPOINTS = CacheRules(
    "OpenAI from GPT-5.6", Mode.BREAKPOINTS, 1024, ttl_s=1800, renders_tools_first=False
)
_NOVA = CacheRules("Amazon Nova", Mode.MARKERS, 1024, ttl_s=300, lookback_blocks=20)
_GROQ = CacheRules(
    "Groq", Mode.PREFIX, 128, 128, 7200, note="minimum 128 to 1,024 by model, not listed"
)

_CLAUDE_MINIMA = (
    (r"(opus|sonnet|haiku)-5-5|opus-5|fable-5|mythos-5", 512),
    (r"opus-4-[56]|haiku-4-5", 4096),
    (r"opus-4-7|mythos-preview|3-5-haiku|haiku-3-5", 2048),
)
"""They follow no order of size or age; all others need what `ANTHROPIC` says."""

_OTHERS = (
    (r"^gemini-(3\.1-pro|3\.[5-8]-flash|4)", CacheRules(
        "Google Gemini", Mode.PREFIX, 4096, 1, 600, note="lifetime not published; 10 min")),
    (r"^gemini", CacheRules(
        "Google Gemini", Mode.PREFIX, 2048, 1, 600, note="lifetime not published; 10 min")),
    (r"^deepseek", CacheRules(
        "DeepSeek", Mode.PREFIX, 64, 64, 7200,
        note="units of 64 tokens; kept hours to days, 2 h assumed")),
    (r"^grok", CacheRules("xAI", Mode.PREFIX, 128, 128, None, note="evicted at any time")),
    (r"^(kimi|moonshot)", CacheRules("Moonshot Kimi", Mode.PREFIX, 256, 256, 300)),
    (r"^minimax", CacheRules("MiniMax", Mode.PREFIX, 512, 1, 300)),
    (r"^(qwen\d*\.?\d*-(max|plus|flash|turbo)|qwen4)", CacheRules(
        "Alibaba Qwen", Mode.PREFIX, 1024, 1, 300,
        note="implicit cache, lifetime not published")),
    (r"^(mistral|magistral|codestral|devstral|ministral)-", CacheRules(
        "Mistral", Mode.PREFIX, 1, 1, None, note="rules not published")),
)  # fmt: skip

_OPENAI_FROM_5_6 = re.compile(r"(ft:)?gpt-(5\.[6-9]|[6-9])")
_OPENAI_24H_MODELS = re.compile(r"(ft:)?gpt-(5\.[1245]|5(-codex)?$|4\.1)")
_OPENAIS = re.compile(r"(ft:)?(gpt-(?!oss)|o\d|chatgpt)")
_ENGINES = ("vllm", "hosted_vllm", "sglang", "stemfirst", "ollama", "lm_studio", "llamafile",
            "huggingface")  # fmt: skip
_OWN_ADDRESS = re.compile(r"://(localhost|127\.|0\.0\.0\.0|\[::1\]|10\.|192\.168\.)")
_ROUTED_NAME = re.compile(r"^(?:[a-z]{2,6}\.)?(?:anthropic|amazon|deepseek|qwen|openai)\.")


@lru_cache(maxsize=1024)
def cache_rules(model: str, provider: str | None = None) -> CacheRules | None:
    """Return the rules that a request to this model is expected to meet.

    Args:
        model: as requests name it; `provider/model` and Bedrock's ids work too.
        provider: an id or the base URL of the API, where it is known.

    Returns:
        None for a model of no known vendor: an engine of one's own, or somebody's endpoint.
    """
    route = f"{provider or ''} {model}".lower()
    name = _ROUTED_NAME.sub("", bare(model))
    if "groq" in route:
        return _GROQ
    if any(part in route for part in _ENGINES) or _OWN_ADDRESS.search(provider or ""):
        return ENGINE
    if name.startswith("claude"):
        return replace(ANTHROPIC, min_tokens=claude_minimum(name))
    if name.startswith("nova") or "amazon.nova" in model.lower():
        return _NOVA
    if has_breakpoints(model):
        return _OPENAI_BREAKPOINTS
    if name.startswith("gpt-oss"):
        return ENGINE
    if is_openais(model):
        return _OPENAI_24H if "24h" in retentions(model) else _OPENAI
    is_hubs = "/" in model  # a hub's id is an open-weights checkpoint, whoever serves it
    for pattern, rules in _OTHERS:
        is_theirs = not is_hubs or (provider and rules.name.split()[-1].lower() in route)
        if is_theirs and re.search(pattern, name):
            return rules
    return None


@lru_cache(maxsize=256)
def claude_minimum(model: str) -> int:
    """Return the tokens from which on Anthropic caches a prefix for this model."""
    for pattern, tokens in _CLAUDE_MINIMA:
        if re.search(pattern, model):
            return tokens
    return ANTHROPIC.min_tokens


def has_breakpoints(model: str | None) -> bool:
    """Whether it is a model of OpenAI that takes breakpoints: from GPT-5.6 on."""
    return bool(_OPENAI_FROM_5_6.match(_ROUTED_NAME.sub("", bare(model))))


def is_openais(model: str | None) -> bool:
    """Whether it is a model of OpenAI's own service, fine-tuned ones too, by its name."""
    return bool(_OPENAIS.match(_ROUTED_NAME.sub("", bare(model))))


def is_routed_by_key(model: str | None) -> bool:
    """Whether `prompt_cache_key` decides which of OpenAI's machines a request meets.

    From GPT-5.6 on it only keeps accounts apart.
    """
    return is_openais(model) and not has_breakpoints(model)


def retentions(model: str | None) -> tuple[str, ...]:
    """Return the values of `prompt_cache_retention` that the model takes."""
    if not is_routed_by_key(model):
        return ()
    name = _ROUTED_NAME.sub("", bare(model))
    if name.startswith("gpt-5.5"):
        return ("24h",)
    return ("in_memory", "24h") if _OPENAI_24H_MODELS.match(name) else ("in_memory",)


def bare(model: str | None) -> str:
    """Return a model's name without the provider in front, in lower case."""
    return (model or "").lower().rpartition("/")[2]
