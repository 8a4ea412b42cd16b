"""What a prompt is made of: segments with tiers, messages and tools, as immutable values.

Knows their fields. Does not know in which order they may stand, or how they are sent.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from os.path import dirname
from typing import TypeAlias

from stemfirst.tiers import Tier

Path: TypeAlias = tuple[str | int, ...]
"""Where a string stands in the request body: `("messages", 0, "content")`."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The place in source code that made a segment.

    No request carries it. The caller's own telemetry span, where one is wanted, has its short form.
    """

    path: str
    line: int
    column: int | None = None

    @property
    def short(self) -> str:
        """The place as a user wants to read it: relative where it lies below the folder."""
        return f"{self.short_path}:{self.line}"

    @property
    def short_path(self) -> str:
        """The file, relative where it lies below the folder."""
        return self.path.removeprefix(os.getcwd() + os.sep)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" + (f":{self.column}" if self.column is not None else "")


@dataclass(frozen=True, slots=True)
class Hole:
    """A place where a value is put in when the prompt is rendered."""

    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """One content part that is not text (an image, a file), as JSON text."""

    json: str


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Segment:
    """A run of text, or a hole, with one tier."""

    tier: Tier
    content: str | Hole | Part
    name: str | None = None
    origin: Origin | None = None

    def __str__(self) -> str:
        if self.name:
            return f"{self.tier.label}({self.name})"
        if isinstance(self.content, Hole):
            return f"{self.tier.label}({{{self.content.name}}})"
        text = self.content.json if isinstance(self.content, Part) else self.content
        short = " ".join(text.split())
        return f"{self.tier.label}({short[:40] + '…' if len(short) > 40 else short!r})"


@dataclass(frozen=True, slots=True)
class Message:
    """A role and the segments of its content.

    `separator` stands between segments. `extra` holds the message's other fields
    (`tool_calls`, `tool_call_id`, `name`) as pairs of name and JSON text, in the order in
    which they are sent. `as_parts` sends the content as a list of parts, one a segment.
    A message without segments is sent with `content: null`. `is_loose` tells a message that
    loose segments formed, which further ones join.
    """

    role: str
    segments: tuple[Segment, ...]
    separator: str = ""
    extra: tuple[tuple[str, str], ...] = ()
    as_parts: bool = False
    is_loose: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Tool:
    """A tool definition in the shape of the chat API, as JSON text in authoring order.

    Keys keep the order that the author gave them, because the order of a schema's properties
    can steer what a model generates; only digests are taken over the canonical form.
    """

    name: str
    json: str
    tier: Tier = Tier.STATIC
    origin: Origin | None = None


_HERE = dirname(__file__) + os.sep


def caller() -> Origin | None:
    """Return the place that called this package: where the user's code built the value."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_HERE):
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno)
