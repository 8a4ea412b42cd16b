"""The routes that register prefixes: computed once, kept on the device for a while.

Knows bodies and answers; bounds are `steering.prefixes`', locks the engine's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

from stemfirst_server.api import failures
from stemfirst_server.api.failures import ApiError
from stemfirst_server.api.schema import Number
from stemfirst_server.api.telling import when_left
from stemfirst_server.engine.request import (
    FinishEvent,
    FinishReason,
    GenerationRequest,
    SamplingParams,
)
from stemfirst_server.errors import InvalidRequestError, RequestFailedError
from stemfirst_server.namespaces import OPERATOR, namespace, tenant_of
from stemfirst_server.steering.prefixes import LONGEST_S, Prefix
from stemfirst_server.tenants import Keys, Tenant
from stemfirst_server.tokens.template import conversation

if TYPE_CHECKING:
    from fastapi import FastAPI

    from stemfirst_server.api.admission import Seats
    from stemfirst_server.api.app import Slot
    from stemfirst_server.api.service import Service
    from stemfirst_server.engine.request import Event, RequestReport

OPERATORS = Tenant(OPERATOR)
"""Whose the shared prefixes are."""

Ttl = Field(3600.0, gt=0, le=LONGEST_S)


class PrefixRequest(BaseModel):
    """The body of `POST /v1/prefixes`."""

    model_config = ConfigDict(extra="ignore")

    model: StrictStr | None = None
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    cache_salt: StrictStr | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    name: StrictStr | None = Field(None, max_length=64, min_length=1)
    ttl_s: Number = Ttl
    pin: StrictBool = True


class SharedRequest(PrefixRequest):
    """The body of `POST /v1/admin/prefixes`; `cache_salt` means nothing in it."""

    # What is shared is hit while it is pinned.
    pin: Literal[True] = True
    name: StrictStr = Field(max_length=64, min_length=1)
    tenants: list[StrictStr] | None = Field(None, min_length=1, max_length=1024)


class RenewRequest(BaseModel):
    """The body of `POST /v1/prefixes/{id}/renew`."""

    model_config = ConfigDict(extra="ignore")

    ttl_s: Number = Ttl


def add_prefixes(app: FastAPI, slot: Slot, keys: Keys) -> None:
    """Add the routes to the app; `keys` says which tenants there are."""

    @app.post("/v1/prefixes")
    async def register(body: PrefixRequest, request: Request) -> dict[str, Any]:
        """Compute a prefix, unless it is cached, and keep it on the device."""
        return await registered(body, request, slot.get(), salt=body.cache_salt)

    @app.get("/v1/prefixes")
    async def listed(request: Request) -> dict[str, Any]:
        """List the prefixes of the tenant who asks, and those that are shared with it."""
        return await listing(request.state.tenant, slot.get())

    @app.get("/v1/prefixes/{identifier}")
    async def shown(identifier: str, request: Request) -> dict[str, Any]:
        """Show one prefix of the tenant who asks."""
        service = slot.get()
        found = service.prefixes.find(request.state.tenant.name, identifier)
        if found is None:
            raise _unknown(identifier)
        pinned = await asyncio.to_thread(service.engine.pinned)
        return _shown(found, pinned, request.state.tenant)

    @app.post("/v1/prefixes/{identifier}/renew")
    async def renew(identifier: str, body: RenewRequest, request: Request) -> dict[str, Any]:
        """Keep a prefix longer, and compute it again if it had to give way."""
        return await renewed(identifier, body, request, slot.get())

    @app.delete("/v1/prefixes/{identifier}")
    async def remove(identifier: str, request: Request) -> dict[str, Any]:
        """Let a prefix go; its pages stay cached until others need them."""
        return await removed(identifier, request.state.tenant, slot.get())

    @app.post("/v1/admin/prefixes")
    async def share(body: SharedRequest, request: Request) -> dict[str, Any]:
        """Compute a prefix and open it to tenants; what had its name before is let go."""
        unknown = sorted(set(body.tenants or ()) - keys.tenant_names)
        if unknown and keys.are_asked_for:
            raise InvalidRequestError(
                f"tenants names {unknown[0][:60]!r}, who has no key here: mend the name, or add "
                "the tenant to the key file first (kill -HUP reads it again)",
                parameter="tenants",
            )
        return await shared(body, request, slot.get())

    @app.get("/v1/admin/prefixes")
    async def listed_shared() -> dict[str, Any]:
        """List the shared prefixes."""
        return await listing(OPERATORS, slot.get())

    @app.post("/v1/admin/prefixes/{identifier}/renew")
    async def renew_shared(identifier: str, body: RenewRequest, request: Request) -> dict[str, Any]:
        """Keep a shared prefix longer, and compute it again if it had to give way."""
        return await renewed(identifier, body, request, slot.get(), tenant=OPERATORS)

    @app.delete("/v1/admin/prefixes/{identifier}")
    async def remove_shared(identifier: str) -> dict[str, Any]:
        """Share a prefix no more; copies that tenants have stay theirs."""
        return await removed(identifier, OPERATORS, slot.get())


async def listing(tenant: Tenant, service: Service) -> dict[str, Any]:
    """Answer `GET /v1/prefixes`."""
    pinned = await asyncio.to_thread(service.engine.pinned)
    found = service.prefixes.of(tenant.name)
    return {"object": "list", "data": [_shown(p, pinned, tenant) for p in found]}


async def renewed(
    identifier: str,
    body: RenewRequest,
    request: Request,
    service: Service,
    *,
    tenant: Tenant | None = None,
) -> dict[str, Any]:
    """Answer `POST /v1/prefixes/{id}/renew`; `tenant` is whose it is, if not who asks."""
    tenant = tenant or request.state.tenant
    with service.admission.take(1, tenant) as seats:
        found = service.prefixes.renew(tenant.name, identifier, body.ttl_s)
        if found is None:
            raise _unknown(identifier)
        return await _kept(found, tenant, body.ttl_s, request, service, seats)


async def removed(identifier: str, tenant: Tenant, service: Service) -> dict[str, Any]:
    """Answer `DELETE /v1/prefixes/{id}`."""
    if not service.prefixes.remove(tenant.name, identifier):
        raise _unknown(identifier)
    await asyncio.to_thread(service.engine.unpin, identifier)
    return {"id": identifier, "object": "prefix", "deleted": True}


async def shared(body: SharedRequest, request: Request, service: Service) -> dict[str, Any]:
    """Answer `POST /v1/admin/prefixes`."""
    readers = None if body.tenants is None else frozenset(body.tenants)
    # Each name is a namespace of its own, so that what is open to some tells others nothing.
    made = await registered(
        body, request, service, tenant=OPERATORS, salt=body.name, readers=readers
    )
    for other in service.prefixes.named(OPERATORS.name, body.name):
        if other.id != made["id"]:
            await removed(other.id, OPERATORS, service)
    return made


async def registered(
    body: PrefixRequest,
    request: Request,
    service: Service,
    *,
    tenant: Tenant | None = None,
    salt: str | None,
    readers: frozenset[str] | None = None,
) -> dict[str, Any]:
    """Answer `POST /v1/prefixes`; `tenant` is whose it is to be, if not who asks."""
    tenant = tenant or request.state.tenant
    if body.model is not None and body.model not in service.served.names:
        raise failures.unknown_model(body.model, service.served.names)
    space = namespace(service.served.names[0], tenant.name, salt)
    asked = conversation(
        body.messages, body.tools, add_generation_prompt=False, options=body.chat_template_kwargs
    )
    with service.admission.take(1, tenant) as seats:
        prompt = await service.chat_prompt(asked, space)
        service.bounds.check_length(prompt.count, None, "messages")
        ids = prompt.encoded.token_ids
        made = service.prefixes.add(
            tenant.name,
            space,
            ids,
            pages=len(ids) // service.config.page if body.pin else 0,
            ttl_s=body.ttl_s,
            name=body.name,
            readers=readers,
        )
        return await _kept(made, tenant, body.ttl_s, request, service, seats)


async def _kept(
    prefix: Prefix, tenant: Tenant, ttl_s: float, request: Request, service: Service, seats: Seats
) -> dict[str, Any]:
    """Compute a prefix and pin it; where that fails, what was kept before is as it was."""
    try:
        computed = await _computed(prefix, request, service, seats)
        await _pin(prefix, ttl_s, service)
    except BaseException:
        if not service.prefixes.drop(prefix):
            # It may just have been pinned; nobody waits for the engine here.
            asyncio.get_running_loop().run_in_executor(None, service.engine.unpin, prefix.id)
        raise
    if not service.prefixes.confirm(prefix):
        await asyncio.to_thread(service.engine.unpin, prefix.id)
    pinned = await asyncio.to_thread(service.engine.pinned)
    counts = {"cached": computed.cached_tokens, "computed": computed.computed_tokens}
    return _shown(prefix, pinned, tenant) | counts


async def _computed(
    prefix: Prefix, request: Request, service: Service, seats: Seats
) -> RequestReport:
    """Compute what is not cached of a prefix; a client that leaves ends it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[FinishEvent] = loop.create_future()

    def end(event: FinishEvent) -> None:
        if not ended.done():
            ended.set_result(event)

    def receive(event: Event) -> None:
        if isinstance(event, FinishEvent):
            loop.call_soon_threadsafe(end, event)

    warming = GenerationRequest(
        f"{prefix.id}-{loop.time()}",
        prefix.token_ids,
        SamplingParams(max_tokens=0),
        prefix.namespace,
    )
    seats.over(service).submit(warming, receive)
    watching = asyncio.create_task(when_left(request, lambda: service.abort(warming.request_id)))
    try:
        event = await ended
    except asyncio.CancelledError:
        service.abort(warming.request_id)
        raise
    finally:
        watching.cancel()
    if event.reason is FinishReason.ABORT:
        raise failures.left()
    if event.error is not None:
        raise RequestFailedError(event.error)
    return event.report


