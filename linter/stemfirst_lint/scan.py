"""From paths to sites: reads files, sorts out those that can hold prompts, finds the prompts.

Knows which files need how much work. A file without prompts is still parsed, so that a broken one
is told. A file that is known from the cache and has not changed since is not read.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.files import python_files
from stemfirst_lint.footprint import digest_of
from stemfirst_lint.hints import may_hold_prompts
from stemfirst_lint.islands import imports_of, islands
from stemfirst_lint.source import check_syntax, decode, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stemfirst_lint.cache import Cache
    from stemfirst_lint.config import Config
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Site
    from stemfirst_lint.project import Project

    OnProgress = Callable[[str, int, int], None]
    """Called with what is being done, how many are done, and of how many."""

_HELD_BYTES = 4_000_000
"""Of a large tree no more is kept in memory between looking through it and judging it: each process
reads what it judges once more, which costs less than to hold it in all of them."""

WORTH_CACHING_FILES = 8
"""Parsing fewer files without prompts costs less than looking up that they parse."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may hold prompts, or that must be parsed to say whether it can be.

    Attributes:
        path: as it was found.
        imports: the modules that it imports, as `islands` reads them.
        size_bytes: how large it is.
        data: its bytes; None if they are known from the cache, or too many to be held.
        digest: of its bytes, where a cache wants it.
    """

    path: str
    imports: tuple[str, ...]
    size_bytes: int
    data: bytes | None = None
    digest: str | None = None

    def read(self) -> bytes:
        """Return its bytes, read now if need be.

        Raises:
            UnreadableFile: it cannot be read any more.
        """
        return self.data if self.data is not None else read_bytes(self.path)


@dataclass(frozen=True, slots=True)
class Scanned:
    """What was read.

    Attributes:
        islands: files that may hold prompts; those that can know of each other stand together.
        others: files without prompts that are not known to parse.
        files: how many files were looked at.
        prompts: prompt files that the settings name.
    """

    islands: tuple[tuple[Candidate, ...], ...]
    others: tuple[Candidate, ...]
    files: int
    prompts: tuple[str, ...] = ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All files that may hold prompts."""
        return tuple(candidate for island in self.islands for candidate in island)


def scan(
    paths: tuple[str, ...],
    config: Config,
    failures: list[UnreadableFile],
    *,
    cache: Cache | None = None,
    on_progress: OnProgress | None = None,
) -> Scanned:
    """Read the files below paths; what cannot be read is appended to `failures`."""
    candidates: dict[str, Candidate] = {}
    others: list[Candidate] = []
    held_bytes = 0
    listed = list(python_files(paths, config, failures))
    is_many = len(listed) >= WORTH_CACHING_FILES
    memory = cache if is_many else None
    for done, (path, is_test) in enumerate(listed):
        if on_progress is not None:
            on_progress("read", done, len(listed))
        if is_test:
            continue  # tests hold prompts that nobody sends
        known = memory.unchanged(path) if memory is not None else None
        if known is not None:
            if known.imports is not None:
                candidates[path] = Candidate(path, known.imports, known.size_bytes, None,
                                             known.digest)  # fmt: skip
            continue
        try:
            data = read_bytes(path)
            code = _code(path, data)
        except UnreadableFile as failure:
            failures.append(failure)
            continue
        held_bytes += len(data)
        held = data if held_bytes <= _HELD_BYTES else None
        if may_hold_prompts(code):
            imports = imports_of(code) if is_many else ()
            digest = cache.learn(path, data, imports) if cache is not None else None
            candidates[path] = Candidate(path, imports, len(data), held, digest)
        elif memory is None or not memory.is_clean(path, data):
            digest = digest_of(data) if memory is not None else None
            others.append(Candidate(path, (), len(data), held, digest))
    named: list[str] = []
    if config.prompts:
        from stemfirst_lint.named_files import named_files

        named = named_files(config.prompts, config.root, filter(os.path.isdir, paths))
    folder = paths[0] if len(paths) == 1 and os.path.isdir(paths[0]) else None
    groups = islands(
        folder if is_many and not named else None,
        {path: candidate.imports for path, candidate in candidates.items()},
        {path for path, _ in listed},
    )
    if named and not groups:
        groups = [[]]
    return Scanned(
        tuple(tuple(candidates[path] for path in group) for group in groups),
        tuple(others),
        len(listed) + len(named),
        tuple(named),
    )


def _code(path: str, data: bytes) -> bytes:
    """A file's source: its bytes, or the code of a notebook.

    Raises:
        UnreadableFile: it is called a notebook, and is none.
    """
    return decode(path, data).encode() if path.endswith(".ipynb") else data


@dataclass(frozen=True, slots=True)
class Parsed:
    """Why a file does not parse, or None; and the digest of what was parsed, if it was read now."""

    reason: str | None
    digest: str | None = None

    def is_of(self, file: Candidate) -> bool:
        """Return True unless the file has changed since it was looked through."""
        return self.digest is None or self.digest == file.digest


def parsed(files: Sequence[Candidate]) -> list[Parsed]:
    """Return what parsing each file gave."""
    return [_parsed(file) for file in files]


def _parsed(file: Candidate) -> Parsed:
    digest = None
    try:
        data = file.read()
        if file.data is None and file.digest is not None:
            digest = digest_of(data)
        check_syntax(file.path, decode(file.path, data))
    except UnreadableFile as failure:
        return Parsed(failure.reason, digest)
    return Parsed(None, digest)


def find_sites(
    candidates: Sequence[Candidate],
    config: Config,
    failures: list[UnreadableFile],
    *,
    prompts: tuple[str, ...] = (),
    has_constants: bool = False,
    on_progress: OnProgress | None = None,
) -> tuple[Project, list[Site]]:
    """Return the sites in what was read, and the project that they were found in.

    Args:
        candidates: files that may hold prompts.
        config: declares tiers.
        failures: files that do not parse are appended here.
        prompts: prompt files that the settings name.
        has_constants: also return prompts without a hole.
        on_progress: told about the work.
    """
    from stemfirst_lint.flow import Flow
    from stemfirst_lint.project import Project
    from stemfirst_lint.sites import Finder

    project = Project()
    modules: list[ModuleIndex] = []
    total = len(candidates)

    def each() -> Iterator[ModuleIndex]:
        for done, module in enumerate(modules):
            if on_progress is not None:
                on_progress("check", done, total)
            yield module

    # Deeply nested expressions recurse once a level; other people's generated code goes far.
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10_000))
    try:
        for done, candidate in enumerate(candidates):
            if on_progress is not None:
                on_progress("index", done, total)
            try:
                modules.append(project.add(candidate.path, candidate.read()))
            except UnreadableFile as failure:
                failures.append(failure)
        finder = Finder(Flow(project, config.tiers), has_constants=has_constants)
        sites = finder.sites(each())
        if prompts:
            from stemfirst_lint.named_files import named_sites

            seen = frozenset(site.template.location for site in sites)
            sites += named_sites(prompts, seen, failures)
        return project, sites
    finally:
        sys.setrecursionlimit(before)
