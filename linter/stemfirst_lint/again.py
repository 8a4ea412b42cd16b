"""What a command showed before, shown again while all that it came from is as it was.

Knows the command line, and nothing of prompts: neither the options nor the analysis is imported for
an answer that is known. What counts: the arguments, the folder, the interpreter, the environment
that output hangs on, this program's files, the folders that were listed, the files that were read,
and where a name was looked for and not found. Of a file that holds no prompt it counts only that it
holds none and parses.
"""

from __future__ import annotations

import os
import sys

from stemfirst_lint.footprint import digest_of, folder_time_ns, names_in, places, settled_ns
from stemfirst_lint.shown import SUFFIX, Record, joined, read

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.footprint import Place

_CACHE = ".stemfirst_cache"
_ENVIRONMENT = (
    "NO_COLOR", "FORCE_COLOR", "TERM", "TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", "TMPDIR", "TEMP",
    "TMP", "STEMFIRST_CACHE_DIR",
)  # fmt: skip


class Asked:
    """A command line as it was given, and where a record of it would lie."""

    __slots__ = ("folder", "key", "path")

    def __init__(self, arguments: list[str]) -> None:
        self.folder = _folder(arguments)
        told = [os.environ.get(name, "") for name in _ENVIRONMENT]
        out = [sys.stdout.encoding or "", str(sys.stdout.isatty())]
        parts = [os.getcwd(), sys.version, *sys.path, "", *out, *told, "", *arguments]
        self.key = "\0".join(parts).encode(errors="surrogateescape")
        from zlib import crc32  # the key itself is in the record; `xxhash` takes longer to load

        self.path = os.path.join(self.folder, f"{crc32(self.key):08x}{len(self.key):x}{SUFFIX}")


_asked: Asked | None = None


def repeated(arguments: list[str]) -> int | None:
    """Show what a command showed before, if that holds, and return its exit code; else None.

    A command that is not known is remembered as the one that runs, for `tracing`.
    """
    global _asked
    try:
        asked = Asked(arguments)
    except OSError:  # the folder that we are in is gone
        return None
    record = read(asked.path, asked.key)
    if record is not None and record.holds():
        if record.err:
            sys.stderr.write(record.err)
        if record.out:
            encoding = sys.stdout.encoding or "utf-8"
            sys.stdout.write(record.out.encode(encoding, "replace").decode(encoding))
            sys.stdout.flush()
        return record.exit_code
    _asked = asked
    return None


