"""What a prompt was when another process sent it, without its text, and where this one leaves it.

Knows digests, lengths and labels of a prompt's segments, and how to find a difference by them:
to the segment, and within it to a step of a few bytes. What stood there before is not known;
what stands there now is, and tells the lint rule. Does not know where they are kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from stemfirst.causes import Cause, cause_between, cause_near
from stemfirst.chain import ChainKey, name_of, segment_digest
from stemfirst.divergence import WINDOW, runs_of, visible
from stemfirst.losses import LEAST_LOST_BYTES, Piece, is_lossy_behind
from stemfirst.rendered import Rendered, RenderedSegment
from stemfirst.segments import Path, Segment, Tool
from stemfirst.tiers import Tier
from stemfirst.wire import MissPlace

VERSION = 1
STEP_BYTES = 16
"""How finely a difference is placed in a short text."""
LONG_BYTES = 8_192
LONG_STEP_BYTES = 128
"""The same in texts from `LONG_BYTES` on."""
STEP_DIGITS = 8
MOST_WORDS_CHARS = 4_096
"""Texts up to here are compared as bags of words, too: lists that came in another order."""
MOST_TOKEN_BYTES = 128
"""Bytes that a token may stand for: the server's place is where a token begins."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One segment as it is kept; digests are keyed by the API key.

    `steps` holds a digest of everything up to the end of each step of `step_bytes`, in
    `STEP_DIGITS` digits each; `words` one of the words in sorted order.
    """

    tier: str
    at: Path
    size_bytes: int
    digest: str
    step_bytes: int
    steps: str
    words: str | None = None
    name: str | None = None
    origin: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, in short names."""
        field: dict[str, Any] = {
            "tier": self.tier,
            "at": list(self.at),
            "n": self.size_bytes,
            "d": self.digest,
        }
        if self.steps:
            field |= {"step": self.step_bytes, "s": self.steps}
        more = {"w": self.words, "name": self.name, "origin": self.origin}
        return field | {name: value for name, value in more.items() if value}

    @classmethod
    def of_json(cls, field: Mapping[str, Any]) -> Kept:
        """Read what `as_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        at = tuple(one if isinstance(one, int) else str(one) for one in field["at"])
        texts = (field.get("w"), field.get("name"), field.get("origin"))
        step, steps = int(field.get("step", STEP_BYTES)), str(field.get("s", ""))
        if step < 1 or not at:
            raise ValueError(f"a step of {step} bytes at {at}")
        return cls(str(field["tier"]), at, int(field["n"]), str(field["d"]), step, steps, *texts)


@dataclass(frozen=True, slots=True)
class Earlier:
    """A prompt as a process sent it: `segments` in the order in which they are read."""

    process: int
    at_s: float
    """Seconds since 1970."""
    segments: tuple[Kept, ...]

    @classmethod
    def of(cls, rendered: Rendered, key: ChainKey, *, process: int, at_s: float) -> Earlier:
        """Return what is kept of a prompt."""
        return cls(process, at_s, tuple(_kept(item, key) for item in rendered.segments))

    def as_bytes(self) -> bytes:
        """Return it as JSON."""
        field = {
            "v": VERSION,
            "process": self.process,
            "at": self.at_s,
            "segments": [item.as_json() for item in self.segments],
        }
        return json.dumps(field, separators=(",", ":"), ensure_ascii=True).encode()

    @classmethod
    def of_bytes(cls, data: bytes) -> Earlier | None:
        """Read what `as_bytes` gave; None for anything else, such as another version's."""
        try:
            field = json.loads(data)
            if field["v"] != VERSION:
                return None
            segments = tuple(map(Kept.of_json, field["segments"]))
            return cls(int(field["process"]), float(field["at"]), segments)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return None

    def parted(self, rendered: Rendered, key: ChainKey, place: MissPlace | None) -> Parted | None:
        """Return where a prompt leaves this one, if that is where a server says that it did.

        None where it only goes on, and where the two differ elsewhere.

        Args:
            rendered: the newer prompt.
            key: of the same API key.
            place: the server's word; None takes the first difference as it is.
        """
        news = rendered.segments
        for index, (was, now) in enumerate(zip(self.segments, news, strict=False)):
            if was.at != now.at:
                return None
            data = _utf8(now.text)
            is_same = was.size_bytes == len(data)
            if is_same and was.digest == name_of(now, key).digest:
                continue
            is_last = index + 1 == len(self.segments)
            if is_last and not now.is_tool and _begins(data, was, key):
                return None
            start, end = _step(data, was, key)
            ahead = sum(len(_utf8(item.text)) for item in news[:index] if item.at == now.at)
            if place is not None and place.path is not None:
                if place.path != now.at:
                    return None
                if place.byte is not None:
                    told = place.byte - ahead
                    if not start - MOST_TOKEN_BYTES <= told <= end:
                        return None
                    start, end = _narrowed(start, end, told)
            why = _cause(was, rendered, index, data, start, end, key)
            is_lossy = self._is_lossy(rendered, index, len(data) - end, key)
            return Parted(self, now.at, ahead + start, now, start, was.origin, why, is_lossy)
        return None

    def _is_lossy(self, rendered: Rendered, index: int, rest_bytes: int, key: ChainKey) -> bool:
        """Return whether text behind a difference was read again though both prompts have it."""
        now = rendered.segments[index]
        # Of a text's rest no digest is kept; text of the source goes on as it did.
        if now.tier <= Tier.TENANT and now.hole is None and rest_bytes >= LEAST_LOST_BYTES:
            return True
        olds = [
            Piece(item.digest, item.size_bytes, Tier.parse(item.tier), item.at)
            for item in self.segments
        ]
        news = [
            Piece(name_of(item, key).digest, len(_utf8(item.text)), item.tier, item.at)
            for item in rendered.segments
        ]
        return is_lossy_behind(olds, news, index)


