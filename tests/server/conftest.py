"""The real server as a process, and real clients of it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from stemfirst.server_process import ServerProcess

if TYPE_CHECKING:
    from stemfirst_server.api.service import Service

START_S = 90.0
MODEL = "stemfirst-demo"


class Served:
    """A server process; `url` is known once it is ready."""

    def __init__(self, folder: Path, *flags: str, env: Mapping[str, str] | None = None) -> None:
        self.log_file = folder / "serve.log"
        self._log = self.log_file.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stemfirst.cli", "serve", *flags],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # Threads that spin for one another are slow wherever something else runs too.
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        )
        self.url = ""

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8")

    def wait_for(self, pattern: str, within_s: float = START_S) -> re.Match[str]:
        """Return the first match in the log."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = re.search(pattern, self.log)
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} never came; the log:\n{self.log}")

    def wait_until_ready(self, within_s: float = START_S) -> Served:
        self.url = self.wait_for(r"Serving \S+ at (http://\S+)/v1", within_s)[1]
        return self

    def ends_within(self, seconds: float) -> int:
        """Return the exit code; fails if the process lives longer."""
        return self.process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


@pytest.fixture(scope="session")
def server(stemfirst_server: ServerProcess) -> ServerProcess:
    """The demo model's server, shared with every other test of the session."""
    return stemfirst_server


TENANT_KEYS = {"acme": ("acme-1", "acme-2"), "globex": ("globex-1",), "small": ("small-1",)}
ADMIN_KEY = "operator-1"


def hashed(key: str) -> str:
    """Return a key as the key file holds it."""
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of three tenants, one with a limit, with room for four requests at once."""
    folder = tmp_path_factory.mktemp("guarded")
    lines = []
    for name, keys in TENANT_KEYS.items():
        lines += [f"[tenants.{name}]", f"keys = {[hashed(key) for key in keys]}"]
        lines += ["most_requests = 1"] * (name == "small")
    lines += ["[admin]", f"keys = {[hashed(ADMIN_KEY)]}"]
    (folder / "keys.toml").write_text("\n".join(lines), "utf-8")
    flags = ("--port", "0", "--pool-tokens", "40960", "--calibration-seconds", "0")
    served = Served(
        folder,
        *flags,
        *("--max-num-seqs", "2", "--max-queued-requests", "2"),
        *("--api-keys-file", str(folder / "keys.toml"), "--api-key", "lone-1"),
    )
    try:
        yield served.wait_until_ready()
    finally:
        served.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """A factory of servers that end with the test."""
    started: list[Served] = []

    def make(*flags: str) -> Served:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Served(folder, *flags))
        return started[-1]

    yield make
    for served in started:
        served.close()


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The demo model's service within this process, to break parts of it."""
    from stemfirst_server.settings import ServeSettings
    from stemfirst_server.startup import start_service

    made = start_service(
        ServeSettings(pool_tokens=40960, calibration_s=0, threads=1), lambda what: None
    )
    yield made
    assert made.engine.stop(timeout=20)


@pytest.fixture
def inside(service: Service) -> Callable[..., httpx.Response]:
    """Ask the service within this process: a method, a path, and what httpx takes."""
    from stemfirst_server.api.app import Slot, make_app

    slot = Slot()
    slot.service = service
    app = make_app(slot)

    def ask(method: str, path: str, **more: Any) -> httpx.Response:
        async def answer() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            url = "http://127.0.0.1"
            async with httpx.AsyncClient(transport=transport, base_url=url, timeout=60) as http:
                return await asyncio.wait_for(http.request(method, path, **more), 60)

        return asyncio.run(answer())

    return ask


@pytest.fixture
def client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    """The real client."""
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="test-key", max_retries=0, timeout=60
    ) as made:
        yield made


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    """A plain HTTP client, for what no good client would send."""
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as made:
        yield made


_NUMBERS = iter(range(10**6))


@pytest.fixture
def policy() -> str:
    """A long text that no other test has sent."""
    mark = f"{next(_NUMBERS)} {os.getpid()}"
    return f"Case {mark}. " + "Refunds are paid within thirty days of the order. " * 60
