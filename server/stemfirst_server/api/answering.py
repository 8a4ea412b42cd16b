"""From a request to its answer: prompts, generation, and the answer whole or as a stream.

One path for chat and legacy completions, streamed and not, so that all four count, report and
fail alike. Knows HTTP's part (disconnects, server-sent events); shapes are `openai`'s.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse

from stemfirst_server.api import failures, openai
from stemfirst_server.api.encoding import Answered, encoded
from stemfirst_server.api.generation import Generation, Piece
from stemfirst_server.api.messages import MessagesShape
from stemfirst_server.api.narrated import Narrated, Origin
from stemfirst_server.api.responses import ResponsesShape
from stemfirst_server.engine.request import GenerationRequest
from stemfirst_server.errors import InvalidRequestError, RequestFailedError
from stemfirst_server.namespaces import namespace
from stemfirst_server.tokens.template import conversation

if TYPE_CHECKING:
    from starlette.requests import Request

    from stemfirst_server.api.admission import Seats
    from stemfirst_server.api.messages import MessagesRequest
    from stemfirst_server.api.responses import ResponsesRequest
    from stemfirst_server.api.schema import ChatRequest, CompletionRequest, Sampled
    from stemfirst_server.api.service import PromptTokens, Service
    from stemfirst_server.engine.request import RequestReport, SamplingParams
    from stemfirst_server.tenants import Tenant
    from stemfirst_server.tokens.template import Conversation

MOST_PROMPTS = 256
"""Prompts times choices of one request at most."""

OpenAIShape = openai.ChatShape | openai.CompletionShape
Shape = OpenAIShape | Narrated


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One HTTP request on its way.

    Attributes:
        echoes: text to show before each choice; empty for chat.
        choices: answers a prompt; choice `i` answers prompt `i // choices`.
        tokenize_ms: time that template and tokenizer took.
    """

    service: Service
    body: Sampled
    shape: Shape
    prompts: tuple[PromptTokens, ...]
    echoes: tuple[str, ...]
    choices: int
    generation: Generation
    wants_logprobs: bool
    api_key: str | None
    tokenize_ms: float


async def chat(body: ChatRequest, request: Request, service: Service) -> Response:
    """Answer `POST /v1/chat/completions`."""
    sampling = body.sampling()
    asked = conversation(
        body.messages,
        body.tools,
        add_generation_prompt=body.add_generation_prompt and not body.continue_final_message,
        continue_final_message=body.continue_final_message,
        options=body.chat_template_kwargs,
    )
    vocabulary = service.vocabulary
    return await _converse(
        body, request, service, asked, sampling,
        lambda model, _: openai.ChatShape(_head("chatcmpl", model), vocabulary),
    )  # fmt: skip


async def message(body: MessagesRequest, request: Request, service: Service) -> Response:
    """Answer `POST /v1/messages`."""
    sampling = body.sampling()
    asked, paths = body.conversation()
    return await _converse(
        body, request, service, asked, sampling,
        lambda model, tokens: MessagesShape(_head("msg", model), tokens),
        Origin(body.model_dump(include={"system", "messages", "tools"}), paths),
    )  # fmt: skip


async def response(body: ResponsesRequest, request: Request, service: Service) -> Response:
    """Answer `POST /v1/responses`."""
    sampling = body.sampling()
    asked, paths = body.conversation()
    return await _converse(
        body, request, service, asked, sampling,
        lambda model, _: ResponsesShape(_head("resp", model), body),
        Origin(body.model_dump(include={"instructions", "input", "tools"}), paths),
        field="input",
    )  # fmt: skip


async def count(body: MessagesRequest, request: Request, service: Service) -> dict[str, int]:
    """Answer `POST /v1/messages/count_tokens`."""
    _model(body, service)
    asked, _ = body.conversation()
    tenant: Tenant = request.state.tenant
    space = namespace(service.served.names[0], tenant.name, body.cache_salt)
    with service.admission.take(1, tenant):
        prompt = await service.chat_prompt(asked, space)
    return {"input_tokens": len(prompt.encoded.token_ids)}


