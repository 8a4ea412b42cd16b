"""The routes. Each one reads a request, asks the service, and shapes the answer.

Knows HTTP; everything that takes thought is asked of others.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from stemfirst.wire import CAPABILITIES_PATH, VERSION

from stemfirst_server.api import answering, failures, openai, tokenizing
from stemfirst_server.api.description import describe
from stemfirst_server.api.edge import Edge
from stemfirst_server.api.encoding import Answered
from stemfirst_server.api.failures import ApiError
from stemfirst_server.api.messages import MessagesRequest
from stemfirst_server.api.prefixes import add_prefixes
from stemfirst_server.api.responses import ResponsesRequest
from stemfirst_server.api.savings import savings
from stemfirst_server.api.schema import ChatRequest, CompletionRequest
from stemfirst_server.api.steering import add_steering
from stemfirst_server.api.tokenizing import DetokenizeRequest, TokenizeRequest
from stemfirst_server.errors import OverloadedError, ServerError
from stemfirst_server.metrics import CONTENT_TYPE
from stemfirst_server.savings.costmodel import Unestimated
from stemfirst_server.savings.report import NO_PRICE
from stemfirst_server.tenants import Keys

if TYPE_CHECKING:
    from stemfirst_server.api.service import Service

log = logging.getLogger("stemfirst.api")

MOST_BODY_BYTES = 64 * 2**20
MOST_HELD_BYTES = 512 * 2**20


class Slot:
    """Where the service will be once the model is loaded; None until then."""

    def __init__(self) -> None:
        self.service: Service | None = None

    def get(self) -> Service:
        """Return the service.

        Raises:
            ApiError: 503, the model is still loading.
        """
        if self.service is None:
            raise failures.not_ready()
        return self.service


def make_app(
    slot: Slot,
    *,
    keys: Keys | None = None,
    most_body_bytes: int = MOST_BODY_BYTES,
    most_held_bytes: int = MOST_HELD_BYTES,
    write_timeout_s: float = 60.0,
) -> Edge:
    """Return the ASGI app; it answers before the model is loaded, if only to say so."""
    keys = keys or Keys()
    app = FastAPI(title="stemfirst", docs_url=None, redoc_url=None)
    _add_failures(app, slot)
    _add_answers(app, slot)
    _add_tokens(app, slot)
    _add_facts(app, slot)
    add_steering(app, slot)
    add_prefixes(app, slot, keys)
    describe(app)

    def refused(reason: str) -> None:
        if slot.service is not None:
            slot.service.metrics.refused(reason)

    return Edge(
        app,
        keys=keys,
        most_body_bytes=most_body_bytes,
        most_held_bytes=most_held_bytes,
        write_timeout_s=write_timeout_s,
        on_slow=lambda: slot.get().metrics.left_unread(),
        on_refused=refused,
    )


def _add_answers(app: FastAPI, slot: Slot) -> None:
    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Answer a conversation."""
        return await answering.chat(body, request, slot.get())

    @app.post("/v1/messages", response_model=None)
    async def messages(body: MessagesRequest, request: Request) -> Response:
        """Answer a conversation, as Anthropic's clients ask."""
        return await answering.message(body, request, slot.get())

    @app.post("/v1/messages/count_tokens")
    async def count_tokens(body: MessagesRequest, request: Request) -> dict[str, int]:
        """Say how long a conversation is, as Anthropic's clients ask."""
        return await answering.count(body, request, slot.get())

    @app.post("/v1/responses", response_model=None)
    async def responses(body: ResponsesRequest, request: Request) -> Response:
        """Answer a conversation, in OpenAI's newer shape."""
        return await answering.response(body, request, slot.get())

    @app.post("/v1/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continue a text."""
        return await answering.completion(body, request, slot.get())


def _add_tokens(app: FastAPI, slot: Slot) -> None:
    @app.post("/v1/chat/completions/render")
    async def render(body: ChatRequest, request: Request) -> dict[str, Any]:
        """Say on which tokens a chat request would be computed, without computing."""
        return await tokenizing.render(body, request, slot.get())

    @app.post("/tokenize", response_class=Answered)
    async def tokenize(body: TokenizeRequest, request: Request) -> dict[str, Any]:
        """Give the tokens of a prompt or a conversation."""
        return await tokenizing.tokenize(body, request, slot.get())

    @app.post("/detokenize", response_class=Answered)
    async def detokenize(body: DetokenizeRequest) -> dict[str, Any]:
        """Give the text of tokens."""
        return await tokenizing.detokenize(body, slot.get())


def _add_facts(app: FastAPI, slot: Slot) -> None:
    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List what is served."""
        served = slot.get().served
        return openai.model_list(served.names, served.created_s, served.context_tokens)

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """Describe one model."""
        served = slot.get().served
        if name not in served.names:
            raise failures.unknown_model(name, served.names)
        return openai.model_card(name, served.created_s, served.context_tokens)

    @app.get(CAPABILITIES_PATH)
    async def capabilities() -> dict[str, Any]:
        """Say what this server can do beyond OpenAI's API; clients ask before they send hints."""
        return _capabilities(slot.get())

    @app.get("/health")
    async def health() -> JSONResponse:
        """Liveness: 200 while loading and serving; 503 once the engine is gone for good."""
        if slot.service is None:
            return JSONResponse({"status": "loading"})
        is_alive = slot.service.engine.is_running
        return JSONResponse({"status": "ok" if is_alive else "stopped"}, 200 if is_alive else 503)

    @app.get("/v1/savings")
    async def own_savings(request: Request, days: int = 30) -> dict[str, Any]:
        """Say what hits saved the tenant who asks, by day."""
        service, tenant = slot.get(), request.state.tenant.name
        return await asyncio.to_thread(savings, service, days=days, tenant=tenant)

    @app.get("/v1/savings/tenants")
    async def all_savings(days: int = 30) -> dict[str, Any]:
        """Say what hits saved each tenant, by day; an operator's."""
        return await asyncio.to_thread(savings, slot.get(), days=days, tenant=None)

    @app.get("/ready")
    @app.get("/health/ready")
    async def ready() -> JSONResponse:
        """Readiness: requests are served."""
        service = slot.service
        is_ready = (
            service is not None and service.engine.is_running and not service.admission.is_draining
        )
        return JSONResponse(
            {"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503
        )

    @app.get("/metrics")
    async def metrics() -> Response:
        """Give Prometheus its text."""
        return Response(slot.get().metrics.exposition(), media_type=CONTENT_TYPE)


def _capabilities(service: Service) -> dict[str, Any]:
    served = service.served
    info = service.engine.info
    fit = service.cost_model.fit
    verdict = service.cost_model.verdict
    price = served.price
    return {
        "wire": VERSION,
        "model": served.names[0],
        "models": list(served.names),
        "page": service.config.page,
        "features": ["segments", "savings", "cache_salt", "prefix_refs", "explain", "prefixes"],
        "prefix_refs": {
            "most_bytes": service.references.most_tenant_bytes,
            "ttl_s": int(service.references.life_s),
        },
        "context_tokens": served.context_tokens,
        "chunk_tokens": service.config.chunk_tokens,
        "architecture": info.architecture,
        "dtype": info.dtype,
        "device": info.device.partition(":")[0],
        "parameters": info.parameters,
        "has_prefix_cache": service.config.has_prefix_cache,
        "price": {"per_hour": price.per_hour, "currency": price.currency} if price else None,
        "price_reason": None if price else NO_PRICE,
        "cost_model": {
            "law": "a + b*new + c*new*(context + new/2) + d*context, milliseconds a chunk",
            "a": fit.a,
            "b": fit.b,
            "c": fit.c,
            "d": fit.d,
            "pace": service.cost_model.pace,
            "drift": service.cost_model.drift,
            "spread": fit.spread,
            "jitter_ms": fit.jitter_ms,
            "shadows": {"runs": verdict.runs, "error": verdict.error, "inside": verdict.inside},
            "most_prompt": fit.most_prompt,
            "most_new": fit.most_new,
            "samples": fit.samples,
            "error": fit.error,
        }
        if fit
        else None,
        "cost_model_reason": None if fit else Unestimated.TOO_FEW.value,
        "demo": served.is_demo,
        "notice": served.notice,
    }


def _add_failures(app: FastAPI, slot: Slot) -> None:
    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return error.response(request.scope["path"])

    @app.exception_handler(ServerError)
    async def server_error(request: Request, error: ServerError) -> Response:
        answer = failures.from_server_error(error)
        if isinstance(error, OverloadedError) and slot.service is not None:
            slot.service.metrics.refused(error.reason)
        if answer.status == 500:
            log.error("%s failed: %s", request.state.request_id, error)
        return answer.response(request.scope["path"])

    @app.exception_handler(RecursionError)
    async def too_deep(request: Request, _: RecursionError) -> Response:
        return failures.nested_too_deep().response(request.scope["path"])

    @app.exception_handler(Exception)
    async def fault(request: Request, _: Exception) -> Response:
        # Raised again once this is sent, and logged by the edge.
        return failures.internal_error().response(request.scope["path"])

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> Response:
        return failures.from_validation(error.errors()).response(request.scope["path"])

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            message = "There is no such route; the API is under /v1"
        elif error.status_code == 405:
            message = "This route does not take this method"
        else:
            message = str(error.detail)
        return ApiError(error.status_code, message).response(request.scope["path"])
