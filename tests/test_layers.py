"""Who may import whom, and what an import may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "stemfirst": ROOT / "sdk" / "stemfirst",
    "stemfirst_lint": ROOT / "linter" / "stemfirst_lint",
    "stemfirst_server": ROOT / "server" / "stemfirst_server",
}
FORBIDDEN = {
    "stemfirst": {"stemfirst_lint", "stemfirst_server", "torch", "transformers", "fastapi"},
    "stemfirst_lint": {"stemfirst_server", "torch", "fastapi", "openai", "httpx", "requests"},
    "stemfirst_server": {"stemfirst_lint", "libcst", "openai"},
}
HEAVY = ("torch", "transformers", "fastapi", "openai", "tokenizers", "tiktoken", "libcst",
         "pydantic", "rich", "numpy", "httpx", "asyncio")  # fmt: skip


def imports_of(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_downwards(package: str) -> None:
    for path in PACKAGES[package].rglob("*.py"):
        wrong = imports_of(path) & FORBIDDEN[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import stemfirst",
        "import stemfirst_lint",
        "from stemfirst import Prompt, static, Tier",
        "import stemfirst_lint.cli.check, stemfirst_lint.cli.fix, stemfirst_lint.cli.rule",
        "import stemfirst.cli",
    ],
)
def test_importing_stays_light(statement: str) -> None:
    heavy = loaded_by(statement) & set(HEAVY)
    assert not heavy, f"`{statement}` loads {sorted(heavy)}"


def test_a_star_import_needs_no_extra() -> None:
    assert "openai" not in loaded_by("from stemfirst import *")
