"""How many tokens a model's requests may have, prompt and answer together.

Knows: what a configuration declares, and that some rotary frequencies depend on the longest request
of a batch: KV computed in a short request would differ from KV computed in a long one. Below the
length that such a model was first trained with they are fixed, so that is where its context ends
here. Does not know memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stemfirst_server.errors import UnsupportedModelError

_LENGTH_DEPENDENT_ROPE = frozenset({"dynamic", "longrope"})
_UNDECLARED_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Context:
    """A model's context.

    Attributes:
        tokens: that can be served.
        declared_tokens: that the configuration declares; more, where rotary frequencies depend on
            the length.
    """

    tokens: int
    declared_tokens: int

    @property
    def shortened(self) -> str | None:
        """Why it is shorter than declared; None if it is not."""
        if self.tokens == self.declared_tokens:
            return None
        return (
            f"the context is {self.tokens} of {self.declared_tokens} tokens: beyond them this "
            "model's rotary frequencies depend on a request's length, so nothing could be shared"
        )

    def limited(self, asked: int | None) -> int:
        """Return the context to serve.

        Raises:
            UnsupportedModelError: more is asked for than there is, or nothing.
        """
        if asked is None:
            return self.tokens
        if not 1 <= asked <= self.tokens:
            why = f"; {self.shortened}" if asked > self.tokens and self.shortened else ""
            raise UnsupportedModelError(
                f"the context must be between 1 and the model's {self.tokens} tokens, got "
                f"{asked}{why}"
            )
        return asked


def context_of(config: Any) -> Context:
    """Return the context of a transformers configuration."""
    text = config.get_text_config()
    declared = int(getattr(text, "max_position_embeddings", None) or _UNDECLARED_TOKENS)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    # One for all layers, or one for each kind of them.
    parts = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    outer = getattr(text, "original_max_position_embeddings", None)
    originals = [
        part.get("original_max_position_embeddings")
        or rope.get("original_max_position_embeddings")
        or outer
        or declared
        for part in parts
        if part.get("rope_type") in _LENGTH_DEPENDENT_ROPE
    ]
    return Context(min([declared, *map(int, originals)]), declared)
