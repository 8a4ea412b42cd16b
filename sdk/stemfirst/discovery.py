"""Whether a server is ours: what it says of itself, remembered per base URL.

Knows how to read the answer to `GET /v1/stemfirst` and how long to believe it. Does not know
how the request is sent. A server that does not answer it is an OpenAI-compatible server like
any other: it gets no field and no header of ours.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stemfirst.providers import public_api
from stemfirst.wire import VERSION


def is_foreign(host: str) -> bool:
    """Return whether a host is a known public API, so that nothing is asked of it."""
    return public_api(host) is not None


def is_openais(host: str) -> bool:
    """Return whether a host is OpenAI's own API, a regional one too."""
    found = public_api(host)
    return found is not None and found[1] == "openai"


BELIEVED_S = 600.0
"""How long an answer holds, yes or no: the server at an address may be replaced."""

RETRY_S = 30.0
"""How long a failure holds that says nothing about the server: a timeout, a 503."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server of ours says of itself."""

    version: int
    """Version of the wire format."""
    model: str | None = None
    """The model to name in requests, where it serves one."""
    page: int | None = None
    """Tokens in a page, the unit of matching."""
    features: frozenset[str] = frozenset()
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The whole answer, for what is not named here."""


def capabilities_of(answer: object) -> Capabilities | None:
    """Return the capabilities in a server's answer, or None where they are not ours."""
    if not isinstance(answer, Mapping):
        return None
    version = answer.get("wire")
    if version != VERSION or isinstance(version, bool):
        return None  # a later format, or an answer that only looks like ours
    model, page, features = answer.get("model"), answer.get("page"), answer.get("features")
    return Capabilities(
        version=VERSION,
        model=model if isinstance(model, str) else None,
        page=page if isinstance(page, int) and page > 0 else None,
        features=frozenset(item for item in features or () if isinstance(item, str))
        if isinstance(features, list | dict | tuple)
        else frozenset(),
        fields=dict(answer),
    )


@dataclass(slots=True)
class Known:
    """What was learnt of one server, and until when it is believed (monotonic seconds)."""

    capabilities: Capabilities | None
    until_s: float


class Discovery:
    """Answers by base URL; shared by a client and its copies, by threads and event loops.

    Two callers that meet a new server at once both ask it: that does no harm, so there is
    no lock.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}

    def recall(self, base_url: str) -> Known | None:
        """Return what is known and still believed, or None where the server must be asked."""
        known = self._known.get(base_url)
        return known if known and time.monotonic() < known.until_s else None

    def learn(self, base_url: str, answer: object) -> Capabilities | None:
        """Remember a server's answer and return what it means."""
        capabilities = capabilities_of(answer)
        self._known[base_url] = Known(capabilities, time.monotonic() + BELIEVED_S)
        return capabilities

    def fail(self, base_url: str, *, is_final: bool) -> None:
        """Remember that asking failed; `is_final` when the server itself said no."""
        span_s = BELIEVED_S if is_final else RETRY_S
        self._known[base_url] = Known(None, time.monotonic() + span_s)
