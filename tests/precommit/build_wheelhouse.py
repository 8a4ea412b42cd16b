"""Collects the wheels that a hook's environment needs, so that its test needs no network.

    python tests/precommit/build_wheelhouse.py .wheelhouse

Downloads what `pip install .` would: the default dependencies and the build backend of
`pyproject.toml`, with theirs, for the interpreter that runs this. Does not build our own wheel:
installing the checkout is what the test is about.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def requirements() -> list[str]:
    """Return what a plain installation of this checkout downloads."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [*project["project"]["dependencies"], *project["build-system"]["requires"]]


def main(folder: str) -> int:
    """Fill `folder` and return pip's exit status."""
    constraints = ROOT / "constraints.txt"
    return subprocess.call(
        [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
            "--only-binary", ":all:", "--dest", folder,
            *(["--constraint", str(constraints)] if constraints.exists() else []),
            *requirements(),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: build_wheelhouse.py FOLDER")
    sys.exit(main(sys.argv[1]))
