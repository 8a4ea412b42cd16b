"""What a command showed, and what it came from, as it lies on disk.

Knows the form of the file, and whether all is as it was. A record is read without running anything
in it. Knows nothing of options, nor of prompts; imports next to nothing, because a run that has
nothing to do waits for it.
"""

from __future__ import annotations

import os

from stemfirst_lint.footprint import digest_of, file_digest, names_in, settled_ns

_MAGIC = b"stemfirst shown 2"
SUFFIX = ".shown"
_MANY_CHANGES = 64
"""With more, it is no work of an editor, and to look at each is not cheap any more."""


class Record:
    """What was shown, and what it came from.

    Attributes:
        files: path and digest, in the order of `times`.
        quiet: for each file b"1" if it holds no prompt and no answer hangs on what it says, as long
            as it parses; else b"0".
        absent: paths that are not there.
        folders: path, the names that were asked for (none: all), and those that were there.
    """

    __slots__ = ("absent", "asked", "digests", "err", "exit_code", "files", "folders", "key", "out",
                 "path", "present", "quiet", "times")  # fmt: skip

    def __init__(self, path: str, key: bytes, out: str, err: str, exit_code: int) -> None:
        self.path = path
        self.key = key
        self.out = out
        self.err = err
        self.exit_code = exit_code
        self.files: list[bytes] = []
        self.digests: list[bytes] = []
        self.quiet = b""
        self.absent: list[bytes] = []
        self.folders: list[bytes] = []
        self.asked: list[bytes] = []
        self.present: list[bytes] = []
        self.times: list[int] = []
        """Of the files, sizes and times by turns; then the times of the folders; 0: look closer."""

    def holds(self) -> bool:
        """Return True if all that it came from is as it was, or makes no difference."""
        stat = os.stat
        try:
            now = [
                part
                for found in map(stat, self.files)
                for part in (found.st_size, found.st_mtime_ns)
            ]
            now += [found.st_mtime_ns for found in map(stat, self.folders)]
        except OSError:
            return False
        if now != self.times:
            changed = [index for index, time in enumerate(now) if time != self.times[index]]
            digests = self._with_changes(changed) if len(changed) <= _MANY_CHANGES else None
            if digests is None:
                return False
            self._note(now, changed, digests)
        return not any(os.path.lexists(path) for path in self.absent)

    def _with_changes(self, changed: list[int]) -> dict[int, bytes] | None:
        """The digests of changed files whose change makes no difference; None if one does."""
        count = len(self.files)
        digests: dict[int, bytes] = {}
        for number in {index // 2 for index in changed if index < 2 * count}:
            path, digest = os.fsdecode(self.files[number]), self.digests[number]
            found = (file_digest(path) or "").encode()
            if not digest or not found:
                return None
            if found != digest:
                if self.quiet[number : number + 1] != b"1" or not is_quiet(path):
                    return None
                digests[number] = found
        for number in (index - 2 * count for index in changed if index >= 2 * count):
            asked = self.asked[number]
            names = frozenset(os.fsdecode(asked).split("/")) if asked else None
            present = names_in(os.fsdecode(self.folders[number]), names)
            if present is None or joined(present) != self.present[number]:
                return None
        return digests

    def _note(self, now: list[int], changed: list[int], digests: dict[int, bytes]) -> None:
        """Write the new times, where they can be relied on by now."""
        import time

        now_ns = time.time_ns()
        count = len(self.files)
        is_new = False
        for index in changed:
            at = index | 1 if index < 2 * count else index  # the time beside a size
            if not settled_ns(now[at], now_ns):
                continue
            is_new = True
            self.times[index] = now[index]
            if index < 2 * count and index // 2 in digests:
                self.digests[index // 2] = digests[index // 2]
        if is_new:
            self.write()

    def write(self) -> None:
        """Write the record, where the folder lets us and no path is beyond its form."""
        lists = (self.files, self.digests, self.absent, self.folders, self.asked, self.present)
        if any(b"\n" in item or b"\0" in item for items in lists for item in items):
            return
        fields = [
            self.key,
            self.out.encode(errors="surrogatepass"),
            self.err.encode(errors="surrogatepass"),
            *(b"\0".join(items) for items in lists),
            self.quiet,
            b"".join([time.to_bytes(8, "little", signed=True) for time in self.times]),
        ]
        sizes = [self.exit_code, *map(len, fields), *map(len, lists)]
        head = b"%s %s\n" % (_MAGIC, " ".join(map(str, sizes)).encode())
        temporary = f"{self.path}.{os.getpid()}.tmp"  # `tempfile` takes as long as all the rest
        try:
            with open(temporary, "xb") as file:
                file.write(head)
                file.writelines(fields)
            os.replace(temporary, self.path)
        except OSError:
            _remove(temporary)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # it was not ours, or the folder lets nobody write
        return


def read(path: str, key: bytes) -> Record | None:
    """Return the record of a command; None if there is none, or what is there is none.

    Args:
        path: where it would lie.
        key: what was asked.
    """
    try:
        with open(path, "rb") as file:
            head = file.readline(1000)
            data = file.read()
    except OSError:
        return None
    if not head.startswith(_MAGIC):
        return None
    try:
        exit_code, *numbers = map(int, head[len(_MAGIC) :].split())
        lengths, counts = numbers[:11], numbers[11:]
        fields: list[bytes] = []
        start = 0
        for length in lengths:
            fields.append(data[start : start + length])
            start += length
        if start != len(data) or fields[0] != key or len(counts) != 6 or min(lengths) < 0:
            return None
        out, err = (field.decode(errors="surrogatepass") for field in fields[1:3])
        lists = [field.split(b"\0") if count else [] for field, count in zip(fields[3:9], counts,
                 strict=True)]  # fmt: skip
        times = _numbers(fields[10])
    except ValueError:
        return None
    record = Record(path, key, out, err, exit_code)
    record.files, record.digests, record.absent, record.folders, record.asked, record.present = (
        lists
    )
    record.quiet = fields[9]
    record.times = times
    is_whole = (
        [len(items) for items in lists] == counts
        and len(record.files) == len(record.digests) == len(record.quiet)
        and len(record.folders) == len(record.asked) == len(record.present)
        and len(times) == 2 * len(record.files) + len(record.folders)
    )
    return record if is_whole else None


def _numbers(data: bytes) -> list[int]:
    """The numbers that `write` wrote, eight bytes each.

    Raises:
        ValueError: it is not a whole number of numbers.
    """
    import sys

    if len(data) % 8:
        raise ValueError(len(data))
    if sys.byteorder == "little":
        return memoryview(data).cast("q").tolist()
    return [
        int.from_bytes(data[at : at + 8], "little", signed=True) for at in range(0, len(data), 8)
    ]


def joined(names: tuple[str, ...]) -> bytes:
    """Return the names of a folder, or their digest where they are many."""
    whole = os.fsencode("//".join(names))
    return whole if len(whole) < 100 else digest_of(whole).encode()


def is_quiet(path: str) -> bool:
    """Return True if a file parses and holds no sign of a prompt; False may mean anything.

    Says of a file what `scan` says, without what that imports.
    """
    from _ast import PyCF_ONLY_AST

    from stemfirst_lint.hints import may_hold_prompts

    if not path.endswith((".py", ".pyi")):
        return False
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        head = data.split(b"\n", 2)[:2]
        if (
            len(data) > _MAX_BYTES
            or any(b"coding" in line for line in head)
            or data.startswith(b"\xef\xbb\xbf")
            or may_hold_prompts(data)
        ):
            return False
        text = data.decode()
        if "\\" in text:
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes
                compile(text, path, "exec", PyCF_ONLY_AST, True)
        else:
            compile(text, path, "exec", PyCF_ONLY_AST, True)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


_MAX_BYTES = 1_000_000
"""Of a quiet file; larger ones are left to the scan."""