def _folder(arguments: list[str]) -> str:
    """Where the cache of a command lies, as far as that can be told without its options."""
    for number, argument in enumerate(arguments):
        if argument == "--cache-dir" and number + 1 < len(arguments):
            return arguments[number + 1]
        if argument.startswith("--cache-dir="):
            return argument.partition("=")[2]
    told = os.environ.get("STEMFIRST_CACHE_DIR")
    if told:
        return told
    folder = os.getcwd()
    while not os.path.isfile(os.path.join(folder, "pyproject.toml")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return _CACHE
        folder = parent
    return os.path.join(folder, _CACHE)


class Trace:
    """What this process reads, looks for and lists; `shown` makes a record of it."""

    def __init__(self, asked: Asked) -> None:
        import time

        self.asked = asked
        self.files: dict[str, str | None] = {}
        self.known: dict[str, tuple[int, int, str]] = {}
        """Files that need not be read again: size, time and digest."""
        self.quiet: set[str] = set()
        """Those of them that hold no prompt and that no answer hangs on."""
        self.probes: dict[str, bool] = {}
        self.listed: dict[str, tuple[str, ...]] = {}
        self.places: list[dict[str, Place]] = []
        self.is_whole = True
        self.is_told = False
        self.started_ns = time.time_ns()

    def note(self, path: str, data: bytes | None) -> None:
        """Take in a file that was read."""
        self._take(os.path.abspath(path), digest_of(data) if data is not None else None)

    def _take(self, path: str, digest: str | None) -> None:
        if self.files.setdefault(path, digest) != digest:
            self.is_whole = False  # it changed under our hands

    def take(self, files: dict[str, str | None], looked: dict[str, Place] | None) -> None:
        """Take in what another process, or an earlier run, has read and looked for."""
        for path, digest in files.items():
            self._take(path, digest)
        if looked is None:
            self.is_whole = False
        else:
            self.places.append(looked)

    def has_read(self, path: str) -> bool:
        """Return True if a file was read, or is known; a link that leads nowhere is not."""
        return os.path.abspath(path) in self.files or path in self.known

    def shown(self, out: str, err: str, exit_code: int, program: list[str]) -> None:
        """Write a record of a run that is over, unless something changed meanwhile.

        Args:
            out: what it wrote to standard output.
            err: what it wrote to standard error.
            exit_code: what it ends with.
            program: files that the answer hangs on and that were not traced.
        """
        from stemfirst_lint.footprint import Changed

        record = Record(self.asked.path, self.asked.key, out, err, exit_code)
        try:
            if self.is_whole and self.is_told and self._footprint(record, program):
                record.write()
        except (Changed, OSError):
            return

    def _footprint(self, record: Record, program: list[str]) -> bool:
        here = os.getcwd() + os.sep

        def spelled(path: str) -> bytes:
            path = os.path.abspath(path)
            return os.fsencode(path[len(here) :] if path.startswith(here) else path)

        times: list[int] = []
        quiet = bytearray()
        known: dict[str, str] = {}
        for path, (size_bytes, time_ns, digest) in self.known.items():
            short = path[2:] if path.startswith("." + os.sep) else path
            record.files.append(os.fsencode(short))
            record.digests.append(digest.encode())
            quiet += b"1" if path in self.quiet else b"0"
            times += (size_bytes, time_ns)
            known[os.path.abspath(path) if os.path.isabs(path) else here + short] = digest
        for path, told in {**dict.fromkeys(program, ""), **self.files}.items():
            if path in known:
                if known[path] != told:
                    return False
                continue
            if not told and not os.path.lexists(path):
                record.absent.append(spelled(path))
                continue
            if told is None:
                return False  # nobody can say whether it stays unreadable
            found = os.stat(path)
            record.files.append(spelled(path))
            record.digests.append(told.encode())
            quiet += b"0"
            times += (found.st_size, settled_ns(found.st_mtime_ns, self.started_ns))
        folders: dict[str, tuple[bytes, bytes]] = {}
        for looked in (*self.places, places(self.probes)):
            for path, (asked, present) in looked.items():
                if path not in self.listed:
                    before = folders.get(path)
                    if before is not None:
                        names = {*os.fsdecode(before[0]).split("/"), *asked}
                        asked, present = (
                            tuple(sorted(names)),
                            names_in(path, frozenset(names)) or (),
                        )
                    folders[path] = (os.fsencode("/".join(asked)), joined(present))
        for path, listed in self.listed.items():
            folders[path] = (b"", joined(listed))
        for path, (joint, held) in folders.items():
            changed_ns = folder_time_ns(path)
            if changed_ns is None:
                return False
            record.folders.append(spelled(path) or b".")
            record.asked.append(joint)
            record.present.append(held)
            times.append(settled_ns(changed_ns, self.started_ns))
        record.quiet = bytes(quiet)
        record.times = times
        return True


TRACES: list[Trace] = []
"""The trace of the command that runs, if it can be shown again, and of one that is watched."""


class Tracing:
    """Traces a command while it runs: one given, or the one that `repeated` did not know.

    None if there was none.
    """

    def __init__(self, asked: Asked | None = None) -> None:
        asked = asked or _asked
        self.trace = Trace(asked) if asked is not None else None

    def __enter__(self) -> Trace | None:
        """Begin to listen."""
        from stemfirst_lint.files import LISTED
        from stemfirst_lint.source import OBSERVERS, PROBES

        trace = self.trace
        if trace is not None:
            OBSERVERS.append(trace.note)
            PROBES.append(trace.probes)
            LISTED.append(trace.listed)
            TRACES.append(trace)
        return trace

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        from stemfirst_lint.files import LISTED
        from stemfirst_lint.source import OBSERVERS, PROBES

        trace = self.trace
        if trace is not None:
            TRACES.remove(trace)
            OBSERVERS.remove(trace.note)
            PROBES[:] = [noted for noted in PROBES if noted is not trace.probes]
            LISTED[:] = [noted for noted in LISTED if noted is not trace.listed]
