"""Puts a file in the place of another, whole or not at all.

Knows links, permissions and files that are none. Does not know what is written.
"""

from __future__ import annotations

import contextlib
import os
import secrets


def write_whole(path: str, data: bytes) -> None:
    """Write a file beside its place and put it there; links and permissions stay.

    What is no ordinary file (a pipe, a device) is written into.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    target = os.path.realpath(path)
    mode: int | None = None
    if os.path.exists(target):
        if not os.path.isfile(target):
            with open(target, "wb") as file:
                file.write(data)
            return
        mode = os.stat(target).st_mode & 0o7777
    temporary = os.path.join(os.path.dirname(target), f".stemfirst-{secrets.token_hex(8)}")
    try:
        # Not `mkstemp`: a new file gets the permissions that the user's mask leaves.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):  # it has become the target
            os.unlink(temporary)
