"""Options that every test understands."""

import os
from pathlib import Path

import pytest

# Read when Triton is imported, which torch does, so before any test module: without a GPU, our
# kernels run in Triton's interpreter (tests/kernels). Nothing else here uses Triton.
if not any(Path("/dev", name).exists() for name in ("nvidiactl", "dxg")):
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let golden files and manual pages be rewritten from what the code prints today."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        default=False,
        help="rewrite golden files and the pages under docs/rules, then compare",
    )
