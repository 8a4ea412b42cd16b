"""stemfirst: keep the stable part of every prompt first, and see what that saved.

Names are resolved when they are first used, so that `import stemfirst` stays light.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst.calls import sending as sending
    from stemfirst.client import AsyncClient as AsyncClient
    from stemfirst.client import Client as Client
    from stemfirst.conversation import Conversation as Conversation
    from stemfirst.errors import ClientError as ClientError
    from stemfirst.errors import HistoryChangedError as HistoryChangedError
    from stemfirst.errors import InversionError as InversionError
    from stemfirst.errors import MissingValueError as MissingValueError
    from stemfirst.errors import PromptError as PromptError
    from stemfirst.errors import StemfirstError as StemfirstError
    from stemfirst.ledgers import Ledger as Ledger
    from stemfirst.ledgers import ledger as ledger
    from stemfirst.ledgers import process_ledger as process_ledger
    from stemfirst.messages import file as file
    from stemfirst.messages import image as image
    from stemfirst.ordering import order_for_sharing as order_for_sharing
    from stemfirst.prompt import Hole as Hole
    from stemfirst.prompt import Message as Message
    from stemfirst.prompt import Origin as Origin
    from stemfirst.prompt import Prompt as Prompt
    from stemfirst.prompt import Rendered as Rendered
    from stemfirst.prompt import Segment as Segment
    from stemfirst.prompt import Tool as Tool
    from stemfirst.prompt import assistant as assistant
    from stemfirst.prompt import hole as hole
    from stemfirst.prompt import request as request
    from stemfirst.prompt import session as session
    from stemfirst.prompt import static as static
    from stemfirst.prompt import system as system
    from stemfirst.prompt import tenant as tenant
    from stemfirst.prompt import tool as tool
    from stemfirst.prompt import user as user
    from stemfirst.prompt import volatile as volatile
    from stemfirst.recording import record as record
    from stemfirst.savings import Savings as Savings
    from stemfirst.savings import savings_of as savings_of
    from stemfirst.templates import JinjaPrompt as JinjaPrompt
    from stemfirst.tiers import Tier as Tier
    from stemfirst.watching import instrument as instrument

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(("AsyncClient", "Client"), "stemfirst.client"),
    **dict.fromkeys(
        (
            "ClientError",
            "HistoryChangedError",
            "InversionError",
            "MissingValueError",
            "PromptError",
            "StemfirstError",
        ),
        "stemfirst.errors",
    ),
    **dict.fromkeys(("Ledger", "ledger", "process_ledger"), "stemfirst.ledgers"),
    **dict.fromkeys(
        (
            "Hole",
            "Message",
            "Origin",
            "Prompt",
            "Rendered",
            "Segment",
            "Tool",
            "assistant",
            "hole",
            "request",
            "session",
            "static",
            "system",
            "tenant",
            "tool",
            "user",
            "volatile",
        ),
        "stemfirst.prompt",
    ),
    **dict.fromkeys(("file", "image"), "stemfirst.messages"),
    **dict.fromkeys(("Savings", "savings_of"), "stemfirst.savings"),
    "Conversation": "stemfirst.conversation",
    "JinjaPrompt": "stemfirst.templates",
    "Tier": "stemfirst.tiers",
    "order_for_sharing": "stemfirst.ordering",
    "record": "stemfirst.recording",
    "instrument": "stemfirst.watching",
    "sending": "stemfirst.calls",
}

# What needs an extra is left to explicit imports, so that a star import always works.
__all__ = sorted(name for name in _HOME if _HOME[name] != "stemfirst.client")


def __getattr__(name: str) -> object:
    """Import the module that holds `name` and return it from there."""
    if name not in _HOME:
        raise AttributeError(f"module 'stemfirst' has no attribute {name!r}")
    try:
        home = import_module(_HOME[name])
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "openai":
            raise ModuleNotFoundError(
                f'stemfirst.{name} needs the package openai: pip install "stemfirst[client]"',
                name="openai",
            ) from None
        raise
    value = getattr(home, name)
    # A function may share its module's name (`ledger`); the import system has bound the module.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
