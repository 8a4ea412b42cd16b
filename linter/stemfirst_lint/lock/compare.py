"""What moved since a lock was written, and where: the first block, and the first byte if git knows.

Knows digests and git's old files. Knows nothing of output.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from stemfirst_lint.errors import RevisionError, UnreadableFile
from stemfirst_lint.lock.file import Locked
from stemfirst_lint.lock.prefixes import Prefix, stable_prefixes
from stemfirst_lint.model import Location
from stemfirst_lint.since import git
from stemfirst_lint.source import OVERLAY

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.config import Config

_WINDOW_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class Window:
    """The first difference: its byte, counted from 0, and the text around it, then and now."""

    byte: int
    before: str
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Move:
    """A prefix that differs from the lock.

    Attributes:
        key: the prompt's.
        what: one sentence without the key.
        location: the template, or None if the prompt is gone.
        block: the first block that differs, counted from 1; None if the prompt is new or gone.
        window: where the first byte differs, if git has the text that was locked.
    """

    key: str
    what: str
    location: Location | None
    block: int | None = None
    window: Window | None = None


def moves(locked: Locked, found: dict[str, Prefix]) -> list[Move]:
    """Return every difference between a lock and what is in source, by key."""
    result: list[Move] = []
    for key in sorted(locked.prefixes.keys() | found.keys()):
        old, new = locked.prefixes.get(key), found.get(key)
        if new is None:
            result.append(Move(key, "is locked and not found any more", None))
        elif old is None:
            result.append(Move(key, "is not locked yet", new.location))
        elif old != new.digests:
            result.append(_move(key, old, new))
    return result


def _move(key: str, old: tuple[str, ...], new: Prefix) -> Move:
    pairs = zip(old, new.digests, strict=False)
    same = next((at for at, (was, now) in enumerate(pairs) if was != now), None)
    if same is None:
        same = min(len(old), len(new.digests))
        grew = len(new.digests) > len(old)
        what = f"{'grew' if grew else 'shrank'} behind block {same}: {len(old)} blocks were locked"
        return Move(key, f"{what}, there are {len(new.digests)}", new.location, same + 1)
    at_byte = len("".join(new.blocks[:same]).encode("utf-8", "surrogatepass"))
    what = f"moved: block {same + 1} of {len(old)} differs, at byte {at_byte:,} or behind"
    return Move(key, what, new.location, same + 1)


def with_windows(
    result: list[Move],
    locked: Locked,
    found: dict[str, Prefix],
    lock_path: str,
    paths: tuple[str, ...],
    config: Config,
) -> list[Move]:
    """Return moves with the first differing byte, where git has the text that was locked."""
    if not any(move.block is not None for move in result):
        return result
    root = os.path.dirname(os.path.abspath(lock_path))
    try:
        old_files = _files_then(lock_path, root)
    except RevisionError:  # no repository, or the lock is not committed yet
        return result
    before = dict(OVERLAY)
    ignored: list[UnreadableFile] = []
    OVERLAY.update(old_files)
    try:
        then = stable_prefixes(paths, config, root, ignored)
    finally:
        OVERLAY.clear()
        OVERLAY.update(before)
    windows: list[Move] = []
    for move in result:
        old, new = then.get(move.key), found.get(move.key)
        if old is not None and new is not None and old.digests == locked.prefixes.get(move.key):
            move = replace(move, window=_window(old.text, new.text))
        windows.append(move)
    return windows


def _files_then(lock_path: str, root: str) -> dict[str, bytes]:
    """The files that changed since the commit that wrote the lock, as they were, by real path."""
    name = os.path.basename(lock_path)
    commit = git(root, "log", "-1", "--format=%H", "--", name).strip()
    if not commit:
        raise RevisionError(f"{name} is not committed")
    top = git(root, "rev-parse", "--show-toplevel").rstrip("\n")
    listed = git(top, "diff", "--name-only", "-z", "--diff-filter=MT", commit, "--")
    return {
        os.path.realpath(os.path.join(top, path)): git(top, "show", f"{commit}:{path}").encode(
            errors="surrogateescape"
        )
        for path in listed.split("\0")
        if path
    }


def _window(old: str, new: str) -> Window | None:
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    if at is None:
        at = min(len(old), len(new))
        if len(old) == len(new):
            return None
    return Window(
        byte=len(new[:at].encode("utf-8", "surrogatepass")),
        before=new[max(at - _WINDOW_CHARACTERS, 0) : at],
        was=old[at : at + _WINDOW_CHARACTERS],
        now=new[at : at + _WINDOW_CHARACTERS],
    )