async def _pin(prefix: Prefix, ttl_s: float, service: Service) -> None:
    if prefix.pages:
        data = prefix.token_ids.tobytes()
        is_open_to = (
            (lambda space: prefix.is_open_to(tenant_of(space))) if prefix.is_shared else None
        )
        await asyncio.to_thread(
            service.engine.pin, prefix.id, prefix.namespace, data, ttl_s, is_open_to
        )
    else:
        # It may have been pinned until now.
        await asyncio.to_thread(service.engine.unpin, prefix.id)


def _shown(prefix: Prefix, pinned: frozenset[str], reader: Tenant) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": prefix.id,
        "object": "prefix",
        "name": prefix.name,
        "tokens": len(prefix.token_ids),
        "pages": prefix.pages,
        "is_pinned": prefix.id in pinned,
        "created_s": int(prefix.created_s),
        "expires_s": int(prefix.expires_s),
        "is_shared": prefix.is_shared,
    }
    if prefix.is_shared and reader.name == prefix.tenant:
        # Whom else it is open to is the operator's to know.
        shown["tenants"] = None if prefix.readers is None else sorted(prefix.readers)
    return shown


def _unknown(identifier: str) -> ApiError:
    return ApiError(
        404,
        f"There is no prefix {failures.shortened(identifier)}: it has expired, or never was yours",
        code="prefix_not_found",
    )
