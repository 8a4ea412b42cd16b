"""Who shares KV with whom.

A namespace is a tree of its own in the cache. It is made of the model, the tenant that
authentication named, and the client's salt; nothing in a request can make it wider than the
tenant's own.
"""

from __future__ import annotations

import json

OPERATOR = "/operator"
"""The tenant that shared prefixes belong to; no tenant of a key can have such a name."""


def namespace(model: str, tenant: str, cache_salt: str | None) -> str:
    """Return the namespace's name; different inputs never give the same one.

    Args:
        model: what is served; weights of different models never meet.
        tenant: from authentication, never from the request's body or headers.
        cache_salt: from the request; it can only narrow.
    """
    return json.dumps([model, tenant, cache_salt or ""])


def tenant_of(namespace: str) -> str:
    """Return the tenant that a namespace belongs to."""
    name: str = json.loads(namespace)[1]
    return name


def is_neighbour(namespace: str, other: str) -> bool:
    """Return whether two different namespaces are one tenant's, of one model."""
    if namespace == other or not other.startswith("["):
        return False
    # All but the salt, which stands at the end; JSON keeps quotes in names apart from these.
    own: list[str] = json.loads(other)
    return namespace.startswith(json.dumps(own[:2])[:-1] + ", ")
