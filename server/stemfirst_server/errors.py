"""The exception tree of the server: what can go wrong between a request and its tokens.

    ServerError
    ├── ModelLoadError            a model that cannot be served
    │   ├── ModelFilesError       missing, half-downloaded or unreadable files
    │   └── UnsupportedModelError it loads, but our attention would not be exact for it
    ├── InvalidRequestError       the request can never succeed as it stands
    │   ├── ContextLengthError    more tokens than the model, or the pool, can hold
    │   └── PrefixUnknownError    it stands on a prefix that is not kept here; send it in full
    ├── ConfigError               a setting of the server itself is out of range
    ├── OverloadedError           no room for this request now
    ├── DrainingError             nothing new is taken for now, by an operator's wish
    ├── RequestFailedError        this one request broke; all others go on
    │   └── FormatFailedError     it asked for a format that cannot be followed to its end
    └── EngineStoppedError        nobody is there to do the work

Knows: which fault it was, and a message fit for the person who meets it. Does not know HTTP: the
API maps these classes to statuses. A message never holds a traceback; those of
`InvalidRequestError` and `RequestFailedError` never hold a path either, since clients read them.
"""

from __future__ import annotations


class ServerError(Exception):
    """Anything that the server raises on purpose."""


class ModelLoadError(ServerError):
    """The model cannot be served; the message says in one sentence why and what to do."""


class ModelFilesError(ModelLoadError):
    """The model's files are missing, half-downloaded or unreadable."""


class UnsupportedModelError(ModelLoadError):
    """The model fails one of the load gates, so its answers could be silently wrong."""


class InvalidRequestError(ServerError):
    """The request is wrong in itself; sending it again will not help.

    Attributes:
        parameter: the offending field as the API names it, or None.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class ContextLengthError(InvalidRequestError):
    """Prompt and requested output need more tokens than the context or the pool holds."""


class PrefixUnknownError(InvalidRequestError):
    """The request names a prefix instead of sending it, and nothing is kept under that name."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}: send the request in full", parameter="stemfirst.ref")


class ConfigError(ServerError):
    """A setting of the server is out of range."""


class OverloadedError(ServerError):
    """There is no room now; the same request may succeed later.

    Attributes:
        reason: `queue_full`, `bodies_too_large`, or a tenant's: `tenant_limit`, `tenant_streams`,
            `tenant_requests`, `tenant_tokens`.
        retry_after_s: whole seconds after which trying again makes sense.
    """

    def __init__(self, message: str, *, reason: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class DrainingError(ServerError):
    """Nothing new is taken for now."""


class RequestFailedError(ServerError):
    """One accepted request could not be completed; the engine goes on with all others."""


class FormatFailedError(RequestFailedError):
    """The format that was asked for cannot be followed to its end; the request is at fault."""

    BEGINS = "the asked format could not be followed"

    def __init__(self, fault: str) -> None:
        super().__init__(fault if fault.startswith(self.BEGINS) else f"{self.BEGINS}: {fault}")


class EngineStoppedError(ServerError):
    """The engine is not running: not started yet, stopped, or stopping."""
