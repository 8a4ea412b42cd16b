"""One version's replay as a process that is led from call to call.

Knows how to start it, let it make one call, and tell why it failed. Does not know what the other
version does meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from stemfirst.demo.comparison import Call
from stemfirst.errors import StemfirstError


class DemoError(StemfirstError):
    """A step of the demo failed; the message has what the failed command said."""


class LedReplay:
    """A replay of the app in this folder; a context manager that ends the process with it.

    Args:
        app: folder of one version of the app.
        version: what its calls are salted with, so that versions share no cache.
        base_url: of the server.
    """

    def __init__(self, app: Path, version: str, base_url: str) -> None:
        self.calls: list[Call] = []
        self._app = app
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        command = [sys.executable, "-m", "stemfirst.demo.replay", str(app), "--in-turn"]
        self._process = subprocess.Popen(
            [*command, "--base-url", base_url, "--salt", version],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> LedReplay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()  # a replay outlives neither its reader nor Ctrl-C
        self._process.communicate()
        self._errors.close()

    def step(self) -> bool:
        """Let it make its next call and keep what that reported; False when it made its last.

        Raises:
            DemoError: it failed, or made no call at all.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it ended: what it left to read says how
        line = self._process.stdout.readline()
        if line:
            self.calls.append(Call.of(json.loads(line)))
            return True
        if self._process.wait():
            self._errors.seek(0)
            said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
            raise DemoError(
                f"the replay of {self._app} failed: {said[-1] if said else 'no message'}"
            )
        if not self.calls:
            raise DemoError(f"the app in {self._app} made no call")
        return False
