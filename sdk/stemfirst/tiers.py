"""The five tiers of stability. Knows their order and names, and nothing of prompts."""

from __future__ import annotations

from enum import IntEnum


class Tier(IntEnum):
    """How often a piece of a prompt changes, from never to always.

    The order is the order in which a prompt should be laid out: a piece may stand behind
    anything of its own tier or a lower one. Once its turn is over, `REQUEST` and `VOLATILE`
    text that is stored with that turn byte for byte is `SESSION` from then on.
    """

    STATIC = 0
    """Changes with a deployment."""
    TENANT = 1
    """Changes between customers, workspaces or users."""
    SESSION = 2
    """Grows by appending within one conversation."""
    REQUEST = 3
    """Changes with every request."""
    VOLATILE = 4
    """Differs between two identical calls: a clock, a random number, an unordered iteration."""

    @property
    def label(self) -> str:
        """The tier's name in lower case, as it is written on the wire and in config."""
        return self.name.lower()

    @classmethod
    def parse(cls, label: str) -> Tier:
        """Return the tier with this label.

        Raises:
            ValueError: `label` names no tier; the message lists those that exist.
        """
        try:
            return cls[label.upper()]
        except KeyError:
            known = ", ".join(tier.label for tier in cls)
            raise ValueError(f"no tier is called {label!r}; the tiers are {known}") from None
