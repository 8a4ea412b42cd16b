"""Names for prefixes: a chain of cheap hashes that finds, and keyed digests that identify.

Computed last, on the rendered text: the UTF-8 of each string that is sent, before JSON
encoding; tools as canonical JSON (RFC 8785). So a server can compute the same from what it
parsed. Knows hashing; does not know headers, bodies, or who asks.

A chain link may collide or be forged: it can make a cache miss, never serve another's text.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from stemfirst.prompt import Hole, Part, Path, RenderedSegment, Segment, Tool


@dataclass(frozen=True, slots=True)
class ChainKey:
    """What a tenant's key gives: an id to name it by, a seed for links, a key for digests."""

    id: str
    seed: int = field(repr=False)
    digest_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, api_key: str) -> ChainKey:
        """Return the chain key of an API key (HKDF-SHA-256, RFC 5869); the same in each process."""
        return _derive(api_key)


@lru_cache(maxsize=1024)
def _derive(api_key: str) -> ChainKey:
    secret = hmac.digest(b"stemfirst/v1", api_key.encode(), "sha256")

    def expand(purpose: bytes) -> bytes:
        return hmac.digest(secret, purpose + b"\x01", "sha256")

    return ChainKey(
        id=expand(b"id")[:4].hex(),
        seed=int.from_bytes(expand(b"seed")[:8], "little"),
        digest_key=expand(b"digest"),
    )


def canonical_bytes(text: str, at: Path) -> bytes:
    """Return the bytes that are hashed for a string at this place.

    A tool's text is JSON and is hashed in canonical form; all other text as it is. Lone
    surrogates, which JSON can carry and UTF-8 cannot, are hashed as their three bytes.
    """
    if at and at[0] == "tools":
        return _canonical_json(json.loads(text))
    return text.encode("utf-8", "surrogatepass")


def _canonical_json(value: Any) -> bytes:
    import rfc8785

    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        # Schemas hold what RFC 8785 excludes: integers beyond 2^53 are usual limits of an int64.
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class SegmentName:
    """How a segment is named: the digest of its canonical bytes, and how many they are."""

    digest: str
    size_bytes: int


_names: WeakKeyDictionary[Segment | Tool, dict[tuple[bytes, str], SegmentName]] = (
    WeakKeyDictionary()
)


def segment_digest(data: bytes, key: ChainKey) -> str:
    """Return the keyed BLAKE2b-128 of a segment's canonical bytes, as 32 hex characters."""
    return hashlib.blake2b(data, digest_size=16, key=key.digest_key).hexdigest()


def digest_of(segment: RenderedSegment, key: ChainKey) -> str:
    """Return the digest of a rendered segment; remembered for as long as its source lives."""
    return name_of(segment, key).digest


def name_of(segment: RenderedSegment, key: ChainKey) -> SegmentName:
    """Return the name of a rendered segment; remembered for as long as its source lives."""
    source = segment.source
    if source is None:
        return _name(segment, key)
    known = _names.setdefault(source, {})
    memo = (key.digest_key, segment.text[: len(segment.text) - _fixed_length(source)])
    if memo not in known:
        known[memo] = _name(segment, key)
    return known[memo]


def _name(segment: RenderedSegment, key: ChainKey) -> SegmentName:
    data = canonical_bytes(segment.text, segment.at)
    return SegmentName(segment_digest(data, key), len(data))


def _fixed_length(source: Segment | Tool) -> int:
    """Return the length of the source's own text: what stands before it is a separator."""
    if isinstance(source, Tool):
        return len(source.json)
    assert not isinstance(source.content, Hole)
    return len(source.content.json if isinstance(source.content, Part) else source.content)


def chain(segments: Iterable[RenderedSegment], key: ChainKey) -> tuple[str, ...]:
    """Return one link a segment: a hash of everything up to and with it, 16 hex characters."""
    return chain_of(((segment.at, digest_of(segment, key)) for segment in segments), key)


def chain_of(digests: Iterable[tuple[Path, str]], key: ChainKey) -> tuple[str, ...]:
    """Return the links for places and digests, as a server computes them from a request."""
    import xxhash

    links = []
    link = 0
    for at, digest in digests:
        place = "/".join(map(str, at))
        data = link.to_bytes(8, "little") + f"{place}={digest}".encode()
        link = xxhash.xxh3_64_intdigest(data, seed=key.seed)
        links.append(f"{link:016x}")
    return tuple(links)
