"""Checks again whenever something changes that a check hangs on.

Knows what the last check read and looked for (source, prompt files, settings, a baseline), and when
each changed last. Asks the file system twice a second: that needs no package, and works on network
folders and in containers.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import click

from stemfirst_lint.again import Asked, Trace, Tracing
from stemfirst_lint.cli.run import Options, Request
from stemfirst_lint.errors import LintError
from stemfirst_lint.footprint import file_digest
from stemfirst_lint.output.words import plural

_INTERVAL_S = 0.5

State = dict[str, tuple[int, int] | None]
"""Size and time of change by absolute path; None where nothing is."""


def watch_files(options: Options, request: Request, check: Callable[[Request], object]) -> NoReturn:
    """Run a check now and after every change, until interrupted; exits with 0.

    Args:
        options: what was asked for; settings are read anew for every check.
        request: what the options mean now.
        check: one run.
    """
    watched: set[str] = set()
    seen: State | None = None
    try:
        while True:
            now = _state(watched | _listed(request))
            if now != seen:
                if sys.stdout.isatty():
                    click.clear()
                with Tracing(Asked([])) as trace:
                    assert trace is not None
                    try:
                        request = Request.of(options)
                        check(request)
                    except LintError as error:
                        click.echo(f"error: {error}", err=True)
                read = _read(trace, request)
                # What was known counts as it was before the check, what is new as it was met:
                # either may have changed meanwhile.
                fresh = _state(read - now.keys())
                is_as_met = _is_as_met(trace, fresh)
                watched |= read
                seen = {**now, **fresh} if is_as_met else None
                said = plural(len(_listed(request)), "file")
                click.echo(f"watching {said} and what they read; Ctrl-C ends", err=True)
            time.sleep(_INTERVAL_S)
    except KeyboardInterrupt:
        sys.exit(0)


def _listed(request: Request) -> set[str]:
    return {os.path.abspath(path) for path in request.files()}


def _read(trace: Trace, request: Request) -> set[str]:
    """What a check read, and what it looked for that is no module: those are listed."""
    found = {*trace.files, *(path for path in trace.probes if not path.endswith(".py"))}
    if request.config.baseline is not None:
        found.add(os.path.abspath(request.config.baseline))
    return found


def _is_as_met(trace: Trace, state: State) -> bool:
    """Return True if files are still as a check read them, or are not where it found none."""
    return all(
        file_digest(path) == trace.files[path]
        if path in trace.files
        else (found is not None) == trace.probes.get(path, found is not None)
        for path, found in state.items()
    )


def _state(paths: set[str]) -> State:
    found: State = {}
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            found[path] = None  # not there yet, or gone: an editor was writing it anew
        else:
            found[path] = (status.st_size, status.st_mtime_ns)
    return found
