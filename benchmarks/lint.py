"""How long `stemfirst check` takes on published packages: cold, warm, after one change, in memory.

    python benchmarks/lint.py [--keep FOLDER] [--packages NAME ...] [--rounds N]

Installs the packages without dependencies into a scratch folder, or uses those under --keep, and
pcdlint and ruff each into a virtual environment of its own. Whole processes on a quiet machine,
the median of some rounds; memory is the peak of the process and its children. pcdlint reads one
file at a time and has five rules; ruff is written in Rust and stands here for the record. Neither
looks for what stemfirst looks for.
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
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

PACKAGES = ("ragas", "deepeval", "paper-qa", "nemoguardrails", "llama-index-core")
PEERS = ("pcdlint", "ruff")
_MEASURED = (
    "import resource, subprocess, sys, time\n"
    "start = time.perf_counter()\n"
    "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    "seconds = time.perf_counter() - start\n"
    "peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
    "print(seconds, peak_kib, done.returncode)\n"
)


@dataclass(frozen=True, slots=True)
class Run:
    """The median of some runs of one command."""

    seconds: float
    peak_mib: float
    exit_code: int


def measure(command: list[str], cwd: Path, rounds: int, before: str | None = None) -> Run:
    """Run a command some times in its own process; `before` is a shell command before each."""
    seconds: list[float] = []
    peaks: list[float] = []
    code = 0
    for _ in range(rounds):
        if before is not None:
            subprocess.run(before, shell=True, cwd=cwd, check=True)
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, *command],
            cwd=cwd, capture_output=True, text=True, check=True,
        )  # fmt: skip
        one, peak_kib, code = (float(part) for part in done.stdout.split())
        seconds.append(one)
        peaks.append(peak_kib / 1024)
    return Run(median(seconds), max(peaks), int(code))


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


def touch_one(root: Path) -> str:
    """A shell command that changes one file that holds a prompt, and only its end."""
    for path in sorted(root.rglob("*.py")):
        if b'"role"' in path.read_bytes() and "test" not in path.as_posix():
            return f"printf '# %s\\n' \"$(date +%N)\" >> '{path.relative_to(root)}'"
    return "true"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--packages", nargs="+", default=PACKAGES)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        peers = {name: peer(name, Path(scratch)) for name in PEERS}
        for package in options.packages:
            root = Path(scratch) / "work" / package
            shutil.copytree(install(package, folder), root)
            shutil.rmtree(root / ".stemfirst_cache", ignore_errors=True)
            files = list(root.rglob("*.py"))
            lines = sum(path.read_bytes().count(b"\n") for path in files)
            check = [sys.executable, "-m", "stemfirst.cli", "check", "."]
            no_cache = [*check, "--no-cache"]
            change = touch_one(root)
            runs = {
                "cold": measure(no_cache, root, options.rounds),
                "fill": measure(check, root, 1),
                "warm": measure(check, root, options.rounds),
                "one changed": measure(check, root, options.rounds, change),
                "pcdlint": measure([str(peers["pcdlint"]), "."], root, options.rounds),
                "ruff": measure(
                    [str(peers["ruff"]), "check", "--isolated", "--no-cache", "."],
                    root, options.rounds,
                ),
            }  # fmt: skip
            print(f"{package}: {len(files):,} files, {lines:,} lines")
            for name, run in runs.items():
                speed = f"{lines / run.seconds:>12,.0f} lines/s"
                print(f"  {name:<12} {run.seconds:7.2f} s {speed} {run.peak_mib:7.0f} MiB "
                      f"exit {run.exit_code}")  # fmt: skip
                rows.append({"package": package, "lines": lines, "run": name,
                             "seconds": run.seconds, "peak_mib": run.peak_mib})  # fmt: skip
    for name in ("cold", "warm", "one changed", "pcdlint", "ruff"):
        of_name = [row for row in rows if row["run"] == name]
        lines = sum(int(str(row["lines"])) for row in of_name)
        seconds = sum(float(str(row["seconds"])) for row in of_name)
        print(f"all, {name}: {seconds:.2f} s, {lines / seconds:,.0f} lines/s")
    print(json.dumps({"date": date.today().isoformat(), "python": platform.python_version(),
                      "cores": os.cpu_count(), "rows": rows}))  # fmt: skip


if __name__ == "__main__":
    main()