@dataclass(frozen=True, slots=True)
class Parted:
    """Where a prompt leaves what another process sent: `byte` counts in the string at `at`."""

    earlier: Earlier
    at: Path
    byte: int
    segment: RenderedSegment
    start: int
    """The byte in the segment's own text."""
    was_origin: str | None
    """The line that built the segment then."""
    why: Cause
    is_lossy: bool
    """Whether text behind it, which both prompts have, was read again."""

    def __str__(self) -> str:
        """Say where, show the text that stands there now, and what it was compared with."""
        data = _utf8(self.segment.text)
        before = visible(data[: self.start].decode("utf-8", "replace")[-WINDOW:])
        behind = visible(data[self.start :].decode("utf-8", "replace")[:WINDOW])
        origin = self.segment.origin
        built = f", built at {origin}" if origin else ""
        then = ""
        if self.was_origin and origin and self.was_origin != origin.short:
            then = f", which built it at {self.was_origin}"
        return (
            f"{'.'.join(map(str, self.at))}, byte {self.byte:,} in {self.segment.label}{built}\n"
            f"  now  {before}{behind}\n{' ' * (7 + len(before))}^\n"
            f"Compared with what process {self.earlier.process} sent{then}; its text is not kept."
        )


_steps_of: WeakKeyDictionary[Segment | Tool, dict[tuple[bytes, int], tuple[str, str | None]]] = (
    WeakKeyDictionary()
)


def _kept(item: RenderedSegment, key: ChainKey) -> Kept:
    data = _utf8(item.text)
    digest = name_of(item, key).digest
    step = STEP_BYTES if len(data) < LONG_BYTES else LONG_STEP_BYTES
    steps, words = ("", None) if item.is_tool else _marks(item, data, step, key)
    origin = item.origin.short if item.origin else None
    label = item.tier.label
    return Kept(label, item.at, len(data), digest, step, steps, words, item.name, origin)


def _marks(item: RenderedSegment, data: bytes, step: int, key: ChainKey) -> tuple[str, str | None]:
    """Return steps and words of a text; remembered for as long as its source lives."""
    if item.source is None:
        return _steps(data, step, key), _words(item.text, key)
    known = _steps_of.setdefault(item.source, {})
    memo = (key.digest_key, len(data))  # with the separator before it, or without
    if memo not in known:
        known[memo] = _steps(data, step, key), _words(item.text, key)
    return known[memo]


def _steps(data: bytes, step: int, key: ChainKey) -> str:
    digest = hashlib.blake2b(key=key.digest_key, digest_size=STEP_DIGITS // 2)
    found = []
    for start in range(0, len(data), step):
        digest.update(data[start : start + step])
        found.append(digest.hexdigest())
    return "".join(found)


def _words(text: str, key: ChainKey) -> str | None:
    if len(text) > MOST_WORDS_CHARS:
        return None
    words = sorted(re.findall(r"\w+", text))
    return segment_digest(_utf8(" ".join(words)), key) if len(words) > 1 else None


def _begins(data: bytes, was: Kept, key: ChainKey) -> bool:
    return len(data) > was.size_bytes and segment_digest(data[: was.size_bytes], key) == was.digest


def _step(data: bytes, was: Kept, key: ChainKey) -> tuple[int, int]:
    """Return the bytes of the first step that differs."""
    now = _steps(data, was.step_bytes, key) if was.steps else ""
    most = min(len(now), len(was.steps)) // STEP_DIGITS
    same = 0
    while same < most:
        at = slice(same * STEP_DIGITS, (same + 1) * STEP_DIGITS)
        if now[at] != was.steps[at]:
            break
        same += 1
    start = min(same * was.step_bytes, len(data))
    return start, min(start + was.step_bytes, len(data)) if was.steps else len(data)


def _narrowed(start: int, end: int, told: int) -> tuple[int, int]:
    """Return the step behind the token's begin, which a server says that the prompts shared."""
    start = max(start, told)
    return start, max(start, min(end, start + STEP_BYTES))


def _cause(
    was: Kept, rendered: Rendered, index: int, data: bytes, start: int, end: int, key: ChainKey
) -> Cause:
    now = rendered.segments[index]
    runs = runs_of(rendered)
    if now.is_tool:
        return cause_between(was.name, now.name)
    is_reordered = (
        was.words is not None and was.size_bytes == len(data) and was.words == _words(now.text, key)
    )
    # Halves of characters at the edges count for the character before them.
    first, last = (len(data[:place].decode("utf-8", "ignore")) for place in (start, end))
    return cause_near(
        runs[index],
        runs,
        first,
        last,
        is_reordered=is_reordered,
        is_session=now.tier is Tier.SESSION,
    )


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
