"""Whether `stemfirst check` with its memory says what it says without, after each of many edits.

    python benchmarks/edit_lint.py FOLDER... [--edits N] [--seed N]

Copies packages into a scratch tree and edits it at random, one edit at a time: lines are deleted,
doubled, swapped with others and commented out, files are added, deleted, renamed and touched,
settings and ignored files change, and now and then all times are set back, so that size and time
alone must tell. After each edit the command runs twice with its cache and once with `--no-cache`,
in this process; the three must agree byte for byte, with their exit codes. Prints how many edits
were tried and how many answers came from which memory; ends with 1 at the first that differs.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from stemfirst.cli import main as stemfirst
from stemfirst_lint import check as checking
from stemfirst_lint.cli import run as running

Shown = tuple[str, str, object]
_SETTINGS = ("", "[tool.stemfirst]\nmin-gain = 20\n", '[tool.stemfirst]\nignore = ["SF3"]\n')


class Runs:
    """Runs the command and counts how often it had to work."""

    def __init__(self) -> None:
        self.worked = 0
        self.reused = 0
        running.check_paths = self._counted  # type: ignore[assignment]

    def _counted(self, *given: object, **named: object) -> checking.Report:
        self.worked += 1
        report = checking.check_paths(*given, **named)  # type: ignore[arg-type]
        self.reused += report.prompts > len(report.sites)
        return report

    def shown(self, *arguments: str) -> Shown:
        """Return standard output, standard error and the exit code."""
        sys.argv = ["stemfirst", "check", *arguments]
        out, err = io.StringIO(), io.StringIO()
        code: object = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                stemfirst()
            except SystemExit as ended:
                code = ended.code
        return out.getvalue(), err.getvalue(), code


def edit(tree: Path, chance: random.Random) -> str:
    """Change one thing in the tree, and return what."""
    files = sorted(path for path in tree.rglob("*.py") if "test" not in path.as_posix())
    path, other = chance.choice(files), chance.choice(files)
    what = chance.choices(
        ("lines", "comment", "swap", "copy", "delete", "rename", "touch", "settings", "ignore"),
        (8, 3, 4, 2, 2, 2, 1, 1, 1),
    )[0]
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
    at = chance.randrange(len(lines) + 1)
    if what == "lines":
        lines[at : at + chance.randrange(3)] = lines[at : at + 1] * chance.randrange(3)
    elif what == "comment":
        lines.insert(at, "# a comment\n")
    elif what == "swap":
        theirs = other.read_text(encoding="utf-8", errors="surrogateescape").splitlines(True)
        start = chance.randrange(len(theirs) + 1)
        lines[at:at] = theirs[start : start + chance.randrange(1, 30)]
    if what in ("lines", "comment", "swap"):
        path.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    elif what == "copy":
        shutil.copyfile(other, path.with_name(f"copied{chance.randrange(9)}.py"))
    elif what == "delete":
        path.unlink()
    elif what == "rename":
        path.replace(path.with_name(other.name))
    elif what == "touch":
        os.utime(path)
    elif what == "settings":
        (tree / "pyproject.toml").write_text(chance.choice(_SETTINGS))
    else:
        (tree / ".gitignore").write_text(chance.choice(("", f"{path.name}\n")))
    return f"{what} {path.relative_to(tree)}"


def set_back(tree: Path, clock: list[int]) -> None:
    """Give all that was touched of late a time of its own, long ago."""
    new_ns = time.time_ns() - 3600 * 10**9
    for path in (tree, *tree.rglob("*")):
        if path.lstat().st_mtime_ns > new_ns:
            clock[0] -= 10**9
            os.utime(path, ns=(clock[0], clock[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="+", type=Path)
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20261123)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    gc.freeze = lambda: None  # type: ignore[assignment]
    runs = Runs()
    clock = [time.time_ns() - 86_400 * 10**9]
    again = 0
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch, "tree")
        originals = {path.name: path for path in options.packages}
        for number in range(options.edits):
            if number % 100 == 0:  # begin anew, lest the tree be worn away
                shutil.rmtree(tree, ignore_errors=True)
                for name, path in originals.items():
                    shutil.copytree(path, tree / name)
                (tree / ".git").mkdir()
                os.chdir(tree)
                set_back(tree, clock)
            done = edit(tree, chance)
            if chance.random() < 0.5:
                set_back(tree, clock)
            kind = chance.choice(("full", "json"))
            command = ("--output-format", kind, "--cache-dir", os.fspath(Path(scratch, "cache")))
            fresh = runs.shown("--no-cache", *command)
            for _ in range(2):
                before = runs.worked
                if runs.shown(*command) != fresh:
                    print(f"edit {number} of seed {options.seed} differs: {done}")
                    sys.exit(1)
                again += runs.worked == before
            if number % 50 == 49:
                print(f"{number + 1} edits: {again} shown again, {runs.reused} with results of "
                      f"before, {runs.worked} runs", flush=True)  # fmt: skip
        os.chdir("/")


if __name__ == "__main__":
    main()
