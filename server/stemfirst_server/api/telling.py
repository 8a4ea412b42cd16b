"""An answer on its way out: whole, or as a stream of server-sent events.

One path for all routes, so that streamed and not they count, report and fail alike. Knows HTTP's
part (disconnects, events); shapes are those of `openai`, `messages` and `responses`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse

from stemfirst_server import tracing
from stemfirst_server.api import failures, openai
from stemfirst_server.api.encoding import Answered, encoded
from stemfirst_server.api.messages import MessagesShape
from stemfirst_server.api.narrated import Narrated
from stemfirst_server.engine.request import FinishReason
from stemfirst_server.errors import RequestFailedError
from stemfirst_server.logs import FIELDS

if TYPE_CHECKING:
    from starlette.datastructures import State
    from starlette.requests import Request
    from stemfirst.wire import Report

    from stemfirst_server.api.comparing import Comparison
    from stemfirst_server.api.generation import Generation, Piece
    from stemfirst_server.api.schema import Sampled
    from stemfirst_server.api.service import PromptTokens, Service
    from stemfirst_server.engine.request import RequestReport, SamplingParams, TokenEvent

log = logging.getLogger("stemfirst.text")

OpenAIShape = openai.ChatShape | openai.CompletionShape
Shape = OpenAIShape | Narrated


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One HTTP request on its way.

    Attributes:
        echoes: text to show before each choice; empty for chat.
        choices: answers a prompt; choice `i` answers prompt `i // choices`.
        tokenize_ms: time that template and tokenizer took.
        comparison: with an earlier prompt, if one was named.
        answer_id: as the client will know it.
        model: by the name that was asked for.
        sampling: of each choice but for the seed.
        state: of the request; gets what the log shall say.
        headers: of the request.
        began_s: when it came, seconds since 1970.
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
    comparison: Comparison | None
    answer_id: str
    model: str
    sampling: SamplingParams
    state: State
    headers: Mapping[str, str]
    began_s: float


async def tell(job: Job, request: Request) -> Response:
    """Start what was asked and return its answer; a client that leaves ends it.

    Raises:
        ServerError: the engine refused it, or could not complete it before anything was told.
    """
    if job.headers.get("x-stainless-retry-count", "0") != "0":
        job.service.metrics.retried()
    if job.service.logs_text:
        decode = partial(job.service.vocabulary.decode, has_control_tokens=True)
        _log_text(job, "prompt", [decode(each.encoded.token_ids.tolist()) for each in job.prompts])
    job.generation.start()
    watching = asyncio.create_task(when_left(request, job.generation.abort))
    if job.body.stream:
        return await _stream(job, watching)
    try:
        answers = await _gathered(job)
    except BaseException as error:
        _trace(job, None, [], _kind(error))
        raise
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
    report = _account(job, counted, answers)
    field = _field(job, report, counted[0])
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
    except BaseException as error:
        watching.cancel()
        _trace(job, None, [], _kind(error))
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
            if not hasattr(job.state, "is_traced"):
                _trace(job, None, [], tracing.CANCELLED)

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
            if piece.text or piece.calls or piece.finish or job.wants_logprobs:
                chunk = shape.piece(
                    piece.choice,
                    piece.text,
                    piece.tokens,
                    piece.finish,
                    job.wants_logprobs,
                    piece.calls,
                )
                for event in _with_account(job, shape, answers, chunk) if left == 0 else [chunk]:
                    yield _event(event)
            piece = await anext(pieces, None)
    except RequestFailedError as error:
        _trace(job, None, answers, _kind(error))
        yield _event(failures.from_server_error(error).body())
    yield b"data: [DONE]\n\n"


async def _narrated(
    job: Job, shape: Narrated, first: Piece, pieces: AsyncIterator[Piece]
) -> AsyncIterator[bytes]:
    answer = openai.Answer()
    for event in shape.begin():
        yield _named_event(event)
    piece: Piece | None = first
    tokens: list[TokenEvent] = []
    try:
        while piece is not None:
            _add(answer, piece, keep_tokens=False)
            if job.wants_logprobs:
                tokens += piece.tokens
            if piece.text:
                for event in shape.piece(piece.text, tokens):
                    yield _named_event(event)
                tokens = []
            for call in piece.calls:
                for event in shape.call(call):
                    yield _named_event(event)
            piece = await anext(pieces, None)
    except RequestFailedError as error:
        _trace(job, None, [answer], _kind(error))
        yield _named_event(shape.failure(failures.from_server_error(error)))
        return
    counted = _counted(job, [answer])[0]
    report = _account(job, [counted], [answer])
    for event in shape.end(answer, counted, _field(job, report, counted)):
        yield _named_event(event)


def _with_account(
    job: Job, shape: OpenAIShape, answers: Sequence[openai.Answer], last: openai.Json
) -> list[openai.Json]:
    """Return the last chunk, with usage and report on it or on one of their own behind it."""
    counted = _counted(job, answers)
    report = _account(job, counted, answers)
    usage = {"usage": openai.usage(counted, sum(answer.output_tokens for answer in answers))}
    field = _field(job, report, counted[0])
    match job.body.wants_usage:
        case True:
            return [last, openai.with_fields(shape.closing(), usage, field)]
        case False:
            return [openai.with_fields(last, field)]
        case None:
            return [openai.with_fields(last, usage, field)]


def _account(
    job: Job, counted: Sequence[RequestReport], answers: Sequence[openai.Answer]
) -> Report:
    """Return the account of an answer that is complete, once it is traced and noted for the log."""
    report = job.service.report(counted[0], job.prompts[0], job.body.stemfirst, job.api_key)
    job.state.account = {
        "prompt_tokens": sum(each.prompt_tokens for each in counted),
        "cached_tokens": sum(each.cached_tokens for each in counted),
        "output_tokens": sum(answer.output_tokens for answer in answers),
        "ttft_ms": report.time.ttft,
    }
    _log_text(job, "answer", [answer.text for answer in answers])
    is_cut = any(answer.finish == FinishReason.ABORT.value for answer in answers)
    _trace(job, report, answers, tracing.CANCELLED if is_cut else None)
    return report


def _trace(
    job: Job, report: Report | None, answers: Sequence[openai.Answer], error: str | None
) -> None:
    """Tell a span of the answer, once; `report` is None where it ended before there was one."""
    job.state.is_traced = True
    tracing.record(
        operation="text_completion" if isinstance(job.shape, openai.CompletionShape) else "chat",
        model=job.model,
        answer_id=job.answer_id,
        headers=job.headers,
        sampling=job.sampling,
        report=report,
        output_tokens=sum(answer.output_tokens for answer in answers),
        finishes=[answer.finish for answer in answers if answer.finish],
        began_s=job.began_s,
        request_id=job.state.request_id,
        error=error,
    )


def _kind(error: BaseException) -> str:
    """Return an error's kind for a span: a request that nobody waits for was cancelled."""
    return tracing.CANCELLED if isinstance(error, CancelledError) else type(error).__name__


