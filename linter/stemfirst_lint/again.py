"""What a command showed before, shown again while all that it came from is as it was.

Knows the command line, and nothing of prompts: neither the options nor the analysis is imported for
an answer that is known. What counts: the arguments, the folder, the interpreter, the environment
that output hangs on, this program's files, the folders that were listed, the files that were read,
and where a name was looked for and not found. A record is read without running anything in it.
"""

from __future__ import annotations

import os
import sys

from stemfirst_lint.footprint import (
    digest_of,
    file_digest,
    folder_time_ns,
    names_in,
    places,
    settled_ns,
)

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.footprint import Place

_MAGIC = b"stemfirst shown 1"
_CACHE = ".stemfirst_cache"
SUFFIX = ".shown"
_ENVIRONMENT = (
    "NO_COLOR", "FORCE_COLOR", "TERM", "TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", "TMPDIR", "TEMP",
    "TMP", "STEMFIRST_CACHE_DIR",
)  # fmt: skip
_MANY_CHANGES = 64
"""With more, it is no work of an editor, and to look at each is not cheap any more."""


class Asked:
    """A command line as it was given, and where a record of it would lie."""

    __slots__ = ("folder", "key", "path")

    def __init__(self, arguments: list[str]) -> None:
        self.folder = _folder(arguments)
        told = [os.environ.get(name, "") for name in _ENVIRONMENT]
        out = [sys.stdout.encoding or "", str(sys.stdout.isatty())]
        parts = [os.getcwd(), sys.version, *sys.path, "", *out, *told, "", *arguments]
        self.key = "\0".join(parts).encode(errors="surrogateescape")
        self.path = os.path.join(self.folder, digest_of(self.key) + SUFFIX)


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
    record = _read(asked)
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


