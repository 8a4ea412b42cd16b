"""The pytest plugin: the real server as a fixture that the session shares.

Loaded in every test run where stemfirst is installed, so it imports nothing before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stemfirst.server_process import ServerProcess


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting for the server's arguments."""
    parser.addini(
        "stemfirst_server_args",
        "arguments of `stemfirst serve` for the fixture stemfirst_server",
        type="args",
        default=[],
    )


@pytest.fixture(scope="session")
def stemfirst_server(pytestconfig: pytest.Config) -> Iterator[ServerProcess]:
    """The bundled server with the demo model on a free port, shared by the session.

    `stemfirst_server.base_url` is for clients. Without the server's packages the test is
    skipped.
    """
    from importlib.util import find_spec

    from stemfirst.server_process import ServerProcess

    if find_spec("torch") is None or find_spec("fastapi") is None:
        pytest.skip('the server is not installed: pip install "stemfirst[server]"')
    with ServerProcess(pytestconfig.getini("stemfirst_server_args")) as running:
        yield running
