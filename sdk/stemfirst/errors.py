"""What can go wrong in the SDK, as one tree.

StemfirstError
├── PromptError            a prompt cannot be built or rendered
│   ├── InversionError     a less stable segment stands before a more stable one
│   ├── MissingValueError  a hole got no value at render
│   └── HistoryChangedError  a past turn is not what was sent
├── UnknownPriceError      no dated price is known for a model
├── ServerStartError       a server that was to be started did not come up
├── DemoError              the demo cannot be shown
└── ClientError            the client was used in a way that it cannot serve
"""

from __future__ import annotations


class StemfirstError(Exception):
    """Base of every error that the SDK raises itself."""


class PromptError(StemfirstError, ValueError):
    """A prompt cannot be built or rendered from what was given."""


class InversionError(PromptError):
    """A less stable segment stands before a more stable one; the message shows the order."""


class MissingValueError(PromptError, KeyError):
    """A hole got no value at render; the message names the hole and its place."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which hides line breaks and quotes names.
        return str(self.args[0]) if self.args else ""


class HistoryChangedError(PromptError):
    """A past turn is not what was sent; the message names it and shows both texts."""


class UnknownPriceError(StemfirstError, LookupError):
    """No dated price is known for a model."""


class ClientError(StemfirstError):
    """The client was used in a way that it cannot serve."""
