"""Text to token ids and back, as routers and load generators ask for them.

The shapes are vLLM's. Knows HTTP bodies; nothing here reaches the engine. Source: vLLM 0.33.0,
`entrypoints/openai`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictInt, StrictStr

from stemfirst_server.api import failures
from stemfirst_server.api.unfolding import unfolded
from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.namespaces import namespace
from stemfirst_server.tokens.template import conversation

if TYPE_CHECKING:
    from starlette.requests import Request

    from stemfirst_server.api.schema import ChatRequest
    from stemfirst_server.api.service import Service
    from stemfirst_server.tenants import Tenant


class TokenizeRequest(BaseModel):
    """The body of `POST /tokenize`: a prompt or a conversation."""

    model_config = ConfigDict(extra="ignore")

    model: StrictStr | None = None
    prompt: StrictStr | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_special_tokens: StrictBool = True
    add_generation_prompt: StrictBool = True
    continue_final_message: StrictBool = False
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: StrictBool | None = None


class DetokenizeRequest(BaseModel):
    """The body of `POST /detokenize`."""

    model_config = ConfigDict(extra="ignore")

    model: StrictStr | None = None
    tokens: list[StrictInt]


async def tokenize(body: TokenizeRequest, request: Request, service: Service) -> dict[str, Any]:
    """Answer `POST /tokenize`.

    Raises:
        InvalidRequestError: there is neither a prompt nor a conversation, or there are both.
    """
    if (body.prompt is None) == (body.messages is None):
        raise InvalidRequestError("send either prompt or messages", parameter="prompt")
    _check_model(body.model, service)
    space = _space(request, service, None)
    if body.messages is not None:
        asked = conversation(
            body.messages,
            body.tools,
            add_generation_prompt=body.add_generation_prompt and not body.continue_final_message,
            continue_final_message=body.continue_final_message,
            options=body.chat_template_kwargs,
        )
        prompt = await service.chat_prompt(asked, space)
    else:
        prompt = await service.text_prompt(
            body.prompt or "", space, ("prompt",), add_special_tokens=body.add_special_tokens
        )
    token_ids = prompt.encoded.token_ids.tolist()
    spelled = [service.vocabulary.bytes_of(token_id) for token_id in token_ids]
    return {
        "count": len(token_ids),
        "max_model_len": service.served.context_tokens,
        "tokens": token_ids,
        "token_strs": [data.decode("utf-8", "replace") for data in spelled]
        if body.return_token_strs
        else None,
    }


async def detokenize(body: DetokenizeRequest, service: Service) -> dict[str, Any]:
    """Answer `POST /detokenize`.

    Raises:
        InvalidRequestError: a token is outside the vocabulary.
    """
    _check_model(body.model, service)
    service.bounds.refuse_hopeless(len(body.tokens), "tokens")
    service.bounds.check_tokens(body.tokens, "tokens")
    return {"prompt": service.vocabulary.decode(body.tokens, has_control_tokens=True)}


async def render(body: ChatRequest, request: Request, service: Service) -> dict[str, Any]:
    """Answer `POST /v1/chat/completions/render`: what a chat request would be computed on."""
    _check_model(body.model, service)
    body = unfolded(body, request, service)
    sampling = body.sampling()
    asked = conversation(
        body.messages,
        body.tools,
        add_generation_prompt=body.add_generation_prompt and not body.continue_final_message,
        continue_final_message=body.continue_final_message,
        options=body.template_options,
    )
    prompt = await service.chat_prompt(asked, _space(request, service, body.cache_salt))
    service.bounds.check_length(prompt.count, sampling.max_tokens, "messages")
    return {
        "model": service.served.names[0],
        "token_ids": prompt.encoded.token_ids.tolist(),
        "cache_salt": body.cache_salt,
    }


def _check_model(asked: str | None, service: Service) -> None:
    if asked is not None and asked not in service.served.names:
        raise failures.unknown_model(asked, service.served.names)


def _space(request: Request, service: Service, cache_salt: str | None) -> str:
    tenant: Tenant = request.state.tenant
    return namespace(service.served.names[0], tenant.name, cache_salt)
