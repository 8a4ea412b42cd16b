"""Checks again whenever a file changes.

Knows when files changed last. Asks the file system twice a second: that needs no package, and
works on network folders and in containers.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import click

from stemfirst_lint.cli.run import Request
from stemfirst_lint.errors import LintError

_INTERVAL_S = 0.5


def watch_files(request: Request, check: Callable[[], int]) -> NoReturn:
    """Run a check now and after every change, until interrupted; exits with 0."""
    seen: dict[str, tuple[int, int]] | None = None
    try:
        while True:
            now = _state(request)
            if now != seen:
                seen = now
                if sys.stdout.isatty():
                    click.clear()
                try:
                    check()
                except LintError as error:
                    click.echo(f"error: {error}", err=True)
                click.echo(f"watching {len(now):,} files; Ctrl-C ends", err=True)
            time.sleep(_INTERVAL_S)
    except KeyboardInterrupt:
        sys.exit(0)


def _state(request: Request) -> dict[str, tuple[int, int]]:
    """Size and time of change of each file."""
    found: dict[str, tuple[int, int]] = {}
    for path in request.files():
        try:
            status = os.stat(path)
        except OSError:
            continue  # gone again: an editor was writing it anew
        found[path] = (status.st_size, status.st_mtime_ns)
    return found
