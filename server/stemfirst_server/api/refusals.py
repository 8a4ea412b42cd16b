"""Fields that would change an answer and are not built: refused by name, not ignored.

A client that limits its answer by such a field must not get an unlimited one without a word. A
value that asks for nothing is let pass, as clients send it by default. Source: the API references
of OpenAI and Anthropic, and vLLM's and SGLang's request models, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stemfirst_server.errors import InvalidRequestError

_JSON = "use response_format"
_ALLOWED = "raise them with logit_bias, or use structured_outputs"
_NOTHING = "leave it out"

NOT_BUILT: Mapping[str, str] = {
    # OpenAI's.
    "functions": "use tools",
    "function_call": "use tool_choice",
    "audio": "this server writes text only",
    "modalities": "this server writes text only",
    "web_search_options": "this server searches nothing",
    # Anthropic's.
    "mcp_servers": "call tools from the client",
    "container": "this server runs no code",
    # vLLM's.
    "structured_outputs": _JSON,
    "guided_json": _JSON,
    "guided_choice": _JSON,
    "guided_regex": _JSON,
    "guided_grammar": _JSON,
    "allowed_token_ids": _ALLOWED,
    "bad_words": "use logit_bias",
    "min_tokens": "use ignore_eos and max_tokens, or logit_bias on the end token",
    "use_beam_search": _NOTHING,
    "include_stop_str_in_output": "add the stop string in the client",
    "skip_special_tokens": "use /v1/completions with logprobs to see every token",
    "truncate_prompt_tokens": "shorten the prompt in the client",
    "prompt_logprobs": _NOTHING,
    "prompt_embeds": "send text or token ids",
    "chat_template": "chat_template_kwargs are passed on; the template is the model's own",
    "documents": "put them into the messages",
    "logits_processors": "use logit_bias or structured_outputs",
    # SGLang's.
    "regex": "use structured_outputs",
    "ebnf": "use structured_outputs",
    "json_schema": _JSON,
    "stop_regex": "use stop",
    "no_stop_trim": "add the stop string in the client",
    "lora_path": "serve the merged model",
    "custom_logit_processor": "use logit_bias or structured_outputs",
}
"""What to do instead, by field."""

_IDLE: Mapping[str, tuple[Any, ...]] = {
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "skip_special_tokens": (True,),
}
"""Values that ask for nothing, besides null, false, 0 and what is empty."""

# What is off when it is true cannot be told from its being empty.
_TRUE_IS_IDLE = frozenset({"skip_special_tokens"})


def refuse_unbuilt(body: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse a body that asks for what is not built.

    Args:
        body: as it was sent.
        known: fields that its route understands.

    Raises:
        InvalidRequestError: it asks for it; names the field.
    """
    for name in NOT_BUILT.keys() & body.keys() - set(known):
        value = body[name]
        is_idle = value is None or value in _IDLE.get(name, ())
        if is_idle or (not value and name not in _TRUE_IS_IDLE):
            continue
        raise InvalidRequestError(
            f"{name} is not supported here: {NOT_BUILT[name]}", parameter=name
        )
