"""Sessions against an endpoint, so many at once or when their time has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stemfirst_server.bench.asking import Endpoint, Outcome
from stemfirst_server.bench.workloads import Session


async def run(
    sessions: Sequence[Session],
    endpoint: Endpoint,
    *,
    model: str,
    concurrency: int,
    extra: Mapping[str, Any],
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[list[Outcome], float]:
    """Return what came of each request, and the seconds that all took.

    Args:
        sessions: those with a time start then, the others as soon as there is room.
        endpoint: where to ask.
        model: by the server's name.
        concurrency: most sessions at once.
        extra: fields of every body.
        on_outcome: told each outcome as it comes.
    """
    room = asyncio.Semaphore(concurrency)
    outcomes: list[Outcome] = []
    started_at = time.perf_counter()

    async def live(session: Session) -> None:
        async with room:
            messages: list[dict[str, Any]] = []
            if session.system:
                messages.append({"role": "system", "content": session.system})
            for turn in session.turns:
                messages.append({"role": "user", "content": turn.text})
                outcome = await endpoint.ask(
                    messages,
                    model=model,
                    output_tokens=turn.output_tokens,
                    started_at=started_at,
                    extra=extra,
                )
                outcomes.append(outcome)
                on_outcome(outcome)
                if outcome.error is not None:
                    return  # what would follow is another conversation
                messages.append({"role": "assistant", "content": outcome.text})

    async with asyncio.TaskGroup() as group:
        for session in sessions:
            if session.at_s is not None:
                await asyncio.sleep(max(0.0, started_at + session.at_s - time.perf_counter()))
            group.create_task(live(session))
    return outcomes, time.perf_counter() - started_at
