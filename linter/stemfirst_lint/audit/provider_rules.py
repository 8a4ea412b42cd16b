"""What each provider's prefix cache needs for a hit: minimum, steps, markers, lifetime.

Knows providers' published rules, as far as they are published. Does not know prices (see
`stemfirst.prices`) or requests' text.

Sources, read 2026-11-23: the vendors' client packages and guides (OpenAI, Anthropic, Google,
DeepSeek, Moonshot, Groq, xAI, MiniMax, Alibaba); vLLM 0.33.0 and SGLang 0.5.23. Where a vendor
publishes nothing, `note` says what is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache

from stemfirst_lint.audit.records import Api


class Mode(Enum):
    """How a provider finds a stored prefix."""

    PREFIX = "longest stored prefix"
    """Whatever prefix was sent before can hit, in steps of so many tokens."""
    MARKERS = "markers"
    """Only prefixes that end at a marker are stored; looked up from markers backwards."""
    BREAKPOINTS = "breakpoints"
    """As markers, and the newest eligible message's end is one without being asked."""


class Level(Enum):
    """From where on a request setting is part of the prefix."""

    START = 0
    SYSTEM = 1
    MESSAGES = 2


@dataclass(frozen=True, slots=True)
class Rules:
    """One provider's rules for one model.

    Attributes:
        name: whose rules these are.
        mode: how a stored prefix is found.
        min_tokens: shorter prefixes are never read from the cache.
        step_tokens: hits are whole multiples of this.
        ttl_s: seconds after its last use for which a prefix is expected to live; None where
            only room in memory limits it.
        lookback_blocks: content blocks that are searched back from a marker.
        settings: request settings that the cache depends on, and from where on.
        tools_first: tool definitions are rendered before the system text.
        note: what is assumed because it is not published.
    """

    name: str
    mode: Mode = Mode.PREFIX
    min_tokens: int = 1
    step_tokens: int = 1
    ttl_s: int | None = None
    lookback_blocks: int = 20
    settings: Mapping[str, Level] = field(default_factory=dict)
    tools_first: bool = True
    note: str = ""

    def readable(self, prefix_tokens: float, prompt_tokens: float) -> int:
        """Return how much of a shared prefix can be read: whole steps, at least the minimum.

        At least one token of a prompt is always computed.
        """
        usable = int(min(prefix_tokens, prompt_tokens - 1))
        usable -= usable % self.step_tokens
        return usable if usable >= max(1, self.min_tokens) else 0

    def __str__(self) -> str:
        """Return the rules in a line."""
        parts = [f"minimum {self.min_tokens:,} tokens"] if self.min_tokens > 1 else []
        if self.mode is Mode.PREFIX:
            parts.append(f"steps of {self.step_tokens:,}" if self.step_tokens > 1 else "any length")
        else:
            parts.append(f"{self.mode.value} only")
        if self.ttl_s is not None:
            parts.append(f"kept {_duration(self.ttl_s)} after use")
        return f"{self.name}: {', '.join(parts)}"


_OPENAI_SETTINGS = dict.fromkeys(
    ("parallel_tool_calls", "response_format", "text", "reasoning_effort", "reasoning",
     "verbosity", "context_management", "service_tier"),
    Level.START,
)  # fmt: skip
_ANTHROPIC_SETTINGS = {
    "speed": Level.SYSTEM,
    "tool_choice": Level.MESSAGES,
    "thinking": Level.MESSAGES,
    "output_config": Level.MESSAGES,
}

_OPENAI = Rules(
    "OpenAI before GPT-5.6", Mode.PREFIX, 1024, 128, 600, settings=_OPENAI_SETTINGS,
    note="kept 5 to 10 minutes idle; 10 are assumed",
)  # fmt: skip
_OPENAI_24H = replace(_OPENAI, ttl_s=1800, note="kept up to 24 hours, typically 30 minutes")
_OPENAI_BREAKPOINTS = Rules(
    "OpenAI from GPT-5.6", Mode.BREAKPOINTS, 1024, 1, 1800, settings=_OPENAI_SETTINGS
)
_ANTHROPIC = Rules("Anthropic", Mode.MARKERS, 1024, 1, 300, settings=_ANTHROPIC_SETTINGS)
_ENGINE = Rules(
    "inference engine", Mode.PREFIX, 16, 16, None, tools_first=False,
    note="pages of 16 tokens, tools behind the system text, memory for all",
)  # fmt: skip

