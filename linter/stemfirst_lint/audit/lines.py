"""Lines of recordings, plain or gzipped, one at a time.

Knows files, gzip and how much of a file was read. Does not know JSON. Holds one line in
memory, and never more than `MAX_LINE_BYTES` of it.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import BinaryIO

from stemfirst_lint.audit.records import Place, Problem

MAX_LINE_BYTES = 64 * 2**20
"""Longer lines are skipped, and said so: parsed, one takes several times its size."""

STDIN = "-"

Advance = Callable[[int], None]
"""Told the position in the file, in (compressed) bytes."""


def lines_of(
    path: str, *, advance: Advance | None = None, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[tuple[Place, bytes] | Problem]:
    """Yield each line that is not blank with its place, or a problem in its stead.

    A file that breaks off (a truncated gzip, a read error) yields what came before, then one
    problem.

    Args:
        path: a file, or `-` for standard input; gzip is recognised by its first bytes.
        advance: called now and then with the position reached.
        max_line_bytes: lines longer than this become problems.
    """
    number = 0
    with ExitStack() as stack:
        try:
            raw = _opened(path, stack)
            file = _unzipped(raw, stack)
            while True:
                line = file.readline(max_line_bytes + 1)
                if not line:
                    break
                number += 1
                if advance is not None and (number & 63 == 0 or len(line) > 2**20):
                    advance(_position(raw))
                if len(line) > max_line_bytes:
                    _skip_rest(file, line)
                    limit = max_line_bytes / 2**20
                    yield Problem(Place(path, number), f"the line is longer than {limit:g} MiB")
                    continue
                if line.strip():
                    yield Place(path, number), line
            if advance is not None:
                advance(_position(raw))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            place = Place(path, number + 1)
            yield Problem(place, f"the gzip data is damaged or cut off here ({error})")
        except IsADirectoryError:
            yield Problem(path, "a folder; name the recordings in it")
        except OSError as error:
            reason = error.strerror or str(error)
            yield Problem(Place(path, number + 1) if number else path, reason)


def size_bytes(path: str) -> int | None:
    """Return a file's size for a progress bar; None where it has none."""
    try:
        return os.path.getsize(path) if path != STDIN and os.path.isfile(path) else None
    except OSError:  # unreadable: `lines_of` says so
        return None


def _opened(path: str, stack: ExitStack) -> BinaryIO:
    if path == STDIN:
        return sys.stdin.buffer
    return stack.enter_context(open(path, "rb"))


def _unzipped(raw: BinaryIO, stack: ExitStack) -> BinaryIO | io.BufferedIOBase:
    assert isinstance(raw, io.BufferedReader)
    if raw.peek(2)[:2] != b"\x1f\x8b":
        return raw
    return stack.enter_context(gzip.GzipFile(fileobj=raw))


def _position(raw: BinaryIO) -> int:
    try:
        return raw.tell()
    except OSError:  # a pipe
        return 0


def _skip_rest(file: BinaryIO | io.BufferedIOBase, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(2**20)
