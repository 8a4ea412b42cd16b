"""Results of earlier runs, in files that any run may delete.

A result belongs to files that can know of each other, and holds while everything that it came from
is the same: the settings, the interpreter, this program, those files, every module that was read on
the way, and where names were looked for. A file counts as unchanged if its size and its time are,
unless the time was too near to the run that noted it. Knows digests and files; nothing of rules.
JSON, not pickle: a cache that somebody checked in must not run code. Writing is atomic, so parallel
runs see whole files.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stemfirst_lint.again import TRACES
from stemfirst_lint.footprint import (
    Changed,
    Look,
    digest_of,
    file_digest,
    folder_time_ns,
    places,
    settled_ns,
)
from stemfirst_lint.shown import SUFFIX
from stemfirst_lint.source import OBSERVERS, OVERLAY, PROBES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stemfirst_lint.check import Judged
    from stemfirst_lint.config import Config
    from stemfirst_lint.footprint import Place
    from stemfirst_lint.scan import Candidate

FOLDER = ".stemfirst_cache"
_MAX_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class Known:
    """A file that is as it was: the modules that it imports, or None if it holds no prompt."""

    digest: str
    size_bytes: int
    imports: tuple[str, ...] | None


class Cache:
    """One run's entry: read at the start, written at the end.

    Invariant: what is written is true of the files as they were read in this run.
    """

    def __init__(self, folder: str, paths: tuple[str, ...], config: Config) -> None:
        self._folder = folder
        self._paths = paths
        self._config = config
        self._loaded: _Loaded | None = None
        self._files: dict[str, list[Any]] = {}
        self._states: dict[str, tuple[int, int]] = {}
        self._islands: dict[str, Any] = {}
        self._outside: dict[str, list[Any]] = {}
        self._look: Look | None = None
        self._now_ns = time.time_ns()

    @property
    def _entry(self) -> _Loaded:
        if self._loaded is None:  # most runs of a hook have nothing to look up
            key = "\0".join((os.getcwd(), *self._paths, repr(self._config)))
            name = f"{digest_of(key.encode(errors='surrogateescape'))}.json"
            path = os.path.join(self._folder, name)
            stamp = _stamp(self._config)
            self._loaded = _Loaded(path, stamp, _load(path, stamp))
        return self._loaded

    def unchanged(self, path: str) -> Known | None:
        """Return what is known of a file if its size and time are as noted; ask before reading."""
        state = _size_and_time(path)
        if state is None:
            return None
        self._states[path] = state
        noted = self._entry.files.get(path)
        if noted is None or noted[0] != state[0] or noted[1] != state[1]:
            return None
        self._files[path] = noted
        return Known(noted[2], noted[0], tuple(noted[3]) if noted[3] is not None else None)

    def is_clean(self, path: str, data: bytes) -> bool:
        """Return True if a file's bytes are known to parse and to hold no prompt."""
        noted = self._entry.files.get(path)
        if noted is None or noted[3] is not None or noted[2] != digest_of(data):
            return False
        self.learn(path, data, None)
        return True

    def learn(self, path: str, data: bytes, imports: tuple[str, ...] | None) -> str:
        """Note a file as it was read, and return its digest.

        Args:
            path: of the file.
            data: its bytes.
            imports: the modules that it imports; None if it parses and holds no prompt.
        """
        digest = digest_of(data)
        self._note(path, len(data), digest, imports)
        return digest

    def note(self, file: Candidate, imports: tuple[str, ...] | None) -> None:
        """Note a file with the digest that it was looked through with, as `learn` does."""
        assert file.digest is not None
        self._note(file.path, file.size_bytes, file.digest, imports)

    def _note(
        self, path: str, read_bytes: int, digest: str, imports: tuple[str, ...] | None
    ) -> None:
        size_bytes, time_ns = self._states.get(path, (read_bytes, 0))
        if size_bytes != read_bytes:
            time_ns = 0  # no file's time: it will be read again
        time_ns = settled_ns(time_ns, self._now_ns)
        self._files[path] = [read_bytes, time_ns, digest, imports]

    def result(self, island: Sequence[Candidate]) -> Judged | None:
        """Return the stored result if all that it came from is still the same."""
        key = _key(island)
        run = self._entry.content.get("islands", {}).get(key)
        if run is None or run["candidates"] != _digests(island):
            return None
        if self._look is None:
            self._look = Look(self._entry.content.get("folders", {}))
        if any(self._file(path) != digest for path, digest in run["modules"].items()):
            return None
        look = self._look
        folders: dict[str, Place] = {
            folder: (_split(asked), _split(present))
            for folder, (asked, present) in run["folders"].items()
        }
        if not all(look.is_same(folder, *place) for folder, place in folders.items()):
            return None
        from stemfirst_lint.check import Judged
        from stemfirst_lint.packing import unpack

        self._islands[key] = run
        return Judged(
            tuple(unpack(finding) for finding in run["findings"]),
            (),
            tuple((path, reason) for path, reason in run["failures"]),
            run["prompts"],
            run["modules"],
            folders,
        )

    def _file(self, path: str) -> str | None:
        """The digest of a file that was not asked for; the known one if size and time are."""
        if path not in self._outside:
            state = _size_and_time(path)
            if state is None:
                return None
            noted = self._entry.content.get("outside", {}).get(path)
            if noted is None or (noted[0], noted[1]) != state:
                digest = file_digest(path)
                noted = [state[0], settled_ns(state[1], self._now_ns), digest]
            self._outside[path] = noted
        digest = self._outside[path][2]
        assert digest is None or isinstance(digest, str)
        return digest

    def keep(self, island: Sequence[Candidate], judged: Judged) -> None:
        """Take in a result; `save` writes it."""
        read = {file.path: judged.modules.get(os.path.abspath(file.path)) for file in island}
        if judged.folders is None or any(read[f.path] not in (None, f.digest) for f in island):
            return  # something changed meanwhile
        from stemfirst_lint.packing import pack, without_pieces

        own = {os.path.abspath(candidate.path) for candidate in island}
        modules = {path: digest for path, digest in judged.modules.items() if path not in own}
        self._islands[_key(island)] = {
            "candidates": _digests(island),
            "modules": modules,
            "folders": {
                folder: ["\0".join(asked), "\0".join(present)]
                for folder, (asked, present) in judged.folders.items()
            },
            "findings": [pack(without_pieces(finding)) for finding in judged.findings],
            "failures": [list(failure) for failure in judged.failures],
            "prompts": judged.prompts,
        }

    def _outside_files(self) -> dict[str, list[Any]]:
        """Size, time and digest of the files that results hang on besides those asked for."""
        found: dict[str, list[Any]] = {}
        for run in self._islands.values():
            for path, digest in run["modules"].items():
                if path not in found and self._file(path) == digest and digest is not None:
                    found[path] = self._outside[path]
        return found

    def _folder_times(self) -> dict[str, int]:
        """When the folders changed that results hang on, as far as that can be relied on."""
        found: dict[str, int] = {}
        for folder in {folder for run in self._islands.values() for folder in run["folders"]}:
            look = self._look
            seen = look.times.get(folder) if look is not None else None
            time_ns = seen if seen is not None else folder_time_ns(folder)
            if time_ns is not None and settled_ns(time_ns, self._now_ns):
                found[folder] = time_ns
        return found

    def tell(self, judged: Sequence[Judged]) -> None:
        """Tell the traces of this process what results hang on that it did not see itself."""
        read = {path for part in judged for path in part.modules}
        quiet = {
            path
            for path, noted in self._files.items()
            if noted[3] is None and os.path.abspath(path) not in read
        }
        for trace in TRACES:
            trace.is_told = bool(self._files or self._islands)
            trace.quiet |= quiet
            for path, (size_bytes, time_ns, digest, _) in self._files.items():
                trace.known[path] = (size_bytes, time_ns, digest)
            for part in judged:
                trace.take(part.modules, part.folders)

    def save(self) -> None:
        """Write the entry, where the folder lets us; a cache that is not there costs only time."""
        if not self._files and not self._islands:
            return
        content = {
            "stamp": self._entry.stamp,
            "files": self._files,
            "islands": self._islands,
            "outside": self._outside_files(),
            "folders": self._folder_times(),
        }
        if content == self._entry.content:
            return
        import json
        import tempfile

        with contextlib.suppress(OSError):
            _prepare(self._folder)
            handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
            try:
                with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass") as file:
                    file.write(json.dumps(content, separators=(",", ":")))
                os.replace(temporary, self._entry.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise


@contextlib.contextmanager
def noting(modules: dict[str, str | None], probes: dict[str, bool]) -> Iterator[None]:
    """Note the digest of what is read meanwhile, or None, and the places that are looked at."""

    def note(path: str, data: bytes | None) -> None:
        modules[os.path.abspath(path)] = digest_of(data) if data is not None else None

    OBSERVERS.append(note)
    PROBES.append(probes)
    try:
        yield
    finally:
        OBSERVERS.remove(note)
        PROBES[:] = [noted for noted in PROBES if noted is not probes]


def places_of(probes: dict[str, bool]) -> dict[str, Place] | None:
    """Return what `places` does; None if something changed meanwhile."""
    try:
        return places(probes)
    except Changed:
        return None


def _split(joined: str) -> tuple[str, ...]:
    return tuple(joined.split("\0")) if joined else ()


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An entry as it was on disk: where, the stamp that it must have, and what it says."""

    path: str
    stamp: str
    content: dict[str, Any]

    @property
    def files(self) -> dict[str, list[Any]]:
        """What is known of files: size, time, digest, imports."""
        found: dict[str, list[Any]] = self.content.get("files", {})
        return found


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


def _digests(island: Sequence[Candidate]) -> dict[str, str | None]:
    return {candidate.path: candidate.digest for candidate in island}


def _key(island: Sequence[Candidate]) -> str:
    paths = sorted(candidate.path for candidate in island)
    return digest_of("\0".join(paths).encode(errors="surrogateescape"))


def _size_and_time(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _stamp(config: Config) -> str:
    """A digest of the interpreter, this program, the plugins and the tokenizers on this machine."""
    state = [sys.version, *map(_state, program_files(config))]
    return digest_of(repr(state).encode(errors="surrogateescape"))


def program_files(config: Config) -> list[str]:
    """Return the files that every answer hangs on: this program, plugins, tokenizers."""
    from stemfirst_lint.gain import rank_places

    found: list[str] = []
    pending = [os.path.dirname(os.path.abspath(__file__))]
    while pending:
        for entry in sorted(os.scandir(pending.pop()), key=lambda entry: entry.name):
            if entry.is_dir():
                pending.append(entry.path)
            elif entry.name.endswith(".py"):
                found.append(entry.path)
    found += rank_places()
    if config.model is not None:
        names = ("", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
        found += [os.path.join(config.model, name) for name in names]
        import stemfirst

        sdk = os.path.dirname(os.path.abspath(stemfirst.__file__))
        found += [os.path.join(sdk, name) for name in ("prices.json", "providers.py")]
    if config.plugins:
        from stemfirst_lint.plugins import rules_of

        for rule in rules_of(config):
            module = sys.modules.get(rule.__module__)
            found.append(getattr(module, "__file__", None) or "")
    return found


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
    entries = [
        entry for entry in os.scandir(folder) if entry.name.endswith((".json", ".tmp", SUFFIX))
    ]
    if len(entries) > _MAX_ENTRIES:
        entries.sort(key=lambda entry: entry.stat().st_mtime_ns)
        for entry in entries[: len(entries) - _MAX_ENTRIES]:
            with contextlib.suppress(FileNotFoundError):  # another run was first
                os.unlink(entry.path)
