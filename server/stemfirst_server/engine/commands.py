"""What other threads may ask of the engine's thread.

Knows: the commands. Does not know how they are carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from stemfirst_server.engine.sequence import Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Submit:
    """Queue a sequence."""

    sequence: Sequence


@dataclass(frozen=True, slots=True)
class Abort:
    """End a request early."""

    request_id: str


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Something to do between two steps, in the engine's thread."""

    run: Callable[[], Any]
    outcome: Future[Any]

    def settle(self) -> None:
        """Run it and hand over the outcome, whatever it is.

        Raises:
            BaseException: one that is no `Exception`, which ends the engine too.
        """
        try:
            self.outcome.set_result(self.run())
        except BaseException as error:
            # Raised again in the thread that waits for the outcome.
            self.outcome.set_exception(error)
            if not isinstance(error, Exception):
                raise


@dataclass(frozen=True, slots=True)
class Stop:
    """End everything."""


Command = Submit | Abort | Job | Stop
