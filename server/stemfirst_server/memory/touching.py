"""Having the system hand out memory before a request waits for it.

Knows: memory is found by the system only when it is first written to, 4 KiB at a time; that costs
more than writing it, most of all on a virtual machine. glibc gives large freed blocks back at once,
so each step's temporary tensors were found anew: a sixth of a prefill. Does not know what memory
is for.

Where the system is not Linux, or the C library not glibc, nothing happens.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

_log = logging.getLogger("stemfirst.memory")

# glibc's names for them, in malloc.h. It takes no larger block from its heap than 32 MiB.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST_HEAP_BLOCK_BYTES = 32 * 2**20
_KEPT_BYTES = 256 * 2**20
# Linux 5.14: finds pages as a write would, and changes nothing in them; so others may write.
_MADV_POPULATE_WRITE = 23
_SLICE_BYTES = 2 * 2**20
LEAST_BYTES = 32 * 2**20
MOST_BYTES = 512 * 2**20


def keep_freed_memory() -> bool:
    """Have this process keep freed memory for its next tensors; return whether it can.

    At most 256 MiB of it, and only blocks of at most 32 MiB.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _MOST_HEAP_BLOCK_BYTES)
        and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    )


def touch_ahead(
    tensors: Sequence[torch.Tensor], *, most_bytes: int = MOST_BYTES
) -> threading.Thread | None:
    """Find the front of some tensors' memory in the background, the same share of each.

    What is in them stays as it is, and they may be written to meanwhile.

    Args:
        tensors: contiguous ones on the CPU.
        most_bytes: of all together; the rest is found when it is written to.

    Returns:
        The thread; None where it is not worth one, or cannot be done.
    """
    total = sum(tensor.nbytes for tensor in tensors)
    is_here = all(tensor.device.type == "cpu" for tensor in tensors)
    if not is_here or total < LEAST_BYTES or not sys.platform.startswith("linux"):
        return None
    share = min(1.0, most_bytes / total)
    thread = threading.Thread(
        target=_touch, args=(tuple(tensors), share), name="stemfirst-memory", daemon=True
    )
    thread.start()
    return thread


def _touch(tensors: tuple[torch.Tensor, ...], share: float) -> None:
    # ctypes lets other threads run during the call.
    libc = ctypes.CDLL(None, use_errno=True)
    longest = max(tensor.nbytes for tensor in tensors)
    for start in range(0, int(longest * share), _SLICE_BYTES):
        for tensor in tensors:
            # Whole pages inside the tensor.
            begin = -(-(tensor.data_ptr() + start) // mmap.PAGESIZE) * mmap.PAGESIZE
            last = tensor.data_ptr() + min(start + _SLICE_BYTES, int(tensor.nbytes * share))
            count = (last - begin) // mmap.PAGESIZE * mmap.PAGESIZE
            if count <= 0:
                continue
            where = (ctypes.c_void_p(begin), ctypes.c_size_t(count))
            if libc.madvise(*where, _MADV_POPULATE_WRITE) != 0:
                _log.debug("memory is found as it is used: error %d", ctypes.get_errno())
                return
