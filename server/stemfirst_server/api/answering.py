"""From a request to its answer: the prompt, what the answer must be, and the generation.

One path for all routes. How an answer is told, whole or streamed, is `telling`'s.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stemfirst_server.api import failures, openai
from stemfirst_server.api.comparing import Comparison, compare, fingerprint
from stemfirst_server.api.generation import Generation
from stemfirst_server.api.messages import MessagesShape
from stemfirst_server.api.narrated import Origin
from stemfirst_server.api.output import ANYTHING, OutputAsked, OutputPlan
from stemfirst_server.api.responses import ResponsesShape
from stemfirst_server.api.telling import Job, Shape, tell
from stemfirst_server.api.unfolding import unfolded
from stemfirst_server.engine.request import GenerationRequest
from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.namespaces import namespace
from stemfirst_server.steering.hints import hints_of
from stemfirst_server.steering.references import refuse_reference
from stemfirst_server.tokens.template import conversation

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from stemfirst_server.api.admission import Seats
    from stemfirst_server.api.messages import MessagesRequest
    from stemfirst_server.api.responses import ResponsesRequest
    from stemfirst_server.api.schema import ChatRequest, CompletionRequest, Sampled
    from stemfirst_server.api.service import PromptTokens, Service
    from stemfirst_server.engine.request import SamplingParams
    from stemfirst_server.tenants import Tenant
    from stemfirst_server.tokens.template import Conversation


@dataclass(frozen=True, slots=True)
class Compared:
    """What shapes may know of a prompt: its tokens, and how it continues an earlier one."""

    tokens: int
    comparison: Comparison | None


MOST_PROMPTS = 256
"""Prompts times choices of one request at most."""


async def chat(body: ChatRequest, request: Request, service: Service) -> Response:
    """Answer `POST /v1/chat/completions`."""
    body = unfolded(body, request, service)
    sampling = body.sampling()
    asked = conversation(
        body.messages,
        body.tools,
        add_generation_prompt=body.add_generation_prompt and not body.continue_final_message,
        continue_final_message=body.continue_final_message,
        options=body.template_options,
    )
    vocabulary = service.vocabulary
    return await _converse(
        body, request, service, asked, sampling, body.output(),
        lambda head, _: openai.ChatShape(head, vocabulary), "chatcmpl-",
    )  # fmt: skip


async def message(body: MessagesRequest, request: Request, service: Service) -> Response:
    """Answer `POST /v1/messages`."""
    refuse_reference(body.stemfirst)
    sampling = body.sampling()
    asked, paths = body.conversation()
    return await _converse(
        body, request, service, asked, sampling, body.output(),
        lambda head, prompt: MessagesShape(head, prompt.tokens, prompt.comparison), "msg_",
        Origin(body.model_dump(include={"system", "messages", "tools"}), paths),
    )  # fmt: skip


async def response(body: ResponsesRequest, request: Request, service: Service) -> Response:
    """Answer `POST /v1/responses`."""
    refuse_reference(body.stemfirst)
    sampling = body.sampling()
    asked, paths = body.conversation()
    vocabulary = service.vocabulary
    return await _converse(
        body, request, service, asked, sampling, body.output(),
        lambda head, _: ResponsesShape(head, body, vocabulary), "resp_",
        Origin(body.model_dump(include={"instructions", "input", "tools"}), paths),
        field="input",
    )  # fmt: skip


async def count(body: MessagesRequest, request: Request, service: Service) -> dict[str, int]:
    """Answer `POST /v1/messages/count_tokens`."""
    refuse_reference(body.stemfirst)
    _model(body, service)
    asked, _ = body.conversation()
    tenant: Tenant = request.state.tenant
    space = namespace(service.served.names[0], tenant.name, body.cache_salt)
    with service.admission.take(1, tenant):
        prompt = await service.chat_prompt(asked, space)
    return {"input_tokens": prompt.count}


async def _converse(
    body: Sampled,
    request: Request,
    service: Service,
    asked: Conversation,
    sampling: SamplingParams,
    output: OutputAsked,
    shape_of: Callable[[openai.Head, Compared], Shape],
    kind: str,
    origin: Origin | None = None,
    *,
    field: str = "messages",
) -> Response:
    """Answer a conversation in the shape that `shape_of` makes of its head and its prompt."""
    model = _model(body, service)
    tenant: Tenant = request.state.tenant
    space = namespace(service.served.names[0], tenant.name, body.cache_salt)
    with service.admission.take(body.choices, tenant, is_stream=bool(body.stream)) as seats:
        began = time.monotonic()
        prompt = await service.chat_prompt(asked, space, origin)
        tokenize_ms = (time.monotonic() - began) * 1000
        sampling = service.bounds.fitted(sampling, prompt.count, field)
        plan = await service.outputs.plan(output)
        head = _head(kind, model)
        comparison = _compared(body, service, tenant, head.response_id, asked, space, prompt)
        shape = shape_of(head, Compared(prompt.count, comparison))
        return await _answer(
            body, request, service, seats, shape, head, [prompt], [""], sampling, space,
            tokenize_ms, plan, comparison,
        )  # fmt: skip


async def completion(body: CompletionRequest, request: Request, service: Service) -> Response:
    """Answer `POST /v1/completions`."""
    refuse_reference(body.stemfirst)
    sampling = body.sampling()
    asked = body.prompts
    if len(asked) * body.choices > MOST_PROMPTS:
        raise InvalidRequestError(
            f"one request may ask for {MOST_PROMPTS} answers at most, got {len(asked)} prompts "
            f"with {body.choices} each: send several requests",
            parameter="prompt",
        )
    model = _model(body, service)
    tenant: Tenant = request.state.tenant
    space = namespace(service.served.names[0], tenant.name, body.cache_salt)
    is_list = isinstance(body.prompt, list) and not isinstance(asked[0], list)
    count = len(asked) * body.choices
    with service.admission.take(count, tenant, is_stream=bool(body.stream)) as seats:
        began = time.monotonic()
        prompts = [
            await service.text_prompt(prompt, space, ("prompt", index) if is_list else ("prompt",))
            for index, prompt in enumerate(asked)
        ]
        tokenize_ms = (time.monotonic() - began) * 1000
        for tokens in prompts:
            sampling = service.bounds.fitted(sampling, tokens.count, "prompt")
        echoes = [""] * len(asked)
        if body.echo:
            echoes = [
                prompt if isinstance(prompt, str) else service.vocabulary.decode(prompt)
                for prompt in asked
            ]
        head = _head("cmpl-", model)
        shape = openai.CompletionShape(head, service.vocabulary)
        plan = await service.outputs.plain(body.text())
        return await _answer(
            body, request, service, seats, shape, head, prompts, echoes, sampling, space,
            tokenize_ms, plan,
        )  # fmt: skip


async def _answer(
    body: Sampled,
    request: Request,
    service: Service,
    seats: Seats,
    shape: Shape,
    head: openai.Head,
    prompts: Sequence[PromptTokens],
    echoes: Sequence[str],
    sampling: SamplingParams,
    space: str,
    tokenize_ms: float,
    plan: OutputPlan = ANYTHING,
    comparison: Comparison | None = None,
) -> Response:
    service.bounds.check_biases(sampling)
    request_id = request.state.request_id
    choices = body.choices
    read_ms = [await service.prefetch(prompt, space) for prompt in prompts]
    wishes = hints_of(body.priority, body.stemfirst)
    requests = [
        GenerationRequest(
            f"{request_id}-{uuid.uuid4().hex[:8]}-{index}",
            prompts[index // choices].encoded.token_ids,
            _for_choice(sampling, index % choices),
            space,
            constraint=plan.constraint,
            prefetch_ms=read_ms[index // choices],
            priority=wishes.priority,
            ttl_s=wishes.ttl_s,
        )
        for index in range(len(prompts) * choices)
    ]
    job = Job(
        service=service,
        body=body,
        shape=shape,
        prompts=tuple(prompts),
        echoes=tuple(echoes),
        choices=choices,
        generation=Generation(
            seats.over(service),
            service.vocabulary,
            requests,
            body.stops,
            plan,
            is_whole=not body.stream,
        ),
        wants_logprobs=sampling.logprobs is not None,
        api_key=request.state.api_key,
        tokenize_ms=tokenize_ms,
        comparison=comparison,
        answer_id=head.response_id,
        model=head.model,
        sampling=sampling,
        state=request.state,
        headers=request.headers,
        began_s=time.time() - tokenize_ms / 1000,
    )
    return await tell(job, request)


def _compared(
    body: Sampled,
    service: Service,
    tenant: Tenant,
    answer_id: str,
    asked: Conversation,
    space: str,
    prompt: PromptTokens,
) -> Comparison | None:
    """Keep the prompt for later comparisons; return the one that was asked for, if any was."""
    now = fingerprint(asked, space, prompt.encoded.token_ids)
    found = None
    if body.compared_to is not None:
        found = compare(service.earlier.find(tenant.name, body.compared_to), now)
    service.earlier.keep(tenant.name, answer_id, now)
    return found


def _for_choice(sampling: SamplingParams, choice: int) -> SamplingParams:
    """Return the parameters of one of several choices: with a seed, each draws differently."""
    if sampling.seed is None or choice == 0:
        return sampling
    return replace(sampling, seed=(sampling.seed + choice) % 2**63)


def _model(body: Sampled, service: Service) -> str:
    names = service.served.names
    if body.model is not None and body.model not in names:
        raise failures.unknown_model(body.model, names)
    return body.model or names[0]


def _head(prefix: str, model: str) -> openai.Head:
    return openai.Head(f"{prefix}{uuid.uuid4().hex}", int(time.time()), model)
