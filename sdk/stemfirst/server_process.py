"""A `stemfirst serve` process of one's own: started, waited for, and ended with its owner.

Knows how to start the server and when it is ready. Does not know what it serves, and imports
nothing of it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO

from stemfirst.errors import StemfirstError

_URL = re.compile(r"http://[\w.\-\[\]:]+:\d+")


class ServerStartError(StemfirstError):
    """The server ended or stayed silent before it was ready; the message has its last words."""


class ServerProcess:
    """The bundled server on a free port of this machine, as a context manager.

    Args:
        arguments: more arguments for `stemfirst serve`.
        timeout_s: how long it may take until it is ready.
        on_wait: called about ten times a second while it starts, with its newest log line.

    Raises:
        ServerStartError: it ended, or was not ready in time.
    """

    def __init__(
        self,
        arguments: Sequence[str] = (),
        *,
        timeout_s: float = 120.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._arguments = tuple(arguments)
        self._timeout_s = timeout_s
        self._on_wait = on_wait
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.url = ""
        """Root of the server once it is ready, such as `http://127.0.0.1:41703`."""

    @property
    def base_url(self) -> str:
        """What OpenAI-compatible clients take as `base_url`."""
        return f"{self.url}/v1"

    def log(self) -> str:
        """Return what the server has logged so far; nothing once it has ended."""
        if self._log is None or self._log.closed:
            return ""
        self._log.flush()
        with open(self._log.name, "rb") as file:
            return file.read().decode("utf-8", "replace")

    def __enter__(self) -> ServerProcess:
        command = [sys.executable, "-m", "stemfirst.cli", "serve", "--port", "0", *self._arguments]
        # A file, not a pipe: nobody has to read for the server to go on writing.
        self._log = tempfile.NamedTemporaryFile(prefix="stemfirst-serve-", suffix=".log")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            self._log.close()
            raise
        return self

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            lines = self.log().splitlines()
            found = _URL.search("\n".join(lines))
            if found and _answers(f"{found[0]}/health/ready"):
                self.url = found[0]
                return
            if self._process.poll() is not None:
                raise ServerStartError(f"the server did not start:\n{_tail(lines)}")
            if self._on_wait is not None:
                self._on_wait(lines[-1] if lines else "")
            time.sleep(0.1)
        said = _tail(self.log().splitlines())
        raise ServerStartError(f"the server was not ready within {self._timeout_s:g} s:\n{said}")

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the server: politely, and after `timeout_s` by force."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if self._log is not None:
            self._log.close()


def _tail(lines: Sequence[str]) -> str:
    return "\n".join(lines[-8:]) or "(it logged nothing)"


def _answers(url: str) -> bool:
    """Return whether a GET is answered with 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False  # not listening yet, or listening and not ready