class Record:
    """What was shown, and what it came from.

    Attributes:
        files: path and digest, in the order of `sizes` and `times`.
        absent: paths that are not there.
        folders: path, the names that were asked for (none: all), and those that were there.
    """

    __slots__ = ("absent", "asked", "digests", "err", "exit_code", "files", "folders", "out",
                 "present", "times", "where")  # fmt: skip

    def __init__(self, where: Asked, out: str, err: str, exit_code: int) -> None:
        self.where = where
        self.out = out
        self.err = err
        self.exit_code = exit_code
        self.files: list[bytes] = []
        self.digests: list[bytes] = []
        self.absent: list[bytes] = []
        self.folders: list[bytes] = []
        self.asked: list[bytes] = []
        self.present: list[bytes] = []
        self.times: list[int] = []
        """Of the files, sizes and times by turns; then the times of the folders; 0: look closer."""

    def holds(self) -> bool:
        """Return True if all that it came from is as it was."""
        stat = os.stat
        try:
            files = list(map(stat, self.files))
            folders = list(map(stat, self.folders))
        except OSError:
            return False
        now = [part for found in files for part in (found.st_size, found.st_mtime_ns)]
        now += [found.st_mtime_ns for found in folders]
        if now != self.times:
            changed = [index for index, time in enumerate(now) if time != self.times[index]]
            if len(changed) > _MANY_CHANGES or not self._is_same_inside(changed):
                return False
            self._note(now, changed)
        return not any(os.path.lexists(path) for path in self.absent)

    def _is_same_inside(self, changed: list[int]) -> bool:
        """True if files have the same bytes, and folders the same names, at another time."""
        count = len(self.files)
        for index in changed:
            if index < 2 * count:
                path, digest = self.files[index // 2], self.digests[index // 2]
                if not digest or (file_digest(os.fsdecode(path)) or "").encode() != digest:
                    return False
                continue
            number = index - 2 * count
            asked = self.asked[number]
            names = frozenset(os.fsdecode(asked).split("/")) if asked else None
            present = names_in(os.fsdecode(self.folders[number]), names)
            if present is None or _joined(present) != self.present[number]:
                return False
        return True

    def _note(self, now: list[int], changed: list[int]) -> None:
        """Write the new times, where they can be relied on by now."""
        import time

        now_ns = time.time_ns()
        is_new = False
        for index in changed:
            is_size = index < 2 * len(self.files) and index % 2 == 0
            told = now[index] if is_size else settled_ns(now[index], now_ns)
            is_new = is_new or told != self.times[index]
            self.times[index] = told
        if is_new:
            self.write()

    def write(self) -> None:
        """Write the record, where the folder lets us and no path is beyond its form."""
        lists = (self.files, self.digests, self.absent, self.folders, self.asked, self.present)
        if any(b"\n" in item or b"\0" in item for items in lists for item in items):
            return
        fields = [
            self.where.key,
            self.out.encode(errors="surrogatepass"),
            self.err.encode(errors="surrogatepass"),
            *(b"\0".join(items) for items in lists),
            " ".join(map(str, self.times)).encode(),
        ]
        sizes = [self.exit_code, *map(len, fields), *map(len, lists)]
        head = b"%s %s\n" % (_MAGIC, " ".join(map(str, sizes)).encode())
        import tempfile

        try:
            handle, temporary = tempfile.mkstemp(dir=self.where.folder, suffix=".tmp")
        except OSError:
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(head)
                file.writelines(fields)
            os.replace(temporary, self.where.path)
        except OSError:
            os.unlink(temporary)


def _read(asked: Asked) -> Record | None:
    """The record of a command; None if there is none, or what is there is none."""
    try:
        with open(asked.path, "rb") as file:
            head = file.readline(1000)
            data = file.read()
    except OSError:
        return None
    if not head.startswith(_MAGIC):
        return None
    try:
        exit_code, *numbers = map(int, head[len(_MAGIC) :].split())
        lengths, counts = numbers[:10], numbers[10:]
        fields: list[bytes] = []
        start = 0
        for length in lengths:
            fields.append(data[start : start + length])
            start += length
        if start != len(data) or fields[0] != asked.key or len(counts) != 6:
            return None
        out, err = (field.decode(errors="surrogatepass") for field in fields[1:3])
        lists = [field.split(b"\0") if count else [] for field, count in zip(fields[3:9], counts,
                 strict=True)]  # fmt: skip
        times = [int(time) for time in fields[9].split()]
    except ValueError:
        return None
    record = Record(asked, out, err, exit_code)
    record.files, record.digests, record.absent, record.folders, record.asked, record.present = (
        lists
    )
    record.times = times
    is_whole = (
        [len(items) for items in lists] == counts
        and len(record.files) == len(record.digests)
        and len(record.folders) == len(record.asked) == len(record.present)
        and len(times) == 2 * len(record.files) + len(record.folders)
    )
    return record if is_whole else None


def _joined(names: tuple[str, ...]) -> bytes:
    """The names of a folder, or their digest where they are many."""
    joined = os.fsencode("//".join(names))
    return joined if len(joined) < 100 else digest_of(joined).encode()


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

        record = Record(self.asked, out, err, exit_code)
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
        known: dict[str, str] = {}
        for path, (size_bytes, time_ns, digest) in self.known.items():
            short = path[2:] if path.startswith("." + os.sep) else path
            record.files.append(os.fsencode(short))
            record.digests.append(digest.encode())
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
                    folders[path] = (os.fsencode("/".join(asked)), _joined(present))
        for path, listed in self.listed.items():
            folders[path] = (b"", _joined(listed))
        for path, (joined, held) in folders.items():
            changed_ns = folder_time_ns(path)
            if changed_ns is None:
                return False
            record.folders.append(spelled(path) or b".")
            record.asked.append(joined)
            record.present.append(held)
            times.append(settled_ns(changed_ns, self.started_ns))
        record.times = times
        return True


TRACES: list[Trace] = []
"""The trace of the command that runs, if it can be shown again."""


class Tracing:
    """Traces the command that `repeated` did not know while it runs; None if there was none."""

    def __init__(self) -> None:
        self.trace = Trace(_asked) if _asked is not None else None

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
