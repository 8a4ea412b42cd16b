"""One call as a ledger holds it. Knows how far it has come; not who made it, or what is summed."""

from __future__ import annotations

from enum import Enum

from stemfirst.rendered import Rendered
from stemfirst.savings import Savings


class Status(Enum):
    """How far a call has come."""

    OPEN = "open"
    """The answer is still streaming, or was dropped unread."""
    COMPLETE = "complete"
    CUT_OFF = "cut off"
    """The stream ended, or was closed, before its usage came."""
    FAILED = "failed"
    """The call raised."""


NOTHING_YET = Savings(is_complete=False)
"""What is known of a call that was not answered."""


class Entry:
    """One call in a ledger. Written once by the call, from OPEN to one of the other states."""

    __slots__ = ("labels", "prompt", "savings", "status")

    def __init__(self, rendered: Rendered | None = None) -> None:
        self.status = Status.OPEN
        self.savings = NOTHING_YET
        self.prompt = rendered.title if rendered else None
        """What the prompt is called; None for messages that were built by hand."""
        self.labels = {item.id: item.label for item in rendered.segments} if rendered else {}
        """What each of the prompt's segments is called, by its id."""

    @property
    def is_closed(self) -> bool:
        """Whether the call is over, whatever became of it."""
        return self.status is not Status.OPEN

    def close(self, status: Status, savings: Savings | None = None) -> None:
        """Settle the entry; a second call changes nothing."""
        if self.status is Status.OPEN:
            self.savings = savings or self.savings
            self.status = status