_ANTHROPIC_MINIMA = (
    (r"(opus|sonnet|haiku)-5-5|opus-5|fable-5|mythos-5", 512),
    (r"opus-4-[56]|haiku-4-5", 4096),
    (r"opus-4-7|mythos-preview|3-5-haiku|haiku-3-5", 2048),
    (r".", 1024),
)
_OPENAI_24H_MODELS = r"gpt-(5\.5|5\.4|5\.2|5\.1|5(-codex)?$|4\.1)"

_OTHERS = (
    (r"^gemini-(3\.1-pro|3\.[5-8]-flash|4)", Rules(
        "Google Gemini", Mode.PREFIX, 4096, 1, 600, note="lifetime not published; 10 min")),
    (r"^gemini", Rules(
        "Google Gemini", Mode.PREFIX, 2048, 1, 600, note="lifetime not published; 10 min")),
    (r"^deepseek", Rules(
        "DeepSeek", Mode.PREFIX, 64, 64, 7200,
        note="units of 64 tokens; kept hours to days, 2 h assumed")),
    (r"^grok", Rules("xAI", Mode.PREFIX, 128, 128, None, note="evicted at any time")),
    (r"^(kimi|moonshot)", Rules("Moonshot Kimi", Mode.PREFIX, 256, 256, 300)),
    (r"^minimax", Rules("MiniMax", Mode.PREFIX, 512, 1, 300)),
    (r"^(qwen\d*\.?\d*-(max|plus|flash|turbo)|qwen4)", Rules(
        "Alibaba Qwen", Mode.PREFIX, 1024, 1, 300, note="implicit cache, lifetime not published")),
    (r"^(mistral|magistral|codestral|devstral|ministral)-", Rules(
        "Mistral", Mode.PREFIX, 1, 1, None, note="rules not published")),
)  # fmt: skip

_ENGINE_PROVIDERS = ("vllm", "hosted_vllm", "sglang", "stemfirst", "ollama", "lm_studio",
                     "llamafile", "huggingface")  # fmt: skip


@lru_cache(maxsize=1024)
def rules_for(model: str, provider: str | None, api: Api) -> Rules:
    """Return the rules that a request is expected to meet.

    A model of no known vendor is taken to run on an inference engine of one's own.

    Args:
        model: as requests name it; `provider/model` and Bedrock's ids work too.
        provider: an id or the base URL of the API, where the recording gives it.
        api: the request's format.
    """
    route = f"{provider or ''} {model}".lower()
    name = model.lower().rpartition("/")[2]
    name = re.sub(r"^(?:[a-z]{2,6}\.)?(?:anthropic|amazon|deepseek|qwen|openai)\.", "", name)
    if "groq" in route:
        return Rules("Groq", Mode.PREFIX, 128, 128, 7200, note="minimum 128 to 1,024 by model")
    own = any(part in route for part in _ENGINE_PROVIDERS) or re.search(
        r"://(localhost|127\.|0\.0\.0\.0|\[::1\]|10\.|192\.168\.)", provider or ""
    )
    if own:
        return _ENGINE
    if name.startswith("claude"):
        minimum = next(tokens for pattern, tokens in _ANTHROPIC_MINIMA if re.search(pattern, name))
        return replace(_ANTHROPIC, min_tokens=minimum)
    if re.match(r"gpt-(5\.[6-9]|[6-9])", name):
        return _OPENAI_BREAKPOINTS
    if re.match(r"gpt-oss", name):
        return _ENGINE
    if re.match(r"(ft:)?(gpt-|o\d|chatgpt)", name):
        return _OPENAI_24H if re.match(_OPENAI_24H_MODELS, name) else _OPENAI
    if "/" not in model:  # a hub's id is an open-weights checkpoint, whoever serves it
        for pattern, rules in _OTHERS:
            if re.search(pattern, name):
                return rules
    if provider:
        for pattern, rules in _OTHERS:
            if re.search(pattern, name) and rules.name.split()[-1].lower() in route:
                return rules
    return _ANTHROPIC if api is Api.ANTHROPIC else _ENGINE


def _duration(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min"
