"""Run `check` and `fix --diff` over published packages and write docs/real-code.md.

    python benchmarks/real_code.py [--keep FOLDER] [--packages NAME ...]

Installs the packages without their dependencies into a scratch folder, which is thrown away
unless --keep names one (an existing one is used again). Ten findings are drawn with a fixed
seed; their verdicts stand in benchmarks/real_code_verdicts.json, written by a person who read
the code at that place.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "docs" / "real-code.md"
VERDICTS = ROOT / "benchmarks" / "real_code_verdicts.json"
PACKAGES = (
    "llama-index-core", "langchain", "langchain-community", "ragas", "deepeval", "paper-qa",
    "agno", "semantic-kernel", "nemoguardrails", "griptape", "swarms", "llmware",
)  # fmt: skip
FIX_PART = "<!-- made by benchmarks/fix_real_code.py -->"
"""Where the part of the page begins that another script writes."""
CRASH_PART = "<!-- made from benchmarks/fuzz_lint.py -->"
STUDY_PART = "<!-- made by benchmarks/precision.py -->"
"""As FIX_PART; both stand before it, the crashes first."""
SEED = 20261123
SAMPLE = 10


@dataclass
class Result:
    """What one package gave."""

    package: str
    version: str
    files: int = 0
    lines: int = 0
    check_s: float = 0.0
    fix_s: float = 0.0
    prompts: int | None = None
    findings: list[dict[str, Any]] = field(default_factory=list)
    fixed_files: int = 0
    hunks: int = 0
    refused: int = 0
    crashes: list[str] = field(default_factory=list)


def install(package: str, folder: Path) -> str:
    """Install one package without dependencies into its own folder; return its version."""
    target = folder / package
    if not target.exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile",
             "--disable-pip-version-check", "--target", str(target), package],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    wanted = re.sub(r"[-_.]+", "-", package).lower()
    for distribution in distributions(path=[str(target)]):
        if re.sub(r"[-_.]+", "-", distribution.name).lower() == wanted:
            return distribution.version
    return "?"


def stemfirst(*arguments: str, cwd: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run the command; return what it did and the seconds it took."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", *arguments],
        capture_output=True, text=True, encoding="utf-8", cwd=cwd, check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
    )  # fmt: skip
    return done, time.perf_counter() - start


def examine(package: str, folder: Path) -> Result:
    """Check one package and try to fix it without writing."""
    result = Result(package, install(package, folder))
    root = folder / package
    for path in root.rglob("*.py"):
        result.files += 1
        result.lines += path.read_bytes().count(b"\n")
    checked, result.check_s = stemfirst("check", ".", "--output-format", "json", cwd=root)
    note_crash(result, "check", checked)
    if checked.stdout.strip():
        result.findings = json.loads(checked.stdout)
    statistics, _ = stemfirst("check", ".", "--statistics", cwd=root)
    found = re.search(r"([\d,]+) prompts?\b", statistics.stdout + statistics.stderr)
    result.prompts = int(found[1].replace(",", "")) if found else None
    fixed, result.fix_s = stemfirst("fix", ".", "--diff", cwd=root)
    note_crash(result, "fix --diff", fixed)
    result.fixed_files = len(re.findall(r"^--- ", fixed.stdout, re.M))
    result.hunks = len(re.findall(r"^@@ ", fixed.stdout, re.M))
    return result


def note_crash(result: Result, command: str, done: subprocess.CompletedProcess[str]) -> None:
    """Keep what a command said when it failed otherwise than by naming unreadable files."""
    if "Traceback" in done.stderr or done.returncode not in (0, 1, 2):
        result.crashes.append(f"{command}: exit {done.returncode}: {done.stderr.strip()[-300:]}")


def sample(results: list[Result]) -> list[tuple[str, dict[str, Any]]]:
    """Return ten findings of all packages, drawn with the fixed seed."""
    everything = [
        (result.package, finding)
        for result in results
        for finding in sorted(result.findings, key=lambda f: (f["path"], f["line"], f["code"]))
    ]
    return random.Random(SEED).sample(everything, min(SAMPLE, len(everything)))


def key_of(package: str, finding: dict[str, Any]) -> str:
    """Return what a verdict is filed under."""
    return f"{package} {finding['path']}:{finding['line']} {finding['code']}"


def report(results: list[Result]) -> str:
    """Return the page."""
    verdicts = json.loads(VERDICTS.read_text("utf-8")) if VERDICTS.exists() else {}
    files, lines = sum(r.files for r in results), sum(r.lines for r in results)
    check_s, fix_s = sum(r.check_s for r in results), sum(r.fix_s for r in results)
    out = [
        "# Real code",
        "",
        f"Made by `benchmarks/real_code.py` on {date.today().isoformat()}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores. Packages as published, installed "
        "without dependencies; their tests, where a wheel has any, are not prompts to us.",
        "",
        "| package | version | files | lines | check, s | fix --diff, s | prompts | findings | "
        "fixed, proven | crashes |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        prompts = "-" if r.prompts is None else f"{r.prompts:,}"
        out.append(
            f"| {r.package} | {r.version} | {r.files:,} | {r.lines:,} | {r.check_s:.1f} | "
            f"{r.fix_s:.1f} | {prompts} | {len(r.findings)} | {r.hunks} | {len(r.crashes)} |"
        )
    known = [r.prompts for r in results if r.prompts is not None]
    out.append(
        f"| **all** | | {files:,} | {lines:,} | {check_s:.1f} | {fix_s:.1f} | "
        f"{sum(known) if known else '-'} | {sum(len(r.findings) for r in results)} | "
        f"{sum(r.hunks for r in results)} | {sum(len(r.crashes) for r in results)} |"
    )
    out += [
        "",
        "*fixed, proven* counts hunks of `fix --diff`: each was rewritten and passed every proof.",
        f"Whole processes, start-up included: {lines / check_s:,.0f} lines a second for `check`.",
        "",
        "## Findings by rule",
        "",
        "| rule | findings | `identical` | `reorder` | `risky` | no fix |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    findings = [finding for r in results for finding in r.findings]
    names = {finding["code"]: finding["name"] for finding in findings}
    for code in sorted(names):
        of_rule = [f["applicability"] for f in findings if f["code"] == code]
        count = Counter(of_rule)
        out.append(
            f"| {code} `{names[code]}` | {len(of_rule)} | {count['identical']} | "
            f"{count['reorder']} | {count['risky']} | {count[None]} |"
        )
    drawn = sample(results)
    judged = [verdicts.get(key_of(package, finding)) for package, finding in drawn]
    right = sum(verdict is not None and verdict["right"] for verdict in judged)
    out += [
        "",
        f"## {len(drawn)} findings drawn at random (seed {SEED})",
        "",
        f"{right} of {sum(v is not None for v in judged)} judged are right.",
        "",
        "| finding | message | verdict |",
        "|---|---|---|",
    ]
    for (package, finding), verdict in zip(drawn, judged, strict=True):
        said = "not yet judged"
        if verdict is not None:
            said = f"**{'right' if verdict['right'] else 'wrong'}**: {verdict['why']}"
        message = finding["message"].replace("|", "\\|").replace("\n", " ")
        place = f"{package} `{finding['path']}:{finding['line']}` {finding['code']}"
        out.append(f"| {place} | {message} | {said} |")
    crashes = [(r.package, crash) for r in results for crash in r.crashes]
    if crashes:
        out += ["", "## Crashes", "", *(f"- {package}: {crash}" for package, crash in crashes)]
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--packages", nargs="+", default=PACKAGES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        results = []
        for package in options.packages:
            result = examine(package, folder)
            results.append(result)
            print(f"{package} {result.version}: {result.files:,} files, {len(result.findings)} "
                  f"findings, {result.hunks} fixes, {len(result.crashes)} crashes")  # fmt: skip
        for package, finding in sample(results):
            print(json.dumps({"key": key_of(package, finding), "message": finding["message"]}))
    old = REPORT.read_text("utf-8") if REPORT.exists() else ""
    starts = [at for mark in (CRASH_PART, STUDY_PART, FIX_PART) if (at := old.find(mark)) >= 0]
    kept = old[min(starts) :] if starts else ""
    REPORT.write_text("\n".join([report(results), kept]).rstrip() + "\n", "utf-8")
    print(f"wrote {REPORT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
