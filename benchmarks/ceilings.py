"""What a device can do at most: a large matrix product, and a large copy.

Used by the benchmarks, so that a share of a ceiling is of this device in this run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def timed_ms(run: Callable[[], object], device: torch.device, *, repeats: int = 20) -> float:
    """Return the median milliseconds of a call, after warming up."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        else:
            started = time.perf_counter()
            run()
            times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def matmul_flops(device: torch.device, dtype: torch.dtype, extent: int) -> float:
    """Return floating-point operations a second of the best of three large products."""
    best = 0.0
    for rows in (extent // 2, extent, 2 * extent):
        # Random, not zeros: some devices are faster on zeros.
        left = torch.randn(rows, extent, dtype=dtype, device=device)
        right = torch.randn(extent, extent, dtype=dtype, device=device)
        ms = timed_ms(lambda a=left, b=right: a @ b, device)  # type: ignore[misc]
        best = max(best, 2 * rows * extent * extent / (ms / 1e3))
    return best


def copy_bytes(device: torch.device, size: int) -> float:
    """Return bytes a second, read and written, of a copy much larger than any cache."""
    source = torch.randint(0, 127, (size,), dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    return 2 * size / (timed_ms(lambda: target.copy_(source), device) / 1e3)