async def _converse(
    body: Sampled,
    request: Request,
    service: Service,
    asked: Conversation,
    sampling: SamplingParams,
    shape_of: Callable[[str, int], Shape],
    origin: Origin | None = None,
    *,
    field: str = "messages",
) -> Response:
    """Answer a conversation in the shape that `shape_of(model, prompt tokens)` makes."""
    model = _model(body, service)
    tenant: Tenant = request.state.tenant
    space = namespace(service.served.names[0], tenant.name, body.cache_salt)
    with service.admission.take(body.choices, tenant) as seats:
        began = time.monotonic()
        prompt = await service.chat_prompt(asked, space, origin)
        tokenize_ms = (time.monotonic() - began) * 1000
        service.check_length(prompt, sampling.max_tokens, field)
        shape = shape_of(model, len(prompt.encoded.token_ids))
        return await _answer(
            body, request, service, seats, shape, [prompt], [""], sampling, space, tokenize_ms
        )


async def completion(body: CompletionRequest, request: Request, service: Service) -> Response:
    """Answer `POST /v1/completions`."""
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
    with service.admission.take(len(asked) * body.choices, tenant) as seats:
        began = time.monotonic()
        prompts = [
            await service.text_prompt(prompt, space, ("prompt", index) if is_list else ("prompt",))
            for index, prompt in enumerate(asked)
        ]
        tokenize_ms = (time.monotonic() - began) * 1000
        for tokens in prompts:
            service.check_length(tokens, sampling.max_tokens, "prompt")
        echoes = [""] * len(asked)
        if body.echo:
            echoes = [
                prompt if isinstance(prompt, str) else service.vocabulary.decode(prompt)
                for prompt in asked
            ]
        shape = openai.CompletionShape(_head("cmpl", model), service.vocabulary)
        return await _answer(
            body, request, service, seats, shape, prompts, echoes, sampling, space, tokenize_ms
        )


