"""Memory is found before it is needed, and what is in it stays."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from stemfirst_server.memory import touching
from stemfirst_server.memory.touching import touch_ahead

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told")
MIB = 2**20


def faults(source: str) -> int:
    """Return the page faults that a process of its own counts between `before` and the end."""
    program = f"import resource, numpy as np, torch\n{textwrap.dedent(source)}\n" + textwrap.dedent(
        """
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        """
    )
    # So that what is freed goes back at once, unless the program says otherwise.
    given_back = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | given_back,
    )
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_steps_memory_is_there_for_the_next(is_kept: bool) -> None:
    found = faults(
        f"""
        from stemfirst_server.memory.touching import keep_freed_memory
        assert {is_kept} is False or keep_freed_memory()
        def step():
            parts = [torch.ones({MIB}) for _ in range(4)]
            del parts
        for _ in range(3):
            step()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(4):
            step()
        """
    )
    # 16 MiB a step are 4,096 pages.
    assert found < 1000 if is_kept else found > 4000


def test_only_the_front_of_each_tensor_is_found_and_nothing_is_lost() -> None:
    # No huge pages: each of 4 KiB counts.
    maps = [mmap.mmap(-1, 32 * MIB) for _ in range(2)]
    for one in maps:
        one.madvise(mmap.MADV_NOHUGEPAGE)
    tensors = [torch.from_numpy(np.frombuffer(one, dtype=np.uint8)) for one in maps]
    tensors[0][:10] = 7
    before = resident()
    thread = touch_ahead(tensors, most_bytes=16 * MIB)
    assert thread is not None
    tensors[1][-10:] = 9
    thread.join(timeout=60)
    assert tensors[0][:12].tolist() == [7] * 10 + [0, 0]
    assert tensors[1][-12:].tolist() == [0, 0] + [9] * 10
    assert 14 * MIB <= resident() - before <= 24 * MIB


def resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * mmap.PAGESIZE


def test_little_memory_is_not_worth_a_thread() -> None:
    assert touch_ahead([torch.zeros(touching.LEAST_BYTES // 8)]) is None
    assert touch_ahead([torch.zeros(touching.LEAST_BYTES, device="meta")]) is None
