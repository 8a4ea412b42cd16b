"""How long `stemfirst check` takes on one tree of published packages: cold, warm, after one change.

    python benchmarks/lint.py [--keep FOLDER] [--packages NAME ...] [--rounds N] [--peer-rounds N]

Installs the packages without dependencies, each into its own folder of one tree, or uses those
under --keep, and pcdlint and ruff each into a virtual environment of its own. Whole processes on a
quiet machine, the median of some rounds; every ratio is of one run over this tree. Memory is the
most that the process and its children held together at one time: proportional set sizes (a page
that two processes share counts half for each), looked at 50 times a second in a round of its own.
Warm is the same command line once more, whose output is shown again; "results alone" is another
command line, which lists and looks up all files and has nothing to judge. A changed file has one
more line of code each time; it is either one without prompts that no prompt hangs on, as most files
of the tree are, or one with a message, for which all that is joined to it is judged anew.
`import ast` is the whole process `python -c "import ast"`. pcdlint reads one file at a time and has
five rules; ruff is written in Rust and stands here for the record. Neither looks for what stemfirst
looks for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

from stemfirst_lint.files import is_test
from stemfirst_lint.hints import may_hold_prompts

PACKAGES = (
    "llama-index-core", "langchain", "langchain-community", "ragas", "deepeval", "paper-qa",
    "agno", "semantic-kernel", "nemoguardrails", "griptape", "swarms", "llmware",
)  # fmt: skip
PEERS = ("pcdlint", "ruff")
_LOOK_S = 0.02
_ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}
"""As users have it: Python keeps what it compiled."""


@dataclass(frozen=True, slots=True)
class Run:
    """The median of some runs of one command, and the most memory of one more."""

    seconds: float
    peak_mib: float
    exit_code: int


def measure(command: list[str], cwd: Path, rounds: int, before: str | None = None) -> Run:
    """Run a command some times in its own process; `before` is a shell command before each."""
    seconds: list[float] = []
    code = 0

    def prepare() -> None:
        if before is not None:
            subprocess.run(before, shell=True, cwd=cwd, check=True)

    for _ in range(rounds):
        prepare()
        start = time.perf_counter()
        code = subprocess.run(
            command, cwd=cwd, check=False, capture_output=True, env=_ENVIRONMENT
        ).returncode
        seconds.append(time.perf_counter() - start)
    prepare()
    return Run(median(seconds), peak_mib(command, cwd), code)


def peak_mib(command: list[str], cwd: Path) -> float:
    """Return the most memory that a command and its children hold together; 0 where unknown."""
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, env=_ENVIRONMENT,
    ) as process:  # fmt: skip
        peak_kib = 0
        while process.poll() is None:
            peak_kib = max(peak_kib, sum(_pss_kib(number) for number in _session(process.pid)))
            time.sleep(_LOOK_S)
    return peak_kib / 1024


def _session(leader: int) -> list[int]:
    """The processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(state[3]) == leader:
                found.append(int(entry.name))
    return found


def _pss_kib(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:"), 0)


def install(package: str, folder: Path) -> Path:
    target = folder / package
    if not target.exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile",
             "--disable-pip-version-check", "--target", str(target), package],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return target


def peer(name: str, folder: Path) -> Path:
    """Install a peer into an environment of its own; return its command."""
    place = folder / f"venv-{name}"
    if not place.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run(
            [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", name],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return place / "bin" / name


def edit_one(root: Path, package: str, *, has_prompt: bool) -> str:
    """A shell command that adds a line of code to a file.

    Args:
        root: the tree.
        package: where to look for the file.
        has_prompt: True for the first file with a message; False for the first of some size
            without any sign of a prompt that no other file of the package names.
    """
    files = [
        path
        for path in sorted((root / package).rglob("*.py"))
        if not is_test(str(path.relative_to(root)))
    ]
    texts = {path: path.read_bytes() for path in files}
    for path, data in texts.items():
        if has_prompt:
            is_wanted = b'"role"' in data
        else:
            name = path.stem.encode()
            others = (text for other, text in texts.items() if other != path)
            is_wanted = (
                len(data) > 3000
                and not may_hold_prompts(data)
                and not path.stem.startswith("__")
                and not any(name in text for text in others)
            )
        if is_wanted:
            line = "printf 'edited_%s = 1\\n' \"$(date +%N)\""
            return f"{line} >> '{path.relative_to(root)}'"
    raise SystemExit(f"no file of that kind in {package}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--packages", nargs="+", default=PACKAGES)
    parser.add_argument("--changed", default="ragas", help="the package with the changed file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-rounds", type=int, default=1, help="of pcdlint; it takes long")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch, "packages")
        root = Path(scratch, "tree")
        for package in options.packages:
            shutil.copytree(
                install(package, folder), root / package,
                ignore=shutil.ignore_patterns("__pycache__", ".stemfirst_cache"),
            )  # fmt: skip
        peers = {name: peer(name, Path(scratch)) for name in PEERS}
        files = list(root.rglob("*.py"))
        lines = sum(path.read_bytes().count(b"\n") for path in files)
        cache = ["--cache-dir", str(Path(scratch, "cache"))]
        check = [sys.executable, "-m", "stemfirst.cli", "check", ".", *cache]
        old = f"find . -name '*.py' -exec touch -d '1 hour ago' {{}} + ; rm -rf {cache[1]}"
        changed = options.changed if options.changed in options.packages else options.packages[0]
        runs = {
            "cold": measure(check, root, options.rounds, old),
            "warm": measure(check, root, options.rounds),
            "warm, results alone": measure(
                [*check, "--output-file", os.devnull], root, options.rounds
            ),
            f"one changed file without prompts ({changed})": measure(
                check, root, options.rounds, edit_one(root, changed, has_prompt=False)
            ),
            f"one changed file with a prompt ({changed})": measure(
                check, root, options.rounds, edit_one(root, changed, has_prompt=True)
            ),
            "import ast": measure([sys.executable, "-c", "import ast"], root, 4 * options.rounds),
            "pcdlint": measure([str(peers["pcdlint"]), "."], root, options.peer_rounds),
            "ruff check": measure(
                [str(peers["ruff"]), "check", "--isolated", "--no-cache", "."],
                root, options.rounds,
            ),
        }  # fmt: skip
    print(f"{len(files):,} files, {lines:,} lines, {os.cpu_count()} cores\n")
    print("| run | s | lines/s | peak MiB |\n|---|--:|--:|--:|")
    for name, run in runs.items():
        speed = "" if name == "import ast" else f"{lines / run.seconds:,.0f}"
        print(f"| {name} | {run.seconds:.3f} | {speed} | {run.peak_mib:.0f} |")
    cold, warm, _, quiet, one, ast, pcdlint, ruff = runs.values()
    print(
        f"\ncold {pcdlint.seconds / cold.seconds:.1f} times pcdlint's speed, "
        f"{ruff.seconds / cold.seconds:.2f} times ruff's; warm {cold.seconds / warm.seconds:.1f} "
        f"times cold; one changed file {quiet.seconds / ast.seconds:.1f} times `import ast` "
        f"without prompts, {one.seconds / ast.seconds:.1f} times with one"
    )
    print(json.dumps({
        "date": date.today().isoformat(), "python": platform.python_version(), "lines": lines,
        "files": len(files), "cores": os.cpu_count(),
        "runs": {name: [run.seconds, run.peak_mib, run.exit_code] for name, run in runs.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
