"""`fix --interactive` on a real terminal: what is shown, what is asked, what is written."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fix_sources import RULES as HALF

RULES = f"{HALF} {HALF}"
APP = f"""from datetime import datetime

FIRST = \"\"\"Time: {{now}}

{RULES}
\"\"\"
SECOND = \"\"\"Clock: {{now}}

{RULES}
\"\"\"


def ask(client):
    text = FIRST.format(now=datetime.now())
    client.chat.completions.create(messages=[{{"role": "user", "content": text}}])
    text = SECOND.format(now=datetime.now())
    client.chat.completions.create(messages=[{{"role": "user", "content": text}}])
"""


def talk(folder: Path, *answers: str, arguments: tuple[str, ...] = ()) -> tuple[str, int]:
    """Run `fix --interactive` on a terminal, answer each question; return the screen and code."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "stemfirst.cli", "fix", "--interactive", *arguments, "app.py"],
        cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
    )  # fmt: skip
    os.close(theirs)
    screen, asked, waiting = "", 0, list(answers)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        screen += data.decode()
        if screen.count("[y,n,a,q,?]") > asked and waiting:
            asked += 1
            os.write(ours, waiting.pop(0).encode() + b"\r")
    os.close(ours)
    return screen, process.wait(timeout=10)


def heads(folder: Path) -> list[str]:
    """Return the first word of each template."""
    return re.findall(r'"""(\w+)', (folder / "app.py").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_each_change_is_shown_before_and_after_and_made_only_if_wanted(folder: Path) -> None:
    screen, code = talk(folder, "n", "y")
    assert (heads(folder), code) == (["Time", "Answer"], 1)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen).replace("\r\n", "\n")
    assert "\x1b[31m" in screen
    assert "--- before\n- Time: {now}\n- \n| Answer only" in plain
    assert "--- after\n| Answer only" in plain
    assert "you said no" in plain
    assert plain.count("[y,n,a,q,?]") == 2


def test_all_makes_the_rest_without_asking(folder: Path) -> None:
    screen, code = talk(folder, "a")
    assert (heads(folder), code) == (["Answer", "Answer"], 0)
    assert screen.count("[y,n,a,q,?]") == 1


def test_quit_leaves_the_rest_and_keeps_what_was_wanted(folder: Path) -> None:
    screen, code = talk(folder, "?", "y", "q")
    assert (heads(folder), code) == (["Answer", "Clock"], 1)
    assert "leave it and all others" in screen


def test_the_end_of_the_input_leaves_everything(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "fix", "-i", "app.py"],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, heads(folder)) == (1, ["Time", "Clock"])
    assert "Traceback" not in done.stderr
    assert done.stdout.count("nobody answered") == 2
    assert "you said no" not in done.stdout


def test_only_what_moves_is_shown_until_the_whole_is_asked_for(folder: Path) -> None:
    long = RULES.replace(". ", ".\n")
    (folder / "app.py").write_text(APP.replace(RULES, long))
    screen, _ = talk(folder, "w", "y", "n")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen).replace("\r\n", "\n")
    folded, whole, other = plain.split("[y,n,a,q,?]")[:3]
    assert re.search(r"\| … \d+ lines that stay \(`w` shows them\)", folded)
    assert "Name the paragraph" not in folded
    assert "Name the paragraph" in whole
    assert "… " not in whole
    assert "+ Time: {now}" in folded
    assert "- Clock: {now}" in other
    assert all(len(line) <= 80 for line in folded.split("--- before")[0].splitlines())


def test_diff_and_interactive_exclude_each_other(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "fix", "-i", "--diff", "app.py"],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "drop one" in done.stderr
