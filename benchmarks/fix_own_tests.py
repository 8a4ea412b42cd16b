"""Run published packages' own tests before and after `fix`, and write the counts into the page.

    python benchmarks/fix_own_tests.py [--keep FOLDER] [--packages NAME ...]

Takes each package's source distribution, with its tests, and installs it with what they need into
an environment of its own. As in `fix_real_code.py` every prompt that `check` sees is rewritten, as
if each value that nothing is known about came with the request, so that there is something to
break. A test counts as broken if it passed before and does not pass after. What fails before
(tests that want a key, a network or a program) is not counted. Needs a package index; 10 to 60
minutes, most of it installing.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

from fix_real_code import OWN_PART as MARK
from fix_real_code import REPORT, rewritten
from stemfirst_lint.model import Applicability

END = "<!-- end of benchmarks/fix_own_tests.py -->"
PYTEST = ("pytest", "pytest-asyncio", "pytest-timeout")


@dataclass(frozen=True)
class Suite:
    """A package whose source distribution brings its tests.

    `needs` is what the tests want beside the package and its group `test`.
    """

    package: str
    tests: str
    needs: tuple[str, ...] = ()
    source: str = "."
    arguments: tuple[str, ...] = ()


SUITES = (
    Suite("langchain-classic", "tests/unit_tests", ("greenlet",)),
    Suite("langchain-community", "tests/unit_tests", ("greenlet",)),
    Suite("autogen-agentchat", "tests", ("autogen-ext[openai]", "aiofiles"), "src"),
    Suite("instructor", "tests", ("anthropic", "python-dotenv"),
          arguments=("-m", "not llm and not integration", "--ignore=tests/llm",
                     "--ignore=tests/docs")),
)  # fmt: skip


@dataclass
class Result:
    """What one package gave."""

    name: str
    files: int = 0
    changes: int = 0
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> set[str]:
        """Return the tests that passed before."""
        return {test for test, outcome in self.before.items() if outcome == "passed"}

    @property
    def broken(self) -> list[str]:
        """Return those of them that do not pass after."""
        return sorted(test for test in self.passed if self.after.get(test) != "passed")


def try_out(suite: Suite, folder: Path) -> Result:
    """Test a package, fix its prompts, and test it again."""
    root = unpacked(suite, folder)
    python = environment(suite, root, folder)
    result = Result(root.name)
    failures: list[str] = []
    result.before = outcomes(suite, root, python)
    changed = [
        made
        for made in rewritten(root / suite.source, Applicability.REORDER, failures)
        if made.new != made.old and "tests" not in Path(made.path).relative_to(root).parts
    ]
    for made in changed:
        Path(made.path).write_bytes(made.new)
    result.files, result.changes = len(changed), sum(len(made.done) for made in changed)
    result.after = outcomes(suite, root, python)
    return result


def unpacked(suite: Suite, folder: Path) -> Path:
    """Return the folder of a package's source distribution, as it was published."""
    archives = folder / "sdists"
    archives.mkdir(parents=True, exist_ok=True)
    stem = suite.package.replace("-", "_")
    if not list(archives.glob(f"{stem}-*.tar.gz")):
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:",
             "--no-deps", "--no-build-isolation", "--dest", str(archives), suite.package],
            check=True,
        )  # fmt: skip
    archive = max(archives.glob(f"{stem}-*.tar.gz"))
    sources = Path(tempfile.mkdtemp(dir=folder, prefix="source-"))
    with tarfile.open(archive) as opened:
        opened.extractall(sources, filter="data")
    return next(path for path in sources.iterdir() if path.is_dir())


def environment(suite: Suite, root: Path, folder: Path) -> Path:
    """Return the Python of an environment that has a package and what its tests need."""
    place = folder / f"venv-{suite.package}"
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
        group = settings.get("dependency-groups", {}).get("test", [])
        wanted = [item for item in group if isinstance(item, str)]
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             str(root), *PYTEST, *wanted, *suite.needs],
            check=True,
        )  # fmt: skip
        (place / "ready").touch()
    return python


def outcomes(suite: Suite, root: Path, python: Path) -> dict[str, str]:
    """Return what became of each test."""
    report = root / "stemfirst-outcomes.xml"
    subprocess.run(
        [str(python), "-m", "pytest", suite.tests, "-o", "addopts=", "-q", "-p",
         "no:cacheprovider", "--continue-on-collection-errors", "--timeout", "120",
         f"--junitxml={report}", *suite.arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / suite.source), "OPENAI_API_KEY": "none",
             "ANTHROPIC_API_KEY": "none"},
        capture_output=True,
        check=False,
    )  # fmt: skip
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[name] = min(kinds, default="passed")
    return found


def page(results: list[Result]) -> str:
    """Return the part of the page about packages' own tests."""
    out = [
        MARK,
        "",
        "### The packages' own tests, before and after",
        "",
        f"Made by `benchmarks/fix_own_tests.py` on {date.today().isoformat()}: every prompt that "
        "is seen is rewritten as in the trial above, in the package's source distribution, whose "
        "tests run before and after.",
        "",
        "| package | files changed | changes | tests that passed before | of these after |",
        "|---|--:|--:|--:|--:|",
    ]
    out += [
        f"| {r.name} | {r.files} | {r.changes} | {len(r.passed):,} | "
        f"{len(r.passed) - len(r.broken):,} |"
        for r in results
    ]
    broken = [f"- {r.name}: `{test}`" for r in results for test in r.broken]
    if broken:
        out += ["", "What passed before and does not after:", "", *broken]
    return "\n".join([*out, "", END])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--packages", nargs="+")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        results = []
        for suite in SUITES:
            if options.packages and suite.package not in options.packages:
                continue
            result = try_out(suite, folder)
            results.append(result)
            print(f"{result.name}: {result.changes} changes, {len(result.passed)} passed before, "
                  f"{len(result.broken)} of them not after", flush=True)  # fmt: skip
    text = REPORT.read_text("utf-8")
    kept = re.sub(f"\n*{MARK}.*{END}\n*", "\n", text, flags=re.DOTALL).rstrip()
    REPORT.write_text(f"{kept}\n\n{page(results)}\n", "utf-8")
    print(f"wrote {REPORT.name}")


if __name__ == "__main__":
    main()
