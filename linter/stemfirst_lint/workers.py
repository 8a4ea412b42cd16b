"""Runs jobs in other processes where that is safe and pays, else here.

Knows forks and pipes; nothing of what a job does. A job whose process fails is run again here, so
that its error is raised where it belongs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_MAX_PROCESSES = 8
_TOGETHER_BYTES = 9_000_000
"""Source whose trees may be in memory at a time: about 40 bytes for each byte of it."""
_BESIDE_BYTES = 2_000_000
"""What may run beside a job that is larger than that, so that no processor waits for it."""
_kept: list[object] = []
"""What a job made: to free it takes longer than to end the process."""


def processes_for(size_bytes: int, worth_bytes: int) -> int:
    """Return how many processes to use for source of a size; 1: this one alone."""
    processes = min(os.cpu_count() or 1, _MAX_PROCESSES)
    if processes == 1 or size_bytes < worth_bytes or sys.platform != "linux":
        return 1
    from threading import active_count

    module = sys.modules.get("multiprocessing.process")
    if module is not None and module.current_process().daemon:
        return 1  # a daemon of somebody's pool may have no children
    # A fork needs no new interpreter; with threads about it is not safe.
    return processes if active_count() == 1 else 1


def in_processes(
    jobs: list[Callable[[], T]], processes: int, held_bytes: list[int] | None = None
) -> Iterator[tuple[int, T]]:
    """Yield the number and result of each job as it is done, a fork for each.

    Args:
        jobs: the largest first; what they return must survive pickling.
        processes: how many run at a time; with one, all run here and in order.
        held_bytes: how much source each holds the trees of; what would be too much together runs
            one after the other.
    """
    if processes == 1 or len(jobs) == 1:
        for number, job in enumerate(jobs):
            yield number, job()
        return
    import pickle
    from multiprocessing import get_context
    from multiprocessing.connection import Connection, wait

    context = get_context("fork")
    running: dict[Any, tuple[int, Any]] = {}
    waiting = list(range(len(jobs)))
    held = held_bytes or [0] * len(jobs)
    try:
        while running or waiting:
            while waiting and len(running) < processes:
                fit = _fitting(waiting, held, sum(held[other] for other, _ in running.values()))
                if fit is None:
                    break
                waiting.remove(fit)
                job = jobs[fit]
                receive, send = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(job, send), daemon=True)
                process.start()
                send.close()
                running[receive] = (fit, process)
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                number, process = running.pop(ready)
                try:
                    done = pickle.loads(ready.recv_bytes())  # noqa: S301 it comes from our fork
                except (EOFError, OSError):
                    done = None
                ready.close()
                process.join()
                yield number, jobs[number]() if done is None else done[0]
    finally:
        for receive, (_, process) in running.items():
            process.terminate()
            process.join()
            receive.close()


def _fitting(waiting: list[int], held: list[int], running_bytes: int) -> int | None:
    """The first of the jobs that wait and fit beside those that run; None to wait for one."""
    if not running_bytes:
        return waiting[0]
    free_bytes = max(_TOGETHER_BYTES - running_bytes, _BESIDE_BYTES)
    return next((number for number in waiting if held[number] <= free_bytes), None)


def _work(job: Callable[[], object], send: Any) -> None:
    import pickle

    try:
        result = job()
        send.send_bytes(pickle.dumps((result,), pickle.HIGHEST_PROTOCOL))
        _kept.append(result)
    except BaseException:  # noqa: BLE001, S110 the parent runs the job itself and sees why
        pass
    finally:
        send.close()
        os._exit(0)
