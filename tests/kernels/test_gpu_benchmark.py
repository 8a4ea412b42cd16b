"""`benchmarks/gpu.py` on a machine without a GPU."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytestmark = [
    pytest.mark.needs_server,
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: run it instead"),
]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = ("--device", "cpu", "--model", "tiny", "--dtype", "float32")


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the script's `main` here: a process of its own spends its time importing torch."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("TRITON_INTERPRET", "0")

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
        exit_code = runpy.run_path(str(BENCHMARKS / "gpu.py"))["main"]()
        assert isinstance(exit_code, int)
        return exit_code

    return run


def test_without_a_device_it_says_so_in_one_line_and_fails(
    run_script: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("no CUDA device (torch ")
    assert said.err.count("\n") == 1


def test_a_tiny_model_goes_through_every_part(
    run_script: Callable[..., int], tmp_path: Path
) -> None:
    pytest.importorskip("triton", reason="decode at fixed addresses stands beside the kernels")
    numbers = tmp_path / "numbers.json"
    load = ("--cached", "64", "--streams", "1", "2", "--prompt-tokens", "20")
    assert run_script(*TINY, *load, "--output-tokens", "4", "--json", str(numbers)) == 0
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
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), "--device", "cpu", "--check-only"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout
    assert done.stdout.count("ok ") == 54  # 18 shapes, KV as it is, in int8 and in fp8
