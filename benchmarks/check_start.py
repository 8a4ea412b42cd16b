"""What `stemfirst check` on one file costs beside `python -c "import ast"`.

Whole processes, without results of before except where they say so, interleaved; prints the medians
in milliseconds and their ratio. Run it with the interpreter that has stemfirst installed:
`python benchmarks/check_start.py [rounds]`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

CLEAN = '"""Doubles numbers."""\n\n\ndef double(x: int) -> int:\n    return 2 * x\n'
PROMPT = (
    "def ask(client, question):\n"
    '    text = f"You are terse. Answer only what is asked.\\n\\nQuestion: {question}"\n'
    '    client.create(messages=[{"role": "user", "content": text}])\n'
)


def milliseconds(command: list[str], folder: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (time.perf_counter() - start) * 1000


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    check = [sys.executable, "-m", "stemfirst.cli", "check"]
    commands = {
        'python -c "pass"': [sys.executable, "-c", "pass"],
        'python -c "import ast"': [sys.executable, "-c", "import ast"],
        'python -c "import ast, click"': [sys.executable, "-c", "import ast, click"],
        "stemfirst check (no prompt)": [*check, "clean.py"],
        "... with options": [*check, "--no-cache", "clean.py"],
        "stemfirst check (one prompt)": [*check, "ask.py"],
        "... shown again": [*check, "ask.py"],
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "clean.py").write_text(CLEAN)
        Path(folder, "ask.py").write_text(PROMPT)
        for command in commands.values():
            milliseconds(command, folder)  # writes the bytecode caches
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                if not name.startswith("..."):
                    shutil.rmtree(Path(folder, ".stemfirst_cache"), ignore_errors=True)
                times[name].append(milliseconds(command, folder))
    base = median(times['python -c "import ast"'])
    for name, values in times.items():
        print(f"{name:30} {median(values):7.1f} ms  {median(values) / base:5.2f} x")


if __name__ == "__main__":
    main()
