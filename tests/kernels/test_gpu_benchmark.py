"""`benchmarks/gpu.py` on a machine without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [
    pytest.mark.needs_server,
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: run it instead"),
]

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
TINY = ("--device", "cpu", "--model", "tiny", "--dtype", "float32")


def run_script(*arguments: str, interpret: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, "TRITON_INTERPRET": interpret, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_device_it_says_so_in_one_line_and_fails() -> None:
    done = run_script()
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("no CUDA device (torch ")
    assert done.stderr.count("\n") == 1


def test_a_tiny_model_goes_through_every_part(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="decode at fixed addresses stands beside the kernels")
    numbers = tmp_path / "numbers.json"
    load = ("--cached", "64", "--streams", "1", "2", "--prompt-tokens", "20")
    done = run_script(*TINY, *load, "--output-tokens", "4", "--json", str(numbers))
    assert done.returncode == 0, done.stderr
    found = json.loads(numbers.read_text())
    assert found["attention"] == "AttentionStep"
    assert all(result["value"] > 0 for result in found["results"])
    assert {result["part"] for result in found["results"]} == {
        "matrix product",
        "copy",
        "prefill",
        "decode, launched",
        "first token, cold",
        "first token, warm",
        "throughput",
    }


@pytest.mark.long
def test_the_interpreter_checks_every_kernel() -> None:
    pytest.importorskip("triton", reason="the kernels need triton: pip install --no-deps triton")
    done = run_script("--device", "cpu", "--check-only", interpret="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout
    assert done.stdout.count("ok ") == 18
