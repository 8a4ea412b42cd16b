"""A way to check a small project that a test writes down."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint.check import Report, check_paths
from stemfirst_lint.config import Config

LONG = "Answer politely and never promise what the policy does not grant. " * 16

Check = Callable[..., Report]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check a project: one module as text, or several by their path."""

    def run(source: str | None = None, /, *, config: Config | None = None, **files: str) -> Report:
        if source is not None:
            files["app"] = source
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("LONG_TEXT", LONG), encoding="utf-8")
        return check_paths((str(tmp_path),), config or Config(root=str(tmp_path)))

    return run
