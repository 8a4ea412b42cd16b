"""Finds the files to check: those named, and the Python files and notebooks below folders.

Knows default exclusions and symlink loops. Opens no file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.footprint import listed_names
from stemfirst_lint.source import OVERLAY

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.config import Config

SKIPPED_FOLDERS = frozenset(
    {
        ".bzr", ".direnv", ".eggs", ".git", ".git-rewrite", ".hg", ".ipynb_checkpoints",
        ".mypy_cache", ".nox", ".pants.d", ".pyenv", ".pytest_cache", ".pytype", ".ruff_cache",
        ".svn", ".tox", ".venv", ".vscode", "__pypackages__", "__pycache__", "_build", "buck-out",
        "build", "dist", "node_modules", "site-packages", "venv",
    }
)  # fmt: skip
"""Folders below the given paths that hold no source of the project."""

_TEST_FOLDERS = frozenset({"tests", "test", "testing", "unit_tests", "integration_tests"})


LISTED: list[dict[str, tuple[str, ...]]] = []
"""Where to note the folders that were listed, and the names in them."""


def is_test(path: str) -> bool:
    """Return True if a path, relative to what was asked for, belongs to tests."""
    *folders, name = path.replace(os.sep, "/").split("/")
    return (
        name.startswith("test_")
        or name.endswith("_test.py")
        or name == "conftest.py"
        or any(folder in _TEST_FOLDERS for folder in folders)
    )


def python_files(
    paths: tuple[str, ...], config: Config, failures: list[UnreadableFile]
) -> Iterator[tuple[str, bool]]:
    """Yield the files to check, each once, and whether each belongs to tests.

    Args:
        paths: files and folders; a file is checked whatever its name, even if it is excluded or
            called a test, unless `config.forces_exclude`.
        config: what to leave out.
        failures: what cannot be listed is appended here.
    """
    seen: set[str] = set()
    for path in paths:
        if os.path.isdir(path):
            top = os.path.realpath(path)
            for found, is_link in _walk(path, config, failures):
                relative = found[len(path) :].lstrip(os.sep)
                real = os.path.realpath(found) if is_link else os.path.join(top, relative)
                if real not in seen:
                    seen.add(real)
                    yield found, is_test(relative)
        elif os.path.lexists(path) or (OVERLAY and os.path.realpath(path) in OVERLAY):
            real = os.path.realpath(path)
            if real not in seen and not (config.forces_exclude and is_excluded(path, config)):
                seen.add(real)
                own = path if not os.path.isabs(path) else os.path.basename(path)
                yield path, config.forces_exclude and is_test(own)
        else:
            failures.append(UnreadableFile(path, "no such file or folder"))


def is_excluded(path: str, config: Config) -> bool:
    """Return True if a file that was named would be left out below a folder, git aside."""
    relative = os.path.relpath(os.path.abspath(path), config.root).replace(os.sep, "/")
    *folders, _ = relative.split("/")
    if any(folder in SKIPPED_FOLDERS for folder in folders):
        return True
    return any(
        matches(at, pattern, config.root)
        for pattern in config.exclude
        for at in (path, *(os.path.join(config.root, *folders[: n + 1])
                           for n in range(len(folders))))
    )  # fmt: skip


def is_below(path: str, folder: str) -> bool:
    """Return True if a path that a walk of `folder` gave, or another, lies below it."""
    return not os.path.relpath(path, folder).startswith(os.pardir)


def matches(path: str, pattern: str, root: str) -> bool:
    """Return True if a pattern names a path: by its name, relative to `root`, or a folder of it."""
    relative = os.path.relpath(os.path.abspath(path), root).replace(os.sep, "/")
    pattern = pattern.rstrip("/")
    return (
        fnmatch(os.path.basename(path), pattern)
        or fnmatch(relative, pattern)
        or relative.startswith(pattern + "/")
    )


def _walk(top: str, config: Config, failures: list[UnreadableFile]) -> Iterator[tuple[str, bool]]:
    """Yield the files below a folder, and whether each is a link."""
    ignored = None
    if config.respects_gitignore:
        from stemfirst_lint.gitignore import Ignored

        ignored = Ignored(top)
    pending = [top]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            failures.append(UnreadableFile(folder, (error.strerror or str(error)).lower()))
            continue
        for noted in LISTED:
            noted[os.path.abspath(folder)] = listed_names(entries)
        is_open = ignored is None
        if ignored is not None:
            ignored.enter(folder, has_own=any(entry.name == ".gitignore" for entry in entries))
            is_open = ignored.leaves_all(folder)
        folders: list[str] = []
        for entry in entries:
            try:
                # A link to a folder is not followed: its target is listed where it lies.
                is_folder = entry.is_dir(follow_symlinks=False)
                if is_folder:
                    if entry.name in SKIPPED_FOLDERS:
                        continue
                elif not entry.name.endswith((".py", ".pyi", ".ipynb")):
                    continue
                elif entry.name.startswith(".#") and entry.is_symlink():
                    continue  # Emacs locks a file that is edited by a link to nowhere
                if any(matches(entry.path, pattern, config.root) for pattern in config.exclude):
                    continue
                if not is_open:
                    assert ignored is not None
                    if ignored.is_ignored(entry.path, is_folder=is_folder):
                        continue
                if is_folder:
                    folders.append(entry.path)
                    continue
                is_link = entry.is_symlink()
                if is_link:
                    entry.stat()  # raises on a loop or a dangling link
                elif not entry.is_file():
                    continue
                yield entry.path, is_link
            except OSError as error:
                failures.append(UnreadableFile(entry.path, (error.strerror or str(error)).lower()))
        pending.extend(reversed(folders))