async def _answer(
    body: Sampled,
    request: Request,
    service: Service,
    seats: Seats,
    shape: Shape,
    prompts: Sequence[PromptTokens],
    echoes: Sequence[str],
    sampling: SamplingParams,
    space: str,
    tokenize_ms: float,
) -> Response:
    service.check_biases(sampling)
    request_id = request.state.request_id
    choices = body.choices
    requests = [
        GenerationRequest(
            f"{request_id}-{uuid.uuid4().hex[:8]}-{index}",
            prompts[index // choices].encoded.token_ids,
            _for_choice(sampling, index % choices),
            space,
        )
        for index in range(len(prompts) * choices)
    ]
    job = Job(
        service,
        body,
        shape,
        tuple(prompts),
        tuple(echoes),
        choices,
        Generation(seats.over(service), service.vocabulary, requests, body.stops),
        sampling.logprobs is not None,
        request.state.api_key,
        tokenize_ms,
    )
    job.generation.start()
    watching = asyncio.create_task(_abort_on_disconnect(request, job.generation))
    if body.stream:
        return await _stream(job, watching)
    try:
        answers = await _gathered(job)
    finally:
        watching.cancel()
    return _whole(job, answers)


async def _gathered(job: Job) -> list[openai.Answer]:
    answers = [openai.Answer(job.echoes[i // job.choices]) for i in range(_count(job))]
    async for piece in job.generation.pieces():
        _add(answers[piece.choice], piece, keep_tokens=job.wants_logprobs)
    return answers


def _whole(job: Job, answers: Sequence[openai.Answer]) -> Response:
    counted = _counted(job, answers)
    report = job.service.report(counted[0], job.prompts[0], job.body.stemfirst, job.api_key)
    field = openai.report_field(report, counted[0])
    if isinstance(job.shape, openai.ChatShape | openai.CompletionShape):
        body = openai.with_fields(
            job.shape.whole(answers, job.wants_logprobs),
            {"usage": openai.usage(counted, sum(answer.output_tokens for answer in answers))},
            field,
        )
    else:
        body = job.shape.whole(answers[0], counted[0], field)
    return Answered(body, headers=openai.headers(report, job.tokenize_ms))


async def _stream(job: Job, watching: asyncio.Task[None]) -> Response:
    """Return the stream once its first piece is there, so that a failure has its own status."""
    pieces = job.generation.pieces()
    try:
        first = await anext(pieces)
    except BaseException:
        watching.cancel()
        raise

    shape = job.shape
    if isinstance(shape, openai.ChatShape | openai.CompletionShape):
        story = _events(job, shape, first, pieces)
    else:
        story = _narrated(job, shape, first, pieces)

    async def events() -> AsyncIterator[bytes]:
        try:
            async for event in story:
                yield event
        finally:
            watching.cancel()
            job.generation.abort()

    return StreamingResponse(
        events(), media_type="text/event-stream", headers={"cache-control": "no-cache"}
    )


async def _events(
    job: Job, shape: OpenAIShape, first: Piece, pieces: AsyncIterator[Piece]
) -> AsyncIterator[bytes]:
    answers = [openai.Answer() for _ in range(_count(job))]
    for index, _ in enumerate(answers):
        opening = shape.opening(index)
        if opening is not None:
            yield _event(opening)
        elif echo := job.echoes[index // job.choices]:
            yield _event(shape.piece(index, echo, (), None, False))
    piece: Piece | None = first
    left = len(answers)
    try:
        while piece is not None:
            _add(answers[piece.choice], piece, keep_tokens=False)
            left -= piece.finish is not None
            if piece.text or piece.finish or job.wants_logprobs:
                chunk = shape.piece(
                    piece.choice, piece.text, piece.tokens, piece.finish, job.wants_logprobs
                )
                for event in _with_account(job, shape, answers, chunk) if left == 0 else [chunk]:
                    yield _event(event)
            piece = await anext(pieces, None)
    except RequestFailedError as error:
        yield _event(failures.from_server_error(error).body())
    yield b"data: [DONE]\n\n"


async def _narrated(
    job: Job, shape: Narrated, first: Piece, pieces: AsyncIterator[Piece]
) -> AsyncIterator[bytes]:
    answer = openai.Answer()
    for event in shape.begin():
        yield _named_event(event)
    piece: Piece | None = first
    try:
        while piece is not None:
            _add(answer, piece, keep_tokens=False)
            for event in shape.piece(piece.text) if piece.text else ():
                yield _named_event(event)
            piece = await anext(pieces, None)
    except RequestFailedError as error:
        yield _named_event(shape.failure(failures.from_server_error(error)))
        return
    counted = _counted(job, [answer])[0]
    report = job.service.report(counted, job.prompts[0], job.body.stemfirst, job.api_key)
    for event in shape.end(answer, counted, openai.report_field(report, counted)):
        yield _named_event(event)


def _with_account(
    job: Job, shape: OpenAIShape, answers: Sequence[openai.Answer], last: openai.Json
) -> list[openai.Json]:
    """Return the last chunk, with usage and report on it or on one of their own behind it."""
    counted = _counted(job, answers)
    report = job.service.report(counted[0], job.prompts[0], job.body.stemfirst, job.api_key)
    usage = {"usage": openai.usage(counted, sum(answer.output_tokens for answer in answers))}
    field = openai.report_field(report, counted[0])
    match job.body.wants_usage:
        case True:
            return [last, openai.with_fields(shape.closing(), usage, field)]
        case False:
            return [openai.with_fields(last, field)]
        case None:
            return [openai.with_fields(last, usage, field)]


def _counted(job: Job, answers: Sequence[openai.Answer]) -> list[RequestReport]:
    """Return one report a prompt: of several choices, the one that paid for the prompt."""
    reports = []
    for start in range(0, len(answers), job.choices):
        own = [answer.report for answer in answers[start : start + job.choices]]
        reports.append(min((r for r in own if r is not None), key=lambda r: r.cached_tokens))
    return reports


def _add(answer: openai.Answer, piece: Piece, *, keep_tokens: bool) -> None:
    answer.text += piece.text
    if keep_tokens:
        answer.tokens.extend(piece.tokens)
    if piece.finish is not None:
        answer.finish = piece.finish
        answer.report = piece.report
        answer.output_tokens = piece.output_tokens
        answer.stop = piece.stop


def _count(job: Job) -> int:
    return len(job.prompts) * job.choices


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + encoded(body) + b"\n\n"


def _named_event(body: dict[str, Any]) -> bytes:
    return f"event: {body['type']}\n".encode() + _event(body)


async def _abort_on_disconnect(request: Request, generation: Generation) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    generation.abort()


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
    return openai.Head(f"{prefix}-{uuid.uuid4().hex}", int(time.time()), model)
