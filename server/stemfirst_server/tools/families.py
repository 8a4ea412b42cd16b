"""Which formats there are, and which one a chat template teaches its model."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from stemfirst_server.tools.formats import DeepSeek, Format, LlamaJson, Mistral, Tagged
from stemfirst_server.tools.harmony import Harmony

if TYPE_CHECKING:
    from stemfirst_server.tokens.template import ChatTemplate

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


PROBE_NAME = "look_up_the_probe"
PROBE_ARGUMENTS: dict[str, Any] = {"where": "over there"}


def format_taught(template: ChatTemplate, control: Collection[str]) -> Format | None:
    """Return the format of calls that a model's own chat template shows it; None if it shows none.

    The template writes a call, and the format that reads the same call back is the one. Where it
    cannot be asked so, marks in its source tell.

    Args:
        template: the model's.
        control: the tokenizer's control tokens, as text.
    """
    written = template.written_call(PROBE_NAME, PROBE_ARGUMENTS)
    if written is not None:
        for form in _spellings(written):
            if _reads_back(form, written, control):
                return form
    return format_of(template.source)


def _spellings(written: str) -> tuple[Format, ...]:
    """Return each family in the spelling that `written` would be of it."""
    return (
        OPENAI,
        MISTRAL_ARGS if "[ARGS]" in written else MISTRAL,
        DEEPSEEK_V3 if "```json" in written else DEEPSEEK_V31,
        QWEN3_CODER if "<function=" in written else HERMES,
        LLAMA3_JSON,
    )


def _reads_back(form: Format, written: str, control: Collection[str]) -> bool:
    places = [place for place in map(written.find, form.begins) if place >= 0]
    if not places:
        return False
    raw = written[min(places) :]
    if form.end is not None and form.end in raw:
        raw = raw[: raw.index(form.end) + len(form.end)]
    else:
        # The turn's own end is no part of the call.
        ends = [raw.find(token) for token in control if token not in form.tokens]
        raw = raw[: min((end for end in ends if end > 0), default=len(raw))]
    calls = form.calls(raw.strip(), ())
    try:
        return [(call.name, json.loads(call.arguments)) for call in calls or ()] == [
            (PROBE_NAME, PROBE_ARGUMENTS)
        ]
    except ValueError:
        return False


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
