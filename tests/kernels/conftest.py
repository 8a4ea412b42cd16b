"""The kernels run on the device where there is one, and else in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import os

import pytest

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    torch.set_num_threads(1)
    has_device = torch.cuda.is_available()
    if has_device == (os.environ.get("TRITON_INTERPRET") == "1"):
        pytest.fail("set TRITON_INTERPRET=1 to test without a device, and unset it with one")
    return torch.device("cuda" if has_device else "cpu")
