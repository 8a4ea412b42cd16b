"""Where output goes: a terminal with or without colour, a pipe, a file.

Knows the environment variables that people set about colour. Source: no-color.org and
force-color.org, November 2026.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from typing import TextIO


def wants_colour(stream: TextIO) -> bool:
    """Return True on a terminal that shows colours, unless the user said otherwise."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def write(text: str, path: str | None) -> bool:
    """Write text and a line end to a file, or to standard output; say so if that fails.

    Characters that standard output has no place for become `?`.
    """
    if path is not None:
        from stemfirst_lint.output.replaceable import is_replaceable

        if not is_replaceable(path):
            say(f"error: {path} is no report and stays as it is; choose another file")
            return False
        try:
            with open(path, "w", encoding="utf-8", errors="replace") as file:
                file.write(text + "\n")
        except OSError as error:
            say(f"error: {path}: {error.strerror}; choose another file")
            return False
        return True
    if text:
        encoding = sys.stdout.encoding or "utf-8"
        shown = text.encode(encoding, "replace").decode(encoding)
        if sys.platform == "win32":
            import click

            click.echo(shown, color=True)  # we have decided; click would ask the stream again
        else:
            sys.stdout.write(f"{shown}\n")
            sys.stdout.flush()
    return True


def say(line: str) -> None:
    """Write a line to standard error, for the person who waits."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
