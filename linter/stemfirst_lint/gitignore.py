"""What git ignores: the user's own patterns, `.git/info/exclude`, and `.gitignore` files downwards.

Does not know which files git tracks: one that is tracked although a pattern names it is left out.
Knows where such files lie and which one wins. Leaves their syntax to pathspec, which is imported
when there is one.
"""

from __future__ import annotations

import os
import re

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.source import is_there, read_bytes

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    Chain = tuple[tuple[str, GitIgnoreSpec], ...]


_EXCLUDES_FILE = re.compile(
    r'^[ \t]*\[core\](?:[^\[]*\n)??[ \t]*excludesfile[ \t]*=[ \t]*(?:"([^"\n]+)"|([^"\s#;]'
    r"[^\n#;]*?))[ \t]*(?:[#;][^\n]*)?$",
    re.IGNORECASE | re.MULTILINE,
)


class Ignored:
    """Answers for a walk from `top` downwards; `enter` each folder before asking about it.

    Invariant: the specs of a folder are its ancestors' and its own, the nearest last.
    """

    def __init__(self, top: str) -> None:
        self._chains: dict[str, Chain] = {}
        above = self._above(os.path.abspath(top))
        # A folder that git ignores and the user names is checked like any other.
        if above and _verdict(above, os.path.abspath(top), is_folder=True):
            above = ()
        self._top = above

    def enter(self, folder: str, *, has_own: bool) -> None:
        """Take in a folder; `has_own` says whether a `.gitignore` lies in it."""
        place = os.path.abspath(folder)
        chain = self._chains.get(os.path.dirname(place), self._top)
        if has_own:
            chain = (*chain, *_read(place, os.path.join(place, ".gitignore")))
        self._chains[place] = chain

    def leaves_all(self, folder: str) -> bool:
        """Return True if nothing is ignored in a folder that was entered, nor below it so far."""
        return not self._chains[os.path.abspath(folder)]

    def is_ignored(self, path: str, *, is_folder: bool) -> bool:
        """Return True if git ignores an entry of a folder that was entered."""
        place = os.path.abspath(path)
        chain = self._chains[os.path.dirname(place)]
        return bool(chain) and _verdict(chain, place, is_folder=is_folder)

    @staticmethod
    def _above(top: str) -> Chain:
        """The specs of the folders above `top`, up to the repository's root; none outside one."""
        folders: list[str] = []
        folder = top
        while not is_there(os.path.join(folder, ".git")):
            parent = os.path.dirname(folder)
            if parent == folder:
                return ()
            folder = parent
            folders.append(folder)
        chain = _read(folder, _users_own())
        chain = (*chain, *_read(folder, os.path.join(folder, ".git", "info", "exclude")))
        for each in reversed(folders):
            chain = (*chain, *_read(each, os.path.join(each, ".gitignore")))
        return chain


def _users_own() -> str:
    """Return the file with the user's own patterns, for all repositories: it need not exist.

    Source: gitignore(5), `core.excludesFile`.
    """
    home = os.path.expanduser("~")
    folder = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "git")
    for settings in (os.path.join(home, ".gitconfig"), os.path.join(folder, "config")):
        try:
            text = read_bytes(settings).decode("utf-8", "replace")
        except UnreadableFile:
            continue
        named = _EXCLUDES_FILE.search(text)
        if named:
            return os.path.expanduser(named[1] or named[2])
    return os.path.join(folder, "ignore")


def _read(folder: str, path: str) -> Chain:
    try:
        lines = read_bytes(path).decode("utf-8", "replace").splitlines()
    except UnreadableFile:  # none there, or not ours to read: nothing is ignored by it
        return ()
    if not any(line.strip() and not line.startswith("#") for line in lines):
        return ()
    from pathspec import GitIgnoreSpec

    try:
        return ((folder, GitIgnoreSpec.from_lines(lines)),)
    except (ValueError, re.error):  # git passes over a line that is no pattern, and so do we
        return ((folder, GitIgnoreSpec.from_lines(filter(_is_pattern, lines))),)


def _is_pattern(line: str) -> bool:
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False
    return True


def _verdict(chain: Chain, path: str, *, is_folder: bool) -> bool:
    for folder, spec in reversed(chain):
        name = os.path.relpath(path, folder).replace(os.sep, "/") + "/" * is_folder
        found = spec.check_file(name).include
        if found is not None:
            return found
    return False
