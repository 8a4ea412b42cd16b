"""A small project on disk, and the command as a process or in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LONG = "Answer politely and never promise what the policy does not grant. " * 16
BAD = (
    "def ask(client, question):\n"
    f'    text = f"Question: {{question}}\\n\\n{LONG}"\n'
    '    client.create(messages=[{"role": "user", "content": text}])\n'
)
GOOD = BAD.replace("Question: {question}\\n\\n", "").replace('grant. "\n', 'grant. {question}"\n')
SETS = (
    "def ask(client, question):\n"
    "    text = f\"Tools: {list({'search', 'buy'})}. \"\n"
    '    client.create(messages=[{"role": "system", "content": text}, *question])\n'
)

Stemfirst = Callable[..., "subprocess.CompletedProcess[str]"]


class Sources:
    """The texts that tests write down."""

    bad, good, sets, long = BAD, GOOD, SETS, LONG


@pytest.fixture
def sources() -> type[Sources]:
    return Sources


@pytest.fixture
def stemfirst(tmp_path: Path) -> Stemfirst:
    """Run the command in the test's folder, without colour and without a cache of before."""

    def run(
        *arguments: str, stdin: str | None = None, cwd: Path = tmp_path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stemfirst.cli", *arguments],
            cwd=cwd,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("sdk", "linter")),
                "PYTHONIOENCODING": "utf-8",
                **environment,
            },
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    return run
