"""From paths to sites: reads files, sorts out those that can hold prompts, finds the prompts.

Knows which files need how much work. A file without prompts is still parsed, so that a broken one
is told; many of them are parsed by several processes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.files import may_hold_prompts, python_files
from stemfirst_lint.source import check_syntax, decode, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stemfirst_lint.cache import Cache
    from stemfirst_lint.config import Config
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Site
    from stemfirst_lint.project import Project

    OnProgress = Callable[[str, int, int], None]
    """Called with what is being done, how many are done, and of how many."""

_WORTH_PROCESSES_BYTES = 2_000_000
"""Starting processes costs as much as parsing about a tenth of this."""

_WORTH_CACHING_FILES = 8
"""Parsing fewer files without prompts costs less than looking up that they parse."""

_MAX_PROCESSES = 8


@dataclass(frozen=True, slots=True)
class Scanned:
    """What was read.

    Attributes:
        candidates: path and bytes of the files that may hold prompts.
        files: how many files were looked at.
        prompts: prompt files that the settings name.
    """

    candidates: tuple[tuple[str, bytes], ...]
    files: int
    prompts: tuple[str, ...] = ()


def scan(
    paths: tuple[str, ...],
    config: Config,
    failures: list[UnreadableFile],
    *,
    cache: Cache | None = None,
    on_progress: OnProgress | None = None,
) -> Scanned:
    """Read the files below paths; what cannot be read or parsed is appended to `failures`."""
    candidates: list[tuple[str, bytes]] = []
    others: list[tuple[str, bytes]] = []
    listed = list(python_files(paths, config, failures))
    is_many = len(listed) >= _WORTH_CACHING_FILES
    for done, (path, is_test) in enumerate(listed):
        if on_progress is not None:
            on_progress("read", done, len(listed))
        try:
            data = read_bytes(path)
        except UnreadableFile as failure:
            failures.append(failure)
            continue
        if is_test:
            continue  # tests hold prompts that nobody sends
        if may_hold_prompts(data) or b"stemfirst:" in data:
            candidates.append((path, data))
        elif cache is None or not is_many or not cache.is_clean(path, data):
            others.append((path, data))
    for (path, data), reason in zip(others, _parse_all(others, on_progress), strict=True):
        if reason is not None:
            failures.append(UnreadableFile(path, reason))
        elif cache is not None and is_many:
            cache.add_clean(path, data)
    named: list[str] = []
    if config.prompts:
        from stemfirst_lint.named_files import named_files

        named = named_files(config.prompts, config.root, filter(os.path.isdir, paths))
    return Scanned(tuple(candidates), len(listed) + len(named), tuple(named))


def _parse_all(
    files: list[tuple[str, bytes]], on_progress: OnProgress | None
) -> Iterator[str | None]:
    """Yield for each file why it does not parse, or None."""
    processes = min(os.cpu_count() or 1, _MAX_PROCESSES)
    size_bytes = sum(len(data) for _, data in files)
    found: Iterator[str | None] | None = None
    pool = None
    if processes > 1 and size_bytes >= _WORTH_PROCESSES_BYTES:
        from threading import active_count

        # A fork needs no new interpreter; with threads about it is not safe.
        if sys.platform == "linux" and active_count() == 1:
            from multiprocessing import get_context

            pool = get_context("fork").Pool(processes)
            found = pool.imap(_why_unparsable, files, chunksize=16)
    try:
        for done, reason in enumerate(found or map(_why_unparsable, files)):
            if on_progress is not None:
                on_progress("parse", done, len(files))
            yield reason
    finally:
        if pool is not None:
            pool.terminate()
            pool.join()


def _why_unparsable(file: tuple[str, bytes]) -> str | None:
    path, data = file
    try:
        check_syntax(path, decode(path, data))
    except UnreadableFile as failure:
        return failure.reason
    return None


def find_sites(
    scanned: Scanned,
    config: Config,
    failures: list[UnreadableFile],
    *,
    has_constants: bool = False,
    on_progress: OnProgress | None = None,
) -> tuple[Project, list[Site]]:
    """Return the sites in what was read, and the project that they were found in.

    Args:
        scanned: what was read.
        config: declares tiers.
        failures: files that do not parse are appended here.
        has_constants: also return prompts without a hole.
        on_progress: told about the work.
    """
    from stemfirst_lint.flow import Flow
    from stemfirst_lint.project import Project
    from stemfirst_lint.sites import Finder

    project = Project()
    modules: list[ModuleIndex] = []
    total = len(scanned.candidates)

    def each() -> Iterator[ModuleIndex]:
        for done, module in enumerate(modules):
            if on_progress is not None:
                on_progress("check", done, total)
            yield module

    # Deeply nested expressions recurse once a level; other people's generated code goes far.
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10_000))
    try:
        for done, (path, data) in enumerate(scanned.candidates):
            if on_progress is not None:
                on_progress("index", done, total)
            try:
                modules.append(project.add(path, data))
            except UnreadableFile as failure:
                failures.append(failure)
        finder = Finder(Flow(project, config.tiers), has_constants=has_constants)
        sites = finder.sites(each())
        if scanned.prompts:
            from stemfirst_lint.named_files import named_sites

            seen = frozenset(site.template.location for site in sites)
            sites += named_sites(scanned.prompts, seen, failures)
        return project, sites
    finally:
        sys.setrecursionlimit(before)
