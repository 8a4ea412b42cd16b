"""One request inside the engine: its tokens, its pages and its account.

Knows: what is computed, which pages hold it and who owns them, and the times for the report.
Does not know other requests, tensors, or when it will run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import numpy as np

from stemfirst_server.engine.drafting import Drafter
from stemfirst_server.engine.request import ChunkSpan, Event, GenerationRequest, RequestReport
from stemfirst_server.engine.sampling import Sampler
from stemfirst_server.memory.node import TOKEN_BYTES, Node, PageArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_server.memory.arrival import BroughtBack
    from stemfirst_server.steering.history import Gone

_NO_PAGES: PageArray = np.empty(0, dtype=np.int32)


class Phase(Enum):
    """Where a sequence is."""

    WAITING = auto()
    RUNNING = auto()
    DONE = auto()


class Sequence:
    """A request's state; only the engine's thread touches it.

    Its row of pages is cut in two: `[0, shared)` is cached and locked through `node`, the rest
    is held by this sequence alone. `computed` tokens have their KV in the row. The engine
    computes `tokens[computed:]`; when nothing is left of it, the last logits give the next token.

    Attributes:
        node: the locked end of the shared part; None while it waits.
        computed: tokens whose KV stands in the row.
        limit_tokens: prompt and output together end here.
        end_tokens: the answer ends with the first of these.
        drafter: guesses its next tokens; None guesses none.
    """

    def __init__(
        self,
        request: GenerationRequest,
        on_event: Callable[[Event], None],
        *,
        order: int,
        limit_tokens: int,
        submitted_at: float,
        end_tokens: frozenset[int] = frozenset(),
        speculate_tokens: int = 0,
    ) -> None:
        self.request = request
        self.on_event = on_event
        self.order = order
        self.limit_tokens = limit_tokens
        self.sampler = Sampler(request.sampling, request.constraint)
        params = request.sampling
        self.end_tokens = frozenset(params.stop_token_ids) | (
            frozenset() if params.ignore_eos else end_tokens
        )
        self.drafter = Drafter(speculate_tokens, self.end_tokens) if speculate_tokens else None
        self.phase = Phase.WAITING
        self.prompt_tokens = len(request.token_ids)
        self.output: list[int] = []
        self._buffer = np.empty(self.prompt_tokens + 64, dtype=np.int32)
        self._buffer[: self.prompt_tokens] = request.token_ids
        self._data: bytes | None = None

        self.node: Node | None = None
        self.computed = 0
        self.shared_pages = 0
        self._row = _NO_PAGES
        self.row_pages = 0

        self.submitted_at = submitted_at
        self.started_at: float | None = None
        self.first_token_at: float | None = None
        self.last_token_at: float | None = None
        self.spans: list[ChunkSpan] = []
        self.cached_tokens = 0
        self.computed_prompt_tokens = 0
        self.cache_write_tokens = 0
        self.divergence_token = 0
        self.is_diverged = False
        self.gone: Gone | None = None
        self.preemptions = 0
        self.load_ms = 0.0
        self._host_tokens = 0
        self._disk_tokens = 0

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.request.request_id

    @property
    def length(self) -> int:
        """Tokens of prompt and output."""
        return self.prompt_tokens + len(self.output)

    @property
    def remaining(self) -> int:
        """Tokens to compute before the next one can be chosen; at least 1."""
        return self.length - self.computed

    @property
    def accounted_tokens(self) -> int:
        """Prompt tokens that are counted as cached or as computed already."""
        return self.cached_tokens + self.computed_prompt_tokens

    @property
    def is_prefilling(self) -> bool:
        """Whether more than the newest token is left to compute."""
        return self.computed < self.length - 1

    @property
    def tokens(self) -> np.ndarray:
        """`(length,)` int32: prompt and output."""
        return self._buffer[: self.length]

    @property
    def data(self) -> bytes:
        """Prompt and output as the tree's bytes."""
        if self._data is None or len(self._data) != self.length * TOKEN_BYTES:
            self._data = self.tokens.tobytes()
        return self._data

    @property
    def row(self) -> PageArray:
        """`(row_pages,)` int32: its pages in order; writable."""
        return self._row[: self.row_pages]

    @property
    def held(self) -> PageArray:
        """The pages that belong to this sequence alone."""
        return self._row[self.shared_pages : self.row_pages]

    def append_token(self, token_id: int) -> None:
        """Add a generated token."""
        length = self.length
        if length == len(self._buffer):
            self._buffer = np.concatenate([self._buffer, np.empty(length, dtype=np.int32)])
        self._buffer[length] = token_id
        self.output.append(token_id)

    def begin(self, node: Node, pages: PageArray, page: int) -> None:
        """Start from a cached prefix, already locked."""
        self.phase = Phase.RUNNING
        self.node = node
        self.computed = len(pages) * page
        self.shared_pages = self.row_pages = len(pages)
        self._row = pages.copy()

    def add_pages(self, pages: PageArray) -> None:
        """Append pages that it now holds."""
        end = self.row_pages + len(pages)
        if end > len(self._row):
            grown = np.empty(max(end, 2 * len(self._row)), dtype=np.int32)
            grown[: self.row_pages] = self.row
            self._row = grown
        self._row[self.row_pages : end] = pages
        self.row_pages = end

    def drop_pages(self, keep: int) -> PageArray:
        """Cut the row to its first `keep` pages; return the rest, for the caller to free."""
        assert keep >= self.shared_pages, "what is shared stays"
        dropped = self._row[keep : self.row_pages].copy()
        self.row_pages = min(self.row_pages, keep)
        return dropped

    def end(self, phase: Phase) -> None:
        """Let go of the row; the caller has released its pages and its lock."""
        self.phase = phase
        self.node = None
        self.computed = self.shared_pages = self.row_pages = 0
        self._row = _NO_PAGES

    def brought_back(self, brought: BroughtBack) -> None:
        """Count what came from elsewhere for it."""
        self.load_ms += brought.ms
        self._host_tokens += brought.host_tokens
        self._disk_tokens += brought.disk_tokens

    def report(self, now: float) -> RequestReport:
        """Return the account up to `now`, a `time.perf_counter`."""
        started = self.started_at if self.started_at is not None else now
        first, last = self.first_token_at, self.last_token_at
        # Brought back twice, or more than was used, counts no more than what was used.
        disk_tokens = min(self._disk_tokens, self.cached_tokens)
        host_tokens = min(self._host_tokens, self.cached_tokens - disk_tokens)
        return RequestReport(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            computed_tokens=self.computed_prompt_tokens,
            cache_write_tokens=self.cache_write_tokens,
            output_tokens=len(self.output),
            divergence_token=self.divergence_token,
            is_diverged=self.is_diverged,
            gone=self.gone,
            queue_ms=(started - self.submitted_at) * 1e3,
            prefill_ms=sum(span.ms for span in self.spans),
            load_ms=self.load_ms + self.request.prefetch_ms,
            ttft_ms=None if first is None else (first - self.submitted_at) * 1e3,
            decode_ms=0.0 if first is None or last is None else (last - first) * 1e3,
            total_ms=(now - self.submitted_at) * 1e3,
            preemptions=self.preemptions,
            chunks=tuple(self.spans),
            host_tokens=host_tokens,
            disk_tokens=disk_tokens,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """`new_tokens` of one sequence, its pages taken.

    The last of them may be a guess: `draft`, the tokens that would follow if it came true.
    """

    sequence: Sequence
    new_tokens: int
    draft: tuple[int, ...] = ()

    @property
    def known_tokens(self) -> int:
        """Tokens that are no guess; at least 1."""
        return self.new_tokens - len(self.draft)


def slots_of(sequence: Sequence, start: int, end: int, page: int) -> np.ndarray:
    """Return `(end - start,)` int64 slots of a sequence's tokens."""
    position = np.arange(start, end)
    slots: np.ndarray = sequence.row[position // page].astype(np.int64) * page + position % page
    return slots
