"""The demo as a user runs it: a real app, the real linter, the real server, real figures."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "support_agent"

pytestmark = pytest.mark.needs_server


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The example with a shorter recording, so that a run takes seconds."""
    copy = tmp_path / "support_agent"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    path = copy / "recording.json"
    recording = json.loads(path.read_text("utf-8"))
    recording["tickets"] = recording["tickets"][:2]
    recording["conversations"] = recording["conversations"][:1]
    recording["conversations"][0]["turns"] = recording["conversations"][0]["turns"][:1]
    path.write_text(json.dumps(recording), "utf-8")
    return copy


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def row(output: str, label: str) -> tuple[str, str]:
    """Return both values of a row of the table."""
    line = next(line for line in output.splitlines() if line.strip().startswith(label))
    cells = re.split(r"\s{2,}", line.strip())
    return cells[1], cells[2]


def hits(output: str) -> tuple[float, float]:
    before, after = row(output, "hit ratio")
    return float(before.rstrip(" %")), float(after.rstrip(" %"))


@pytest.mark.timeout(600)  # two whole demos, each of which may take three minutes
def test_the_demo_shows_more_hits_after_the_fix_and_a_hole_changes_the_table(app: Path) -> None:
    whole = demo("--app", str(app))
    assert whole.returncode == 0, whole.stderr
    before, after = hits(whole.stdout)
    assert before < 5 < 30 < after
    assert "SF301" in whole.stdout
    assert "SF101" in whole.stdout
    predicted, measured = re.search(
        r"([\d,]+)\s+predicted\s.*?([\d,]+)\s+measured", whole.stdout, re.S
    ).groups()
    assert int(measured.replace(",", "")) > 0.8 * int(predicted.replace(",", "")) > 1000
    assert max(map(len, whole.stdout.splitlines())) <= 80
    assert "stemfirst check" in whole.stdout

    # "below" ties the clock's block to its place, so no rewrite may move it.
    prompts = app / "prompts.py"
    text = prompts.read_text("utf-8")
    sentence = "## Tone\n- Answer in the language"
    assert sentence in text
    prompts.write_text(
        text.replace(sentence, "## Tone\n- As said below, it is {now}. Answer in the language"),
        "utf-8",
    )
    holed = demo("--app", str(app))
    assert holed.returncode == 0, holed.stderr
    assert hits(holed.stdout)[1] < after - 10


def test_an_app_that_is_none_is_refused_with_the_reason(tmp_path: Path) -> None:
    done = demo("--app", str(tmp_path))
    assert done.returncode == 2
    assert "agent.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_to_keep_must_not_exist(app: Path, tmp_path: Path) -> None:
    done = demo("--app", str(app), "--keep", str(tmp_path))
    assert done.returncode == 2
    assert "exists already" in done.stderr
