"""One line on a terminal that says how far a long run has come; nothing anywhere else."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.scan import OnProgress

_SHOW_AFTER_S = 1.0
_INTERVAL_S = 0.1
_WORDS = {"read": "reading", "parse": "parsing", "index": "reading prompts", "check": "checking"}


@contextlib.contextmanager
def progress() -> Iterator[OnProgress | None]:
    """Give a function to report progress to, or None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    started_s = shown_s = time.monotonic()
    is_shown = False

    def show(stage: str, done: int, total: int) -> None:
        nonlocal shown_s, is_shown
        now_s = time.monotonic()
        if now_s - started_s < _SHOW_AFTER_S or now_s - shown_s < _INTERVAL_S:
            return
        shown_s, is_shown = now_s, True
        print(f"\r\x1b[2K{_WORDS[stage]} {done:,} of {total:,} files", end="", file=sys.stderr,
              flush=True)  # fmt: skip

    try:
        yield show
    finally:
        if is_shown:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
