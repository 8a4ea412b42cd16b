"""What moved since a lock was written, and where: the first block, and the first byte if git knows.

Knows digests and git's old files. Knows nothing of output.
"""

from __future__ import annotations

import itertools
import os
import re
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
_NUMBER = re.compile(r"#(\d+)$")


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
    pairs = _paired(locked.prefixes, found)
    gone = [old for old, new in pairs if new is None]
    fresh = {found[new].digests: new for old, new in pairs if old is None and new is not None}
    renamed: set[str] = set()
    for key in gone:
        assert key is not None
        other = fresh.pop(locked.prefixes[key], None)
        if other is not None:
            renamed |= {key, other}
            what = f"is the same and called {other} now"
            result.append(Move(key, what, found[other].location))
    for old, new in pairs:
        if new is None:
            assert old is not None
            if old not in renamed:
                result.append(Move(old, "is locked and not found any more", None))
        elif old is None:
            if new not in renamed:
                result.append(Move(new, "is not locked yet", found[new].location))
        elif locked.prefixes[old] != found[new].digests:
            result.append(_move(new, locked.prefixes[old], found[new]))
    return sorted(result, key=lambda move: move.key)


def _paired(
    locked: dict[str, tuple[str, ...]], found: dict[str, Prefix]
) -> list[tuple[str | None, str | None]]:
    """Return which locked prefix is which found one.

    Prompts of one name in one file are numbered, and a number moves when a function is added above:
    of those, the ones whose text is the same are the same.
    """
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for side, keys in enumerate((list(locked), list(found))):
        for key in keys:
            groups.setdefault(_NUMBER.sub("", key), ([], []))[side].append(key)
    pairs: list[tuple[str | None, str | None]] = []
    for old_keys, new_keys in groups.values():
        old_left, new_left = sorted(old_keys, key=_number), sorted(new_keys, key=_number)
        for old in [*old_left]:
            alike = [new for new in new_left if found[new].digests == locked[old]]
            if alike:
                new = old if old in alike else alike[0]
                pairs.append((old, new))
                old_left.remove(old)
                new_left.remove(new)
        same = [key for key in old_left if key in new_left]
        pairs += [(key, key) for key in same]
        old_left = [key for key in old_left if key not in same]
        new_left = [key for key in new_left if key not in same]
        pairs.extend(itertools.zip_longest(old_left, new_left))
    return pairs


def _number(key: str) -> int:
    match = _NUMBER.search(key)
    return int(match[1]) if match else 1


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
