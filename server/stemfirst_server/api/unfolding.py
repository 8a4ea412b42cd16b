"""A chat body that stands on the name of a prefix, as the body that it stands for.

Knows where a body's fields are; what is kept under a name is `steering.references`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemfirst.reports import PrefixHeld, held_to_json

from stemfirst_server.namespaces import namespace

if TYPE_CHECKING:
    from starlette.requests import Request

    from stemfirst_server.api.schema import ChatRequest
    from stemfirst_server.api.service import Service
    from stemfirst_server.tenants import Tenant


def unfolded(body: ChatRequest, request: Request, service: Service) -> ChatRequest:
    """Return the body with its prefix put back, and keep a prefix that it asks to keep.

    Raises:
        PrefixUnknownError: the prefix is not kept here; the client sends it in full.
    """
    tenant: Tenant = request.state.tenant
    references = service.references
    made = references.unfold(
        body.messages,
        body.tools,
        body.stemfirst,
        api_key=request.state.api_key,
        tenant=tenant.name,
        namespace=namespace(service.served.names[0], tenant.name, body.cache_salt),
    )
    if made.name is None:
        return body
    whole = body.model_copy(
        update={"messages": made.messages, "tools": made.tools, "stemfirst": made.field}
    )
    name = made.name
    held = PrefixHeld(name.digest, name.size_bytes, int(references.life_s))
    whole.acknowledge(held_to_json(held))
    return whole
