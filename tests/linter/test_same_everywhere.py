"""Two processes that hash strings differently report the same, word for word."""

import os
import subprocess
import sys
from pathlib import Path

LONG = "Answer politely and never promise what the policy does not grant. " * 16
APP = (
    "def text(question):\n"
    f'    prompt = f"{{question}} You are a clerk. {LONG}"\n'
    "    return prompt\n"
    "def run(llm, question):\n"
    + "".join(
        f"    llm.{name}(text(question))\n"
        for name in ("invoke", "predict", "generate", "chat", "complete", "ask", "stream")
    )
)


def test_the_order_of_sets_reaches_no_finding(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    said = set()
    for seed in ("1", "2", "3", "4"):
        done = subprocess.run(
            [sys.executable, "-c",
             "from stemfirst_lint.check import check_paths\n"
             "from stemfirst_lint.config import Config\n"
             "report = check_paths(('app.py',), Config())\n"
             "print(report.findings, report.sites)"],
            cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        said.add(done.stdout)
    assert len(said) == 1
    assert "SF301" in said.pop()
