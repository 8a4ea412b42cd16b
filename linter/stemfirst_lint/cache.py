"""Results of earlier runs, in files that any run may delete.

A result holds while everything that it came from is the same: the settings, the interpreter, this
program, every file that may hold a prompt, every module that was read on the way, and where names
were looked for. Knows digests and files; nothing of rules. JSON, not pickle: a cache that somebody
checked in must not run code. Writing is atomic, so parallel runs see whole files.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.source import OBSERVERS, OVERLAY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemfirst_lint.config import Config
    from stemfirst_lint.model import Finding
    from stemfirst_lint.project import Project

FOLDER = ".stemfirst_cache"
_MAX_ENTRIES = 64
Candidates = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A result: findings whose templates have no pieces, failures, and the prompts seen."""

    findings: tuple[Finding, ...]
    failures: tuple[UnreadableFile, ...]
    prompts: int


class Cache:
    """One run's entry: read at the start, written at the end.

    Invariant: what is written is true of the files as they were read in this run.
    """

    def __init__(self, folder: str, paths: tuple[str, ...], config: Config) -> None:
        self._folder = folder
        self._paths = paths
        self._config = config
        self._loaded: _Loaded | None = None
        self._seen: dict[str, str] = {}
        self._run: dict[str, Any] | None = None
        self._read_files: dict[str, str | None] = {}

    @property
    def _entry(self) -> _Loaded:
        if self._loaded is None:  # most runs of a hook have nothing to look up
            key = "\0".join((os.getcwd(), *self._paths, repr(self._config)))
            name = f"{_digest(key.encode(errors='surrogateescape'))}.json"
            path = os.path.join(self._folder, name)
            stamp = _stamp(self._config)
            self._loaded = _Loaded(path, stamp, _load(path, stamp))
        return self._loaded

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Note what is read meanwhile: a result depends on it."""
        OBSERVERS.append(self._note)
        try:
            yield
        finally:
            OBSERVERS.remove(self._note)

    def _note(self, path: str, data: bytes | None) -> None:
        self._read_files[os.path.abspath(path)] = _digest(data) if data is not None else None

    def is_clean(self, path: str, data: bytes) -> bool:
        """Return True if a file is known to parse and to hold no prompt."""
        digest = _digest(data)
        if self._entry.content.get("clean", {}).get(path) == digest:
            self._seen[path] = digest
            return True
        return False

    def add_clean(self, path: str, data: bytes) -> None:
        """Note that a file parses and holds no prompt."""
        self._seen[path] = _digest(data)

    def result(self, candidates: Candidates) -> Stored | None:
        """Return the stored result if all that it came from is still the same."""
        run = self._entry.content.get("run")
        if run is None or run["candidates"] != _digests(candidates):
            return None
        if any(_file_digest(path) != digest for path, digest in run["modules"].items()):
            return None
        from stemfirst_lint.project import module_file

        if any(module_file(folder, dotted) != found for folder, dotted, found in run["lookups"]):
            return None
        from stemfirst_lint.packing import unpack

        self._run = run
        self.save()
        return Stored(
            tuple(unpack(finding) for finding in run["findings"]),
            tuple(UnreadableFile(path, reason) for path, reason in run["failures"]),
            run["prompts"],
        )

    def keep(
        self,
        candidates: Candidates,
        project: Project,
        findings: tuple[Finding, ...],
        failures: tuple[UnreadableFile, ...],
        prompts: int,
    ) -> None:
        """Take in a run's result; `save` writes it."""
        from stemfirst_lint.packing import pack, without_pieces

        own = {os.path.abspath(path) for path, _ in candidates}
        modules = {path: digest for path, digest in self._read_files.items() if path not in own}
        self._run = {
            "candidates": _digests(candidates),
            "modules": modules,
            "lookups": [[*asked, found] for asked, found in project.lookups.items()],
            "findings": [pack(without_pieces(finding)) for finding in findings],
            "failures": [[failure.path, failure.reason] for failure in failures],
            "prompts": prompts,
        }

    def save(self) -> None:
        """Write the entry, where the folder lets us; a cache that is not there costs only time."""
        if not self._seen and self._run is None:
            return
        content = {"stamp": self._entry.stamp, "clean": self._seen, "run": self._run}
        if content == self._entry.content:
            return
        import json
        import tempfile

        with contextlib.suppress(OSError):
            _prepare(self._folder)
            handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
            try:
                with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass") as file:
                    json.dump(content, file, separators=(",", ":"))
                os.replace(temporary, self._entry.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An entry as it was on disk: where, the stamp that it must have, and what it says."""

    path: str
    stamp: str
    content: dict[str, Any]


def _load(path: str, stamp: str) -> dict[str, Any]:
    import json

    try:
        with open(path, encoding="utf-8", errors="surrogatepass") as file:
            content = json.load(file)
    except (OSError, ValueError):  # none yet, or not ours
        return {}
    is_ours = isinstance(content, dict) and content.get("stamp") == stamp
    return content if is_ours else {}


def cache_for(paths: tuple[str, ...], config: Config, folder: str | None) -> Cache | None:
    """Return the entry of a run; None where files are stood in for, because they are not read."""
    if OVERLAY:
        return None
    return Cache(folder or os.path.join(config.root, FOLDER), paths, config)


def _digest(data: bytes) -> str:
    import xxhash

    return xxhash.xxh3_128_hexdigest(data)


def _digests(candidates: Candidates) -> dict[str, str]:
    return {path: _digest(data) for path, data in candidates}


def _file_digest(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return _digest(file.read())
    except OSError:
        return None


def _stamp(config: Config) -> str:
    """A digest of the interpreter, this program, the plugins and the tokenizers on this machine."""
    from stemfirst_lint.gain import rank_files

    here = os.path.dirname(os.path.abspath(__file__))
    state: list[object] = [sys.version]
    pending = [here]
    while pending:
        for entry in sorted(os.scandir(pending.pop()), key=lambda entry: entry.name):
            if entry.is_dir():
                pending.append(entry.path)
            elif entry.name.endswith(".py"):
                state.append(_state(entry.path))
    state += [_state(path) for path in rank_files()]
    if config.model is not None:
        names = ("", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
        state += [_state(os.path.join(config.model, name)) for name in names]
        import stemfirst

        sdk = os.path.dirname(os.path.abspath(stemfirst.__file__))
        state += [_state(os.path.join(sdk, name)) for name in ("prices.json", "providers.py")]
    if config.plugins:
        from stemfirst_lint.plugins import rules_of

        for rule in rules_of(config):
            module = sys.modules.get(rule.__module__)
            state.append(_state(getattr(module, "__file__", None) or ""))
    return _digest(repr(state).encode(errors="surrogateescape"))


def _state(path: str) -> tuple[str, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return path, found.st_size, found.st_mtime_ns


def _prepare(folder: str) -> None:
    """Make the folder, keep it out of git and backups, and bound it."""
    if not os.path.isdir(folder):
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, ".gitignore"), "w", encoding="utf-8") as file:
            file.write("*\n")
        with open(os.path.join(folder, "CACHEDIR.TAG"), "w", encoding="utf-8") as file:
            file.write("Signature: 8a477f597d28d172789f06886806bc55\n")
    entries = [entry for entry in os.scandir(folder) if entry.name.endswith((".json", ".tmp"))]
    if len(entries) > _MAX_ENTRIES:
        entries.sort(key=lambda entry: entry.stat().st_mtime_ns)
        for entry in entries[: len(entries) - _MAX_ENTRIES]:
            with contextlib.suppress(FileNotFoundError):  # another run was first
                os.unlink(entry.path)
