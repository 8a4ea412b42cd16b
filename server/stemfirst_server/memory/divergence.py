"""Where a prompt leaves what is cached, to the token.

Knows: a match and the branches behind it. Does not know how the tree is searched; a match ends
at a whole page, and this looks into the page behind it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stemfirst_server.memory.node import TOKEN_BYTES

if TYPE_CHECKING:
    from stemfirst_server.memory.node import Match, Node

# A shared system prompt may have thousands of continuations.
_SIBLINGS_COMPARED = 64


class Divergence(NamedTuple):
    """Where a prompt leaves what is cached.

    Attributes:
        token: the first token that is not cached: exact to the token, seen among the newest
            branches there.
        is_changed: the tree holds other tokens there; False if what is cached just ends.
    """

    token: int
    is_changed: bool


def divergence(found: Match, data: bytes, page: int) -> Divergence:
    """Return where `data` leaves what is cached, just after its `match`.

    Apart from the match, because it costs more and is wanted once a request. A limit of the
    match is no divergence: cached tokens behind it count.

    Args:
        found: the match of `data`; nothing was inserted or evicted since.
        data: the prompt.
        page: tokens in a page.
    """
    at, children = found.tokens * TOKEN_BYTES, found.node.children
    if children:
        at += _common_beyond(found.node, data, at, page)
    return Divergence(at // TOKEN_BYTES, bool(children) and len(data) > at)


def _common_beyond(node: Node, data: bytes, offset: int, page: int) -> int:
    """Return the most bytes, up to a page, that a child shares with `data` there."""
    count = min(page, len(data) // TOKEN_BYTES - offset // TOKEN_BYTES)
    if count <= 0:
        return 0
    if page == 1:
        return TOKEN_BYTES if data[offset : offset + TOKEN_BYTES] in node.children else 0
    # All at once: one by one, this would cost ten times as much.
    newest = b"".join(islice(reversed(node.children), _SIBLINGS_COMPARED))
    table = np.frombuffer(newest, np.int32).reshape(-1, page)[:, :count]
    differs = table != np.frombuffer(data, np.int32, count, offset)
    return int(np.where(differs.any(1), differs.argmax(1), count).max()) * TOKEN_BYTES
