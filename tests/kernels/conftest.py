"""The kernels run on the device where there is one, and else in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import os

import pytest

HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_TRITON = importlib.util.find_spec("triton") is not None

if HAS_TORCH and HAS_TRITON:
    import torch

    if not torch.cuda.is_available():
        # Read when a kernel is defined, so before any test module is imported.
        os.environ["TRITON_INTERPRET"] = "1"
elif not HAS_TORCH:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def device() -> torch.device:
    torch.set_num_threads(1)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
