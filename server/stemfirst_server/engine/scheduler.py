"""Who runs next: admission, chunks, and who gives way when memory is short.

Knows: waiting and running sequences, their pages, and the tree. Does not know tensors or time
(the clock is passed in).

The rules:
- Running requests decode in every step; the rest of the step's budget goes to prefill chunks,
  oldest admission first. Of a step that one long prompt would fill, half goes to waiting ones
  that fit into it whole; what they leave goes back.
- Of the waiting, the longest cached prefix goes first: it is the cheapest and keeps its pages
  from eviction. Each second of waiting counts as `_AGEING_TOKENS` of prefix, so nobody starves;
  after `_MOST_AGE_S` it is strictly first come, first served.
- A request whose next page is being computed by another one waits for it, and then hits.
- A decoding request may add a guess at what follows, to be checked in the same step: only into
  pages that nobody must give way for, and all guesses together take a share of the budget.
- Admission asks for pages for the whole prefill, so that prefills do not push each other out.
  Decoding may run out of pages nevertheless: then the youngest gives way. What it had computed
  goes to the cache, so that it costs little to go on if nobody needs the pages meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemfirst_server.engine.sequence import Phase, Sequence, Work
from stemfirst_server.memory.divergence import divergence
from stemfirst_server.memory.node import TOKEN_BYTES
from stemfirst_server.steering.pins import Pins

if TYPE_CHECKING:
    from stemfirst_server.engine.config import EngineConfig
    from stemfirst_server.memory.arrival import Source
    from stemfirst_server.memory.cache import PageCache
    from stemfirst_server.memory.divergence import Divergence
    from stemfirst_server.memory.node import Match
    from stemfirst_server.steering.history import History

_AGEING_TOKENS = 1000.0
_MOST_AGE_S = 10.0
_PRIORITY_S = 0.1
# Matching is microseconds, but it is done for each waiting request before each admission.
_MOST_LOOKUPS = 64
_STEPS_TO_WIDEN = 100
# Of a step's budget, for all guesses together: the rest is prefill's.
_DRAFT_SHARE = 4


class Scheduler:
    """Sequences by phase, and the pages that they have.

    Invariant: a waiting sequence has no pages and no lock; a running one has locked its node and
    holds exactly the pages behind it that its tokens need, or are about to need in this step.
    Not thread-safe: the engine's thread owns it.

    Attributes:
        sources: what a match may gain from, asked in this order before each.
        history: what was cached once, to tell a request what it might have found.
    """

    def __init__(self, cache: PageCache, config: EngineConfig) -> None:
        self.cache = cache
        self.sources: tuple[Source, ...] = ()
        self.history: History | None = None
        self.pins = Pins(cache)
        self.page = cache.page
        self.config = config
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.preemptions = 0
        self.drafted_tokens = self.accepted_tokens = 0
        # Matches and chunks end at multiples of this.
        self._grain = config.chunk_tokens if config.is_deterministic else cache.page
        self._most_tokens = config.chunk_tokens
        self._steps_since_shortage = 0

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence."""
        self.waiting.append(sequence)

    def plan(self, now: float) -> tuple[Work, ...]:
        """Return the next step's work, pages taken; empty if there is nothing to do.

        May admit waiting sequences and preempt running ones.
        """
        self.pins.expire(now)
        decodes = [s for s in self.running if not s.is_prefilling]
        work: dict[int, Work] = {}
        draft_budget = self._most_tokens // _DRAFT_SHARE
        for sequence in decodes:
            # An earlier one in this loop may have pushed it out.
            if sequence.phase is not Phase.RUNNING:
                continue
            draft = self._draft(sequence, draft_budget)
            if self._take_pages(sequence, 1 + len(draft), work):
                work[sequence.order] = Work(sequence, 1 + len(draft), draft)
                draft_budget -= len(draft)
        budget = self._most_tokens - (self._most_tokens // _DRAFT_SHARE - draft_budget)
        prefills = [s for s in self.running if s.is_prefilling]
        kept = self._kept_for_short_ones(prefills, budget)
        for sequence in prefills:
            if budget <= kept:
                break
            budget -= self._add_chunk(sequence, budget - kept, work)
        while budget > 0 and self.waiting and len(self.running) < self.config.max_running:
            admitted = self._admit(now, most_tokens=budget if kept else None)
            if admitted is None:
                break
            tokens = self._add_chunk(admitted, budget, work)
            if not tokens:
                break
            budget -= tokens
        if kept and budget > 0 and prefills[0].order in work:
            self._add_chunk(prefills[0], work[prefills[0].order].new_tokens + budget, work)
        return tuple(work.values())

    def computed(self, work: Work) -> None:
        """Note that a piece of work is done: its KV stands in the row; cache its whole pages.

        What was guessed does not count: `confirm` it.
        """
        sequence = work.sequence
        before = sequence.computed
        sequence.computed += work.known_tokens
        # After a preemption the same tokens are computed again, and count once.
        done_to = min(sequence.computed, sequence.prompt_tokens)
        sequence.computed_prompt_tokens += max(0, done_to - sequence.accounted_tokens)
        if before < sequence.prompt_tokens:
            self._store(sequence)

    def settle(self, sequence: Sequence, *, drafted: int, accepted: int) -> None:
        """Learn what became of a guess, if there was one; free the pages that it does not need."""
        if drafted:
            assert sequence.drafter is not None
            sequence.drafter.learn(drafted=drafted, accepted=accepted)
        self.drafted_tokens += drafted
        self.accepted_tokens += accepted
        if sequence.phase is Phase.RUNNING:
            dropped = sequence.drop_pages(self._pages(sequence.length))
            self.cache.give_back(dropped)

    def adapt(self, *, ran_short: bool) -> None:
        """Plan smaller steps after one that the device had no memory for, then larger again."""
        if ran_short:
            # Deterministic chunks keep their length.
            least = self.config.chunk_tokens if self.config.is_deterministic else self.page
            self._most_tokens = max(least, self._most_tokens // 2)
            self._steps_since_shortage = 0
        elif self._most_tokens < self.config.chunk_tokens:
            self._steps_since_shortage += 1
            if self._steps_since_shortage >= _STEPS_TO_WIDEN:
                self._most_tokens = min(self.config.chunk_tokens, self._most_tokens * 2)
                self._steps_since_shortage = 0

    def finish(self, sequence: Sequence, *, is_stored: bool) -> None:
        """Let a running or waiting sequence go; cache its output too if `is_stored`."""
        if sequence.phase is Phase.RUNNING:
            self.running.remove(sequence)
            self._release(sequence, Phase.DONE, is_stored=is_stored)
        elif sequence.phase is Phase.WAITING:
            self.waiting.remove(sequence)
            sequence.phase = Phase.DONE

    def check(self) -> None:
        """Assert the class's invariant and that every page has one owner."""
        for sequence in self.waiting:
            assert sequence.phase is Phase.WAITING
            assert sequence.node is None
            assert sequence.row_pages == 0
        for sequence in self.running:
            assert sequence.phase is Phase.RUNNING
            assert sequence.node is not None
            assert sequence.node.locks > 0
            assert sequence.row_pages >= self._pages(sequence.computed)
            assert sequence.row_pages <= self._pages(sequence.length), "a guess left pages"
            assert sequence.shared_pages * self.page <= sequence.computed
        self.cache.check([s.held for s in self.running])
        locks = sum(1 for s in self.running if s.node is not None)
        roots = sum(self.cache.tree.root_locks())
        assert roots == locks + len(self.pins), "one lock for each running sequence and pin"

    def _draft(self, sequence: Sequence, most_tokens: int) -> tuple[int, ...]:
        """Return a guess at what follows, if there is room for it."""
        if sequence.drafter is None or sequence.computed < sequence.prompt_tokens:
            return ()
        # The step adds one token of its own behind what comes true.
        most = min(most_tokens, sequence.limit_tokens - sequence.length - 1)
        draft = sequence.drafter.propose(sequence.tokens, most)
        missing = self._pages(sequence.length + len(draft)) - sequence.row_pages
        return draft if missing <= self.cache.available_pages else ()

    def _add_chunk(self, sequence: Sequence, budget: int, work: dict[int, Work]) -> int:
        """Add the next chunk of a prefill; return its tokens, 0 if there were no pages."""
        if sequence.phase is not Phase.RUNNING:
            return 0
        tokens = self._chunk_tokens(sequence, budget)
        if not tokens or not self._take_pages(sequence, tokens, work):
            return 0
        work[sequence.order] = Work(sequence, tokens)
        return tokens

    def _chunk_tokens(self, sequence: Sequence, budget: int) -> int:
        """Return how many tokens to compute next; 0 to wait for a larger budget."""
        if not self.config.is_deterministic:
            return min(budget, sequence.remaining)
        if sequence.computed >= sequence.prompt_tokens:
            return 1  # generated before a preemption, one by one as it was then
        to_edge = self._grain - sequence.computed % self._grain
        tokens = min(to_edge, sequence.prompt_tokens - sequence.computed)
        return tokens if tokens <= budget else 0

    def _kept_for_short_ones(self, prefills: list[Sequence], budget: int) -> int:
        """Return how much of a budget the oldest prefill leaves to shorter prompts that wait."""
        # A deterministic chunk takes a whole budget or nothing.
        if not (prefills and self.waiting) or self.config.is_deterministic:
            return 0
        return budget // 2 if prefills[0].remaining > budget else 0

    def _take_pages(self, sequence: Sequence, tokens: int, work: dict[int, Work]) -> bool:
        """Give a sequence the pages for its next tokens; False if it was preempted for them."""
        missing = self._pages(sequence.computed + tokens) - sequence.row_pages
        while missing > 0:
            pages = self.cache.take(missing)
            if pages is not None:
                sequence.add_pages(pages)
                break
            if self.pins.give_way():
                continue
            # The youngest gives way, which may be the one that asks.
            victim = max(self.running, key=lambda s: s.order)
            assert victim is not sequence or len(self.running) > 1, "one request fits the pool"
            self._preempt(victim)
            work.pop(victim.order, None)
            if victim is sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._release(sequence, Phase.WAITING, is_stored=True)
        sequence.preemptions += 1
        self.preemptions += 1
        self.waiting.append(sequence)

    def _release(self, sequence: Sequence, phase: Phase, *, is_stored: bool) -> None:
        if is_stored:
            self._store(sequence)
        assert sequence.node is not None
        self.cache.give_back(sequence.held.copy())
        self.cache.release(sequence.node)
        sequence.end(phase)

    def _store(self, sequence: Sequence) -> None:
        """Cache the whole pages that a sequence has computed, and share them from now on."""
        if not (sequence.request.can_write_cache and self.config.has_prefix_cache):
            return
        pages = self._storable_tokens(sequence) // self.page
        if pages <= sequence.shared_pages:
            return
        assert sequence.node is not None
        held_from = sequence.shared_pages
        done = self.cache.store(
            sequence.request.namespace,
            sequence.data[: pages * self.page * TOKEN_BYTES],
            sequence.row[:pages],
            node=sequence.node,
            held_from=held_from,
        )
        sequence.node = done.node
        sequence.shared_pages = pages
        whole_prompt_pages = min(pages, sequence.prompt_tokens // self.page)
        written = whole_prompt_pages - max(done.existing_pages, held_from)
        sequence.cache_write_tokens += max(0, written) * self.page

    def _storable_tokens(self, sequence: Sequence) -> int:
        if not self.config.is_deterministic:
            return sequence.computed
        # What was computed in other shapes than a prompt's whole chunks has other bits.
        whole = min(sequence.computed, sequence.prompt_tokens)
        return whole - whole % self._grain

    def _admit(self, now: float, *, most_tokens: int | None) -> Sequence | None:
        """Start the best waiting sequence that has the memory and nobody to wait for.

        Those with more than `most_tokens` to compute are passed over.
        """
        for sequence in self._by_worth(now):
            # Matching is not free: only where it decides something.
            if most_tokens is not None and self._uncached_tokens(sequence) > most_tokens:
                continue
            if self._is_being_computed(sequence):
                continue
            # The worthiest waits for memory rather than being passed by smaller ones for ever.
            return sequence if self._begin(sequence, now) else None
        return None

    def _by_worth(self, now: float) -> list[Sequence]:
        oldest = sorted(self.waiting, key=lambda s: s.order)

        def worth(sequence: Sequence) -> float:
            waited = now - sequence.submitted_at
            if sequence.preemptions or waited > _MOST_AGE_S:
                return float("inf")
            earlier_s = waited - sequence.request.priority * _PRIORITY_S
            return self._cached_tokens(sequence) + earlier_s * _AGEING_TOKENS

        # Sorting is stable: equals stay first come, first served.
        return sorted(oldest[:_MOST_LOOKUPS], key=worth, reverse=True)

    def _cached_tokens(self, sequence: Sequence) -> int:
        found = self.cache.tree.lookup(
            sequence.request.namespace,
            sequence.data,
            limit_tokens=self._matchable_tokens(sequence),
        )
        return found - found % self._grain

    def _uncached_tokens(self, sequence: Sequence) -> int:
        return sequence.length - self._cached_tokens(sequence)

    def _matchable_tokens(self, sequence: Sequence) -> int:
        """Return how many tokens may be cached; the last one is always computed."""
        if not self._can_read(sequence):
            return 0
        if self.config.is_deterministic:
            # The same text in another prompt was computed in another shape than one by one.
            return min(sequence.length - 1, sequence.prompt_tokens)
        return sequence.length - 1

    def _can_read(self, sequence: Sequence) -> bool:
        return sequence.request.can_read_cache and self.config.has_prefix_cache

    def _is_being_computed(self, sequence: Sequence) -> bool:
        """Whether a running prefill will soon cache the page that this one needs next."""
        if not self._can_read(sequence):
            return False
        needed: int | None = None
        for other in self.running:
            if (
                other.computed >= other.prompt_tokens
                or other.request.namespace != sequence.request.namespace
                or not other.request.can_write_cache
            ):
                continue
            if needed is None:
                needed = self._cached_tokens(sequence) + self._grain
                if needed > self._matchable_tokens(sequence):
                    return False
            if other.computed < needed <= other.prompt_tokens:
                end = needed * TOKEN_BYTES
                if other.data.startswith(sequence.data[:end]):
                    return True
        return False

    def _begin(self, sequence: Sequence, now: float) -> bool:
        """Match, lock, and only then see whether the rest finds room; undo if not."""
        limit = self._matchable_tokens(sequence)
        namespace, data = sequence.request.namespace, sequence.data
        for source in self.sources:
            sequence.brought_back(
                source.bring_back(self.cache, namespace, data, limit_tokens=limit)
            )
        found, diverged = self._match(sequence, limit)
        # Those that guess have more than they will keep.
        promised = sum(max(0, self._pages(s.length) - s.row_pages) for s in self.running)
        needed = self._pages(sequence.length) - len(found.pages)
        if needed + promised > self.cache.available_pages and self.running:
            self.cache.release(found.node)
            return False
        self.cache.tree.count_use(found.node)
        self.waiting.remove(sequence)
        self.running.append(sequence)
        sequence.begin(found.node, found.pages, self.page)
        if sequence.started_at is None:
            sequence.started_at = now
            sequence.divergence_token = diverged.token
            sequence.is_diverged = diverged.is_changed
            if self.history is not None and sequence.request.can_read_cache:
                page = diverged.token // self.page
                sequence.gone = self.history.find(namespace, data, page)
        hit = min(found.tokens, sequence.prompt_tokens)
        sequence.cached_tokens += max(0, hit - sequence.accounted_tokens)
        return True

    def _match(self, sequence: Sequence, limit: int) -> tuple[Match, Divergence]:
        """Return the longest cached prefix that may be used, locked; and where it is left."""
        namespace, data = sequence.request.namespace, sequence.data
        longest = self.cache.match(namespace, data, limit_tokens=limit)
        diverged = divergence(longest, data, self.page)
        rest = longest.tokens % self._grain
        if not rest:
            return longest, diverged
        # The prompt diverges where it does; only the use of what matches is cut.
        used = self.cache.match(namespace, data, limit_tokens=longest.tokens - rest)
        self.cache.release(longest.node)
        return used, diverged

    def _pages(self, tokens: int) -> int:
        return -(-tokens // self.page)
