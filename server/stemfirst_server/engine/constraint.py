"""What an output may be: a grammar, one token after another.

Knows the boundary between the sampler and whoever compiles grammars. Does not know grammars, JSON
or tokenizers; importing it does not load torch.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]


class ConstraintState(Protocol):
    """Where one output stands in its grammar; used by one thread at a time."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing more may follow, so that the output ends here."""
        ...

    def allowed(self) -> BoolArray:
        """Return which tokens may come next: `(tokens,)`, which may be fewer than the logits.

        Raises:
            RequestFailedError: the grammar grew too complex to follow.
        """
        ...

    def accept(self, token_id: int) -> None:
        """Go on by a token that was allowed.

        Raises:
            RequestFailedError: it was not.
        """
        ...


class Constraint(Protocol):
    """A compiled grammar; any number of outputs may follow it."""

    def begin(self) -> ConstraintState:
        """Return the state of an output that has not begun."""
        ...
