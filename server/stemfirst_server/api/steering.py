"""The routes that look into the cache and steer it.

Knows their bodies and who may ask; what they do is the service's, the engine's and
`steering`'s.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import Request
from stemfirst.reports import report_to_json

from stemfirst_server.api import failures
from stemfirst_server.api.failures import ApiError
from stemfirst_server.api.schema import ChatRequest
from stemfirst_server.api.unfolding import unfolded
from stemfirst_server.engine.request import GenerationRequest, RequestReport
from stemfirst_server.errors import ConfigError, ModelLoadError
from stemfirst_server.namespaces import namespace
from stemfirst_server.tokens.template import conversation

if TYPE_CHECKING:
    from fastapi import FastAPI

    from stemfirst_server.api.app import Slot
    from stemfirst_server.api.service import PromptTokens, Service
    from stemfirst_server.steering.survey import Survey
    from stemfirst_server.tenants import Tenant

DRAIN_S = 120.0
"""Most time that a reload waits for running requests."""

WINDOW_CHARACTERS = 160
WINDOW_TOKENS = 64


def add_steering(app: FastAPI, slot: Slot) -> None:
    """Add the routes to the app."""

    @app.post("/v1/cache/explain")
    async def explain(body: ChatRequest, request: Request) -> dict[str, Any]:
        """Say what a chat request would find in the cache, and why not more; run nothing."""
        return await explained(body, request, slot.get())

    @app.post("/v1/admin/flush")
    async def flush() -> dict[str, Any]:
        """Forget everything cached, in every tier, and every prefix that was kept by name."""
        service = slot.get()
        pages = await asyncio.to_thread(service.engine.flush)
        prefixes = service.references.flush() + service.prefixes.clear()
        return {"pages": pages, "prefixes": prefixes}

    @app.post("/v1/admin/drain")
    async def drain() -> dict[str, Any]:
        """Take no more requests; those that run are finished."""
        admission = slot.get().admission
        admission.drain()
        return {"draining": True, "requests": admission.taken}

    @app.post("/v1/admin/resume")
    async def resume() -> dict[str, Any]:
        """Take requests again."""
        admission = slot.get().admission
        admission.resume()
        return {"draining": False, "requests": admission.taken}

    @app.post("/v1/admin/reload")
    async def reload() -> dict[str, Any]:
        """Load the weights again from where they came from; drains first, resumes after."""
        return await reloaded(slot.get())


async def reloaded(service: Service) -> dict[str, Any]:
    """Answer `POST /v1/admin/reload`.

    Requests that come meanwhile get 503; those that run are finished, for `DRAIN_S` at most.
    """
    admission = service.admission
    if service.reload_weights is None:
        raise ApiError(501, "These weights came from nowhere that they could be loaded from again")
    if service.is_reloading:
        raise ApiError(409, "The weights are being loaded already", code="reload_under_way")
    was_draining = admission.is_draining
    service.is_reloading = True
    admission.drain()
    try:
        deadline = time.monotonic() + DRAIN_S
        while admission.taken and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        if admission.taken:
            raise ApiError(
                409,
                f"{admission.taken} requests still run after {DRAIN_S:.0f} s: the weights stay",
                code="requests_running",
            )
        began = time.monotonic()
        try:
            pages = await asyncio.to_thread(service.reload_weights)
        except (ModelLoadError, ConfigError) as error:
            raise ApiError(409, f"The weights stay: {error}", code="reload_failed") from error
        service.references.flush()
        service.prefixes.clear()
        return {"pages": pages, "seconds": round(time.monotonic() - began, 3)}
    finally:
        service.is_reloading = False
        if not was_draining:
            admission.resume()


async def explained(body: ChatRequest, request: Request, service: Service) -> dict[str, Any]:
    """Answer `POST /v1/cache/explain`."""
    if body.model is not None and body.model not in service.served.names:
        raise failures.unknown_model(body.model, service.served.names)
    body = unfolded(body, request, service)
    tenant: Tenant = request.state.tenant
    space = namespace(service.served.names[0], tenant.name, body.cache_salt)
    asked = conversation(
        body.messages,
        body.tools,
        add_generation_prompt=body.add_generation_prompt and not body.continue_final_message,
        continue_final_message=body.continue_final_message,
        options=body.template_options,
    )
    with service.admission.take(1, tenant):
        prompt = await service.chat_prompt(asked, space)
        service.bounds.check_length(prompt.count, None, "messages")
        wanted = GenerationRequest("", prompt.encoded.token_ids, namespace=space)
        found = await asyncio.to_thread(service.engine.survey, wanted)
    counted = _as_counted(found, prompt.count)
    report = service.report(counted, prompt, body.stemfirst, request.state.api_key)
    why = None
    if report.missed is not None:
        reason = report.missed.reason
        is_elsewhere = found.elsewhere_tokens - found.cached_tokens >= service.config.page
        if is_elsewhere and found.gone is None and reason != "cache_disabled":
            reason = "other_namespace"
            report = replace(report, missed=replace(report.missed, reason=reason))
        is_gone = found.gone is not None and reason != "cache_disabled"
        why = {"reason": reason, "at_s": found.gone.at_s if is_gone and found.gone else None}
    elif not found.cached_tokens:
        # Too short to be cached at all, so nothing was missed.
        why = {"reason": "below_page", "at_s": None}
    return {
        "object": "cache.explanation",
        "model": service.served.names[0],
        "stemfirst": report_to_json(report),
        "why": why,
        "window": _window(found, prompt, service) if report.missed is not None else None,
    }


def _as_counted(found: Survey, prompt_tokens: int) -> RequestReport:
    """Return the account of the request that was not run."""
    return RequestReport(
        prompt_tokens=prompt_tokens,
        cached_tokens=found.cached_tokens,
        computed_tokens=prompt_tokens - found.cached_tokens,
        cache_write_tokens=0,
        output_tokens=0,
        divergence_token=min(found.divergence_token, prompt_tokens),
        is_diverged=found.is_changed,
        queue_ms=0.0,
        prefill_ms=0.0,
        load_ms=0.0,
        ttft_ms=None,
        decode_ms=0.0,
        total_ms=0.0,
        preemptions=0,
        chunks=(),
        host_tokens=found.host_tokens,
        disk_tokens=found.disk_tokens,
        gone=found.gone,
    )


def _window(found: Survey, prompt: PromptTokens, service: Service) -> dict[str, str | None]:
    """Return text around the divergence: shared, this prompt's, and the nearest neighbour's."""
    here = found.divergence_token
    ids = prompt.encoded.token_ids
    start = max(0, here - WINDOW_TOKENS)
    there = np.frombuffer(found.neighbour, np.int32)[here : here + WINDOW_TOKENS]

    def text(token_ids: Any) -> str:
        return service.vocabulary.decode(token_ids.tolist(), has_control_tokens=True)

    return {
        "before": text(ids[start:here])[-WINDOW_CHARACTERS:],
        "here": text(ids[here : here + WINDOW_TOKENS])[:WINDOW_CHARACTERS],
        "there": text(there)[:WINDOW_CHARACTERS] if len(there) else None,
    }
