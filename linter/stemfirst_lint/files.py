"""Finds the files to check: those named, and the Python files below folders.

Knows default exclusions, symlink loops and which bytes can hold a prompt. Reads no syntax.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch

from stemfirst_lint.errors import UnreadableFile

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

_HINT = re.compile(
    rb"""["']role["']|[Pp]rompt|PROMPT|system(?:_\w+)?\s*=|instructions|Message\(|messages\s*="""
    rb"""|backstory|You are |You're """
)


def may_hold_prompts(data: bytes) -> bool:
    """Return False if no prompt can be in these bytes; True says nothing."""
    return _HINT.search(data) is not None


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
    paths: tuple[str, ...], exclude: tuple[str, ...], root: str, failures: list[UnreadableFile]
) -> Iterator[tuple[str, bool]]:
    """Yield the files to check, each once, and whether each belongs to tests.

    Args:
        paths: files and folders; a file is checked whatever its name.
        exclude: patterns over paths relative to `root`, or over single names.
        root: the folder of the configuration.
        failures: what cannot be listed is appended here.
    """
    seen: set[str] = set()
    for path in paths:
        if os.path.isdir(path):
            for found in _walk(path, exclude, root, failures):
                real = os.path.realpath(found)
                if real not in seen:
                    seen.add(real)
                    yield found, is_test(os.path.relpath(found, path))
        elif os.path.lexists(path):
            real = os.path.realpath(path)
            if real not in seen and not _is_excluded(path, exclude, root):
                seen.add(real)
                yield path, is_test(path if not os.path.isabs(path) else os.path.basename(path))
        else:
            failures.append(UnreadableFile(path, "no such file or folder"))


def _walk(
    top: str, exclude: tuple[str, ...], root: str, failures: list[UnreadableFile]
) -> Iterator[str]:
    pending = [top]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            failures.append(UnreadableFile(folder, (error.strerror or str(error)).lower()))
            continue
        folders: list[str] = []
        for entry in entries:
            try:
                # A link to a folder is not followed: its target is listed where it lies.
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in SKIPPED_FOLDERS and not _is_excluded(
                        entry.path, exclude, root
                    ):
                        folders.append(entry.path)
                    continue
                if entry.name.endswith((".py", ".pyi")) and not _is_excluded(
                    entry.path, exclude, root
                ):
                    if entry.is_symlink():
                        entry.stat()  # raises on a loop or a dangling link
                    elif not entry.is_file():
                        continue
                    yield entry.path
            except OSError as error:
                failures.append(UnreadableFile(entry.path, (error.strerror or str(error)).lower()))
        pending.extend(reversed(folders))


def _is_excluded(path: str, exclude: tuple[str, ...], root: str) -> bool:
    if not exclude:
        return False
    relative = os.path.relpath(os.path.abspath(path), root).replace(os.sep, "/")
    name = os.path.basename(path)
    for pattern in exclude:
        pattern = pattern.rstrip("/")
        if fnmatch(name, pattern) or fnmatch(relative, pattern):
            return True
        if relative.startswith(pattern + "/"):
            return True
    return False
