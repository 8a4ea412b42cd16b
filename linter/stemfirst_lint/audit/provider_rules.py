"""What a provider's cache rules mean for a recorded request: settings that count, what is readable.

Knows which request settings a cache depends on, and where tools are rendered. Minimum, steps,
markers and lifetime are those of `stemfirst.providers`, the one table of them. Does not know prices
(see `stemfirst.prices`) or requests' text.

Source for the settings: the vendors' client packages and guides, read 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from stemfirst.providers import ANTHROPIC, ENGINE, Mode, cache_rules

from stemfirst_lint.audit.records import Api


class Level(Enum):
    """From where on a request setting is part of the prefix."""

    START = 0
    SYSTEM = 1
    MESSAGES = 2


@dataclass(frozen=True, slots=True)
class Rules:
    """One provider's rules for one model.

    Attributes:
        name, mode, min_tokens, step_tokens, ttl_s, note: as in `stemfirst.providers.CacheRules`.
        lookback_blocks: content blocks that are searched back from a marker.
        settings: request settings that the cache depends on, and from where on.
        tools_first: tool definitions are rendered before the system text.
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


_SETTINGS: tuple[tuple[str, Mapping[str, Level]], ...] = (
    ("OpenAI", dict.fromkeys(
        ("parallel_tool_calls", "response_format", "text", "reasoning_effort", "reasoning",
         "verbosity", "context_management", "service_tier"),
        Level.START,
    )),
    ("Anthropic", {
        "speed": Level.SYSTEM,
        "tool_choice": Level.MESSAGES,
        "thinking": Level.MESSAGES,
        "output_config": Level.MESSAGES,
    }),
)  # fmt: skip
"""By the beginning of the rules' name."""


@lru_cache(maxsize=1024)
def rules_for(model: str, provider: str | None, api: Api) -> Rules:
    """Return the rules that a request is expected to meet.

    A model of no known vendor is taken to run on an inference engine of one's own.

    Args:
        model: as requests name it; `provider/model` and Bedrock's ids work too.
        provider: an id or the base URL of the API, where the recording gives it.
        api: the request's format.
    """
    found = cache_rules(model, provider) or (ANTHROPIC if api is Api.ANTHROPIC else ENGINE)
    settings = next((known for name, known in _SETTINGS if found.name.startswith(name)), {})
    return Rules(
        found.name,
        found.mode,
        found.min_tokens,
        found.step_tokens,
        found.ttl_s,
        found.lookback_blocks or 20,
        settings,
        tools_first=found.renders_tools_first,
        note=found.note,
    )


def _duration(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min"
