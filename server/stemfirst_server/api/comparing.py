"""Why a prompt does not continue an earlier one: OpenAI's and Anthropic's cache diagnostics.

Keeps the prompts of recent answers, by tenant and within a bound, and compares a new prompt with
the one that its client names. Both APIs know kinds of changes and no place; the place is in our own
report. Source: openai 3.54.0, `types/responses/response.py`; anthropic 2.12.0, `types/diagnostics`.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from stemfirst_server.engine.request import RequestReport, TokenArray
    from stemfirst_server.tokens.template import Conversation

MOST_BYTES = 32 * 2**20
"""Memory for the prompts of earlier answers."""

_ENTRY_BYTES = 900
"""What an entry takes beside its tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """What a prompt was made of.

    Attributes:
        space: its namespace: model, tenant and salt.
        tools: digest of the tools.
        system: digest of the system's messages at the beginning.
        token_ids: the prompt.
    """

    space: str
    tools: bytes
    system: bytes
    token_ids: TokenArray

    @property
    def nbytes(self) -> int:
        """Memory that keeping it takes."""
        return int(self.token_ids.nbytes) + _ENTRY_BYTES


def fingerprint(asked: Conversation, space: str, token_ids: TokenArray) -> Fingerprint:
    """Return what the prompt of a conversation was made of."""
    system = []
    for message in asked.messages:
        if message["role"] not in ("system", "developer"):
            break
        system.append(message)
    return Fingerprint(space, _digest(asked.tools), _digest(system), token_ids)


class Earlier:
    """Prompts of earlier answers; the oldest go first. For one thread, the event loop's.

    Invariant: `nbytes` is what the entries take, and at most `most_bytes`.
    """

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self.nbytes = 0
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[str, str], Fingerprint] = OrderedDict()

    def keep(self, tenant: str, answer_id: str, prompt: Fingerprint) -> None:
        """Remember the prompt of an answer."""
        if prompt.nbytes > self._most_bytes:
            return
        self._kept[tenant, answer_id] = prompt
        self.nbytes += prompt.nbytes
        while self.nbytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.nbytes -= oldest.nbytes

    def find(self, tenant: str, answer_id: str) -> Fingerprint | None:
        """Return the prompt of an answer to this tenant, if it is still known."""
        return self._kept.get((tenant, answer_id))

    def check(self) -> None:
        """The class's invariant."""
        assert self.nbytes == sum(prompt.nbytes for prompt in self._kept.values())
        assert self.nbytes <= self._most_bytes


@dataclass(frozen=True, slots=True)
class Comparison:
    """A prompt beside the earlier one that its client named.

    Attributes:
        is_found: whether the earlier one is known.
        change: `space`, `tools`, `system` or `messages`; None: the earlier prompt goes on.
        prompt_tokens: of the new one.
        shared_tokens: at the beginning of both.
        earlier_tokens: of the earlier one.
    """

    is_found: bool
    change: str | None = None
    prompt_tokens: int = 0
    shared_tokens: int = 0
    earlier_tokens: int = 0

    def openai(self, counted: RequestReport, page: int) -> dict[str, Any]:
        """Return `prompt_cache_diagnostics`."""
        if not self.is_found:
            return {"type": "comparison_response_not_found"}
        if self.change is None:
            # Whole pages are kept, and the last token is always computed.
            kept = min(self.shared_tokens, self.prompt_tokens - 1) // page * page
            is_hit = counted.cached_tokens >= kept
            # The prompt is the same and the cache had lost it: the API has no word for that.
            return {"type": "cache_hit" if is_hit else "unavailable"}
        return {
            "type": "cache_miss",
            "reason": _OPENAI[self.change],
            "cache_missed_tokens": self.prompt_tokens - self.shared_tokens,
            "comparison_reusable_tokens": self.shared_tokens,
        }

    def anthropic(self) -> dict[str, Any] | None:
        """Return `diagnostics`; None: no divergence."""
        if not self.is_found:
            return {"cache_miss_reason": {"type": "previous_message_not_found"}}
        if self.change is None:
            return None
        if self.change == "space":
            return {"cache_miss_reason": {"type": "unavailable"}}
        return {
            "cache_miss_reason": {
                "type": f"{self.change}_changed",
                "cache_missed_input_tokens": self.earlier_tokens - self.shared_tokens,
            }
        }


_OPENAI = {
    # A salt separates caches here, as that API's key does there.
    "space": "prompt_cache_key_changed",
    "tools": "tools_changed",
    "system": "input_changed",
    "messages": "input_changed",
}


def compare(earlier: Fingerprint | None, now: Fingerprint) -> Comparison:
    """Return how a prompt differs from an earlier one."""
    if earlier is None:
        return Comparison(False)
    shared = _shared(earlier.token_ids, now.token_ids)
    if earlier.space != now.space:
        change, shared = "space", 0
    elif shared == len(earlier.token_ids):
        change = None
    elif earlier.tools != now.tools:
        change = "tools"
    elif earlier.system != now.system:
        change = "system"
    else:
        change = "messages"
    return Comparison(True, change, len(now.token_ids), shared, len(earlier.token_ids))


def _shared(one: TokenArray, other: TokenArray) -> int:
    length = min(len(one), len(other))
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else length


def _digest(value: object) -> bytes:
    text = json.dumps(value, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
