"""The kernels compile for GPUs, and take no more of one than it has."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the kernels need triton: pip install --no-deps triton")

pytestmark = pytest.mark.needs_server

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kernel_resources.py"


def compile_for(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # In the interpreter there is nothing to compile, and an old cache would hide a broken kernel.
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path),
        "TRITON_DEFAULT_FP_FUSION": "1",
    }
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_kernel_compiles_and_keeps_to_its_registers(tmp_path: Path) -> None:
    done = compile_for(tmp_path, "--shape", "llama-8b", "--capability", "90")
    assert done.returncode == 0, done.stderr
    found = {kernel["kernel"]: kernel for kernel in map(json.loads, done.stdout.splitlines())}
    assert set(found) == {"_store", "_extend", "_decode", "_merge"}
    assert all(kernel["local_bytes"] == 0 for kernel in found.values())
    assert found["_extend"]["is_on_tensor_cores"]
    assert found["_decode"]["is_on_tensor_cores"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_shape_of_the_table_fits_the_smallest_device(tmp_path: Path) -> None:
    done = compile_for(tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_unknown_shape_is_named_with_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kernel_resources.py", "--shape", "llama-9b"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT))["main"]()
    assert stopped.value.code == 2
    assert "no shape is called 'llama-9b'; there are llama-8b" in capsys.readouterr().err