def _log_text(job: Job, name: str, texts: Sequence[str]) -> None:
    """Log prompts or answers, each on a line of its own, if the operator asked for it."""
    if not job.service.logs_text:
        return
    request_id = job.state.request_id
    for text in texts:
        fields = {"request_id": request_id, name: text}
        log.info("%s %s %s", request_id, name, json.dumps(text), extra={FIELDS: fields})


def _field(job: Job, report: Report, counted: RequestReport) -> openai.Json:
    """Return our own fields of an answer, and OpenAI's diagnostics if they were asked for."""
    field = openai.report_field(report, counted, job.body.prefix_name)
    if job.comparison is not None and not isinstance(job.shape, MessagesShape):
        page = job.service.config.page
        field["prompt_cache_diagnostics"] = job.comparison.openai(counted, page)
    return field


def _counted(job: Job, answers: Sequence[openai.Answer]) -> list[RequestReport]:
    """Return one report a prompt: of several choices, the one that paid for the prompt."""
    reports = []
    for start in range(0, len(answers), job.choices):
        own = [answer.report for answer in answers[start : start + job.choices]]
        reports.append(min((r for r in own if r is not None), key=lambda r: r.cached_tokens))
    return reports


def _add(answer: openai.Answer, piece: Piece, *, keep_tokens: bool) -> None:
    answer.text += piece.text
    answer.calls.extend(piece.calls)
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


async def when_left(request: Request, then: Callable[[], None]) -> None:
    """Wait until the client has left, and do something then."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    then()
