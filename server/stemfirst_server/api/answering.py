"""From a request to its answer: prompts, generation, and the answer whole or as a stream.

One path for chat and legacy completions, streamed and not, so that all four count, report and
fail alike. Knows HTTP's part (disconnects, server-sent events); shapes are `openai`'s.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from stemfirst_server.api import failures, openai
from stemfirst_server.api.generation import Generation, Piece
from stemfirst_server.engine.request import GenerationRequest
from stemfirst_server.errors import InvalidRequestError, RequestFailedError
from stemfirst_server.namespaces import namespace
from stemfirst_server.tokens.template import conversation

if TYPE_CHECKING:
    from starlette.requests import Request

    from stemfirst_server.api.schema import ChatRequest, CompletionRequest, Sampled
    from stemfirst_server.api.service import PromptTokens, Service
    from stemfirst_server.engine.request import RequestReport, SamplingParams

MOST_PROMPTS = 256
"""Prompts times choices of one request at most."""

Shape = openai.ChatShape | openai.CompletionShape


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
    model = _model(body, service)
    space = namespace(service.served.names[0], _tenant(request), body.cache_salt)
    began = time.monotonic()
    prompt = await service.chat_prompt(asked, space)
    tokenize_ms = (time.monotonic() - began) * 1000
    service.check_length(prompt, sampling.max_tokens, "messages")
    shape = openai.ChatShape(_head("chatcmpl", model), service.vocabulary)
    return await _answer(
        body, request, service, shape, [prompt], [""], sampling, space, tokenize_ms
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
    space = namespace(service.served.names[0], _tenant(request), body.cache_salt)
    began = time.monotonic()
    is_list = isinstance(body.prompt, list) and not isinstance(asked[0], list)
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
        body, request, service, shape, prompts, echoes, sampling, space, tokenize_ms
    )


async def _answer(
    body: Sampled,
    request: Request,
    service: Service,
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
        Generation(service, service.vocabulary, requests, body.stops),
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
    body = openai.with_fields(
        job.shape.whole(answers, job.wants_logprobs),
        {"usage": openai.usage(counted, sum(answer.output_tokens for answer in answers))},
        openai.report_field(report, counted[0]),
    )
    return JSONResponse(body, headers=openai.headers(report, job.tokenize_ms))


async def _stream(job: Job, watching: asyncio.Task[None]) -> Response:
    """Return the stream once its first piece is there, so that a failure has its own status."""
    pieces = job.generation.pieces()
    try:
        first = await anext(pieces)
    except BaseException:
        watching.cancel()
        raise

    async def events() -> AsyncIterator[bytes]:
        try:
            async for event in _events(job, first, pieces):
                yield event
        finally:
            watching.cancel()
            job.generation.abort()

    return StreamingResponse(
        events(), media_type="text/event-stream", headers={"cache-control": "no-cache"}
    )


async def _events(job: Job, first: Piece, pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
    answers = [openai.Answer() for _ in range(_count(job))]
    for index, _ in enumerate(answers):
        opening = job.shape.opening(index)
        if opening is not None:
            yield _event(opening)
        elif echo := job.echoes[index // job.choices]:
            yield _event(job.shape.piece(index, echo, (), None, False))
    piece: Piece | None = first
    left = len(answers)
    try:
        while piece is not None:
            _add(answers[piece.choice], piece, keep_tokens=False)
            left -= piece.finish is not None
            if piece.text or piece.finish or job.wants_logprobs:
                chunk = job.shape.piece(
                    piece.choice, piece.text, piece.tokens, piece.finish, job.wants_logprobs
                )
                for event in _with_account(job, answers, chunk) if left == 0 else [chunk]:
                    yield _event(event)
            piece = await anext(pieces, None)
    except RequestFailedError as error:
        yield _event(failures.from_server_error(error).body())
    yield b"data: [DONE]\n\n"


def _with_account(
    job: Job, answers: Sequence[openai.Answer], last: openai.Json
) -> list[openai.Json]:
    """Return the last chunk, with usage and report on it or on one of their own behind it."""
    counted = _counted(job, answers)
    report = job.service.report(counted[0], job.prompts[0], job.body.stemfirst, job.api_key)
    usage = {"usage": openai.usage(counted, sum(answer.output_tokens for answer in answers))}
    field = openai.report_field(report, counted[0])
    match job.body.wants_usage:
        case True:
            return [last, openai.with_fields(job.shape.closing(), usage, field)]
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


def _count(job: Job) -> int:
    return len(job.prompts) * job.choices


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


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


def _tenant(request: Request) -> str:
    """Return the tenant that authentication named; with one set of keys there is one."""
    return ""


def _head(prefix: str, model: str) -> openai.Head:
    return openai.Head(f"{prefix}-{uuid.uuid4().hex}", int(time.time()), model)
