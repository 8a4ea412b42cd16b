"""Options that every test understands."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let golden files and manual pages be rewritten from what the code prints today."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        default=False,
        help="rewrite golden files and the pages under docs/rules, then compare",
    )
