"""What a prompt would find in the cache, without running it or marking anything as used."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from stemfirst_server.memory.node import TOKEN_BYTES
from stemfirst_server.namespaces import is_neighbour

if TYPE_CHECKING:
    from stemfirst_server.memory.radix import RadixTree
    from stemfirst_server.steering.history import Gone, History
    from stemfirst_server.steering.shared import SharedRuns
    from stemfirst_server.tiers.tiers import Tiers

MOST_NAMESPACES = 4096
"""Of a tenant, looked into at most: some milliseconds of the engine's time."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What is cached of a prompt, all in its own namespace but for `elsewhere_tokens`.

    Attributes:
        device_tokens: on the device, in whole pages.
        host_tokens: behind them, in the host's memory.
        disk_tokens: behind or among those, on disk only.
        divergence_token: the first token that lies nowhere; the prompt's length if none.
        is_changed: something else is cached there.
        neighbour: tokens as bytes of the run that shares the most; empty if there is none.
        gone: what became of the first page that lies nowhere, if it was there once.
        elsewhere_tokens: most that another namespace of the same tenant has on the device.
    """

    device_tokens: int
    host_tokens: int
    disk_tokens: int
    divergence_token: int
    is_changed: bool
    neighbour: bytes
    gone: Gone | None
    elsewhere_tokens: int = 0

    @property
    def cached_tokens(self) -> int:
        """Tokens that need not be computed."""
        return self.device_tokens + self.host_tokens + self.disk_tokens


def survey(
    tree: RadixTree,
    shared: SharedRuns,
    tiers: Tiers | None,
    history: History,
    namespace: str,
    data: bytes,
    *,
    limit_tokens: int,
    grain_tokens: int,
) -> Survey:
    """Return what is cached of `data`.

    Args:
        tree: the device's cache; in the engine's thread.
        shared: what is open to the namespace beside its own.
        tiers: behind it, or None.
        history: what was cached once.
        namespace: whose.
        data: the prompt.
        limit_tokens: most that a request uses: its last token is always computed.
        grain_tokens: matches are cut to whole ones of these; at least a page.
    """
    own = tree.lookup(namespace, data, limit_tokens=limit_tokens)
    device = max(own, shared.reach(namespace, data, limit_tokens=limit_tokens, page=tree.page))
    host = disk = 0
    if tiers is not None:
        within = data[: limit_tokens * TOKEN_BYTES]
        pages = tiers.reaches(namespace, within, device // tree.page)
        host, disk = (count * tree.page for count in pages)
    surplus = (device + host + disk) % grain_tokens
    cut_disk = min(surplus, disk)
    cut_host = min(surplus - cut_disk, host)
    found = device + host + disk
    alike, neighbour = tree.neighbour(namespace, data)
    here = max(alike, found)
    is_changed = alike >= found and alike * TOKEN_BYTES < min(len(neighbour), len(data))
    return Survey(
        device - (surplus - cut_disk - cut_host),
        host - cut_host,
        disk - cut_disk,
        here,
        is_changed,
        neighbour if alike >= found else b"",
        history.find(namespace, data, found // tree.page),
        _elsewhere(tree, namespace, data, limit_tokens),
    )


def _elsewhere(tree: RadixTree, namespace: str, data: bytes, limit_tokens: int) -> int:
    others = (name for name in tree.namespaces() if is_neighbour(name, namespace))
    found = (
        tree.lookup(name, data, limit_tokens=limit_tokens)
        for name in islice(others, MOST_NAMESPACES)
    )
    return max(found, default=0)
