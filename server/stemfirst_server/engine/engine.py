"""The loop that owns the device: plan, forward, choose, report; again.

Knows: the order of a step, the engine's thread, and what happens to a request when something
breaks. Does not know text, HTTP, or how requests are ranked.

One thread does all the work; other threads leave commands in its inbox and get events back. So
nothing here is locked but the list of live request ids.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import torch

from stemfirst_server.engine.assembly import assemble, with_other_weights
from stemfirst_server.engine.commands import Abort, Command, Job, Stop, Submit
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.handle import Handle
from stemfirst_server.engine.limits import end_of
from stemfirst_server.engine.request import (
    ChunkSpan,
    EngineStats,
    Event,
    FinishEvent,
    FinishReason,
    GenerationRequest,
    TokenEvent,
)
from stemfirst_server.engine.sampling import Choice
from stemfirst_server.engine.scheduler import Scheduler
from stemfirst_server.engine.sequence import Phase, Sequence
from stemfirst_server.engine.step import Outcome, Stepper
from stemfirst_server.engine.totals import Totals
from stemfirst_server.errors import ConfigError, EngineStoppedError, InvalidRequestError
from stemfirst_server.memory.cache import PageCache
from stemfirst_server.memory.eviction import Recency, Worth
from stemfirst_server.memory.touching import touch_ahead
from stemfirst_server.steering.history import Cause, History
from stemfirst_server.steering.shared import SharedRuns
from stemfirst_server.steering.survey import survey
from stemfirst_server.tiers.fingerprint import fingerprint
from stemfirst_server.tiers.opening import open_tiers

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemfirst_server.memory.node import EvictedRun
    from stemfirst_server.model.loading import LoadedModel
    from stemfirst_server.steering.survey import Survey
    from stemfirst_server.tiers.disk import Place
    from stemfirst_server.tiers.settings import TierSettings
    from stemfirst_server.tiers.tiers import Tiers

_log = logging.getLogger("stemfirst.engine")


class Engine:
    """Requests in, tokens out, over one model.

    Attributes:
        config: its settings.
        history: what was cached once.
        tiers: slower memory behind the cache, or None.
        info: the model, with `context_tokens` cut to what the pool can hold.

    Raises:
        ConfigError: the pool cannot be made as asked.
        UnsupportedModelError: the model does not bear its KV in eight bits.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        config: EngineConfig | None = None,
        tier_settings: TierSettings | None = None,
    ) -> None:
        self.config = config or EngineConfig()
        self._made = made = assemble(loaded, self.config)
        self.info = made.info
        self._runner = made.runner
        self._stepper = Stepper(self._runner, is_each_alone=self.config.is_deterministic)
        self._eviction = Worth() if self.config.has_worth_eviction else Recency()
        self._cache = PageCache(pages=made.pages, page=self.config.page, eviction=self._eviction)
        self.tiers: Tiers | None = None
        if tier_settings is not None:
            self.tiers = open_tiers(loaded.model, made.pool, self.config, tier_settings)
        self.history = History(self.config.page)
        self._cache.on_evict = self._evicted
        self._scheduler = Scheduler(self._cache, self.config)
        self._scheduler.history = self.history
        self._shared = SharedRuns(self._scheduler.pins, made.pool.copy)
        self._scheduler.sources = (self._shared, *([self.tiers] if self.tiers else []))
        self._end_tokens = frozenset(loaded.info.end_token_ids)
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._live: dict[str, Sequence] = {}
        self._live_lock = threading.Lock()
        self._order = 0
        self._thread: threading.Thread | None = None
        self._is_open = False
        self._fault: BaseException | None = None
        self._totals = Totals()
        self._stats = self._totals.snapshot(self._scheduler)

    # From any thread.

    def start(self) -> None:
        """Start the engine's thread; once."""
        assert self._thread is None, "an engine starts once"
        self._is_open = True
        touch_ahead(self._made.pool.tensors())
        self._thread = threading.Thread(target=self._run, name="stemfirst-engine", daemon=True)
        self._thread.start()

    def stop(self, *, timeout: float | None = None) -> bool:
        """Abort everything and end the thread; return whether it ended in `timeout` seconds.

        A step under way is not interrupted.
        """
        with self._live_lock:
            was_open, self._is_open = self._is_open, False
        if was_open:
            self._inbox.put(Stop())
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def submit(
        self, request: GenerationRequest, on_event: Callable[[Event], None] | None = None
    ) -> Handle:
        """Queue a request.

        Args:
            request: what to continue.
            on_event: called from the engine's thread for each event; must not block. Without
                it, the handle collects the events.

        Raises:
            InvalidRequestError: empty prompt, unknown tokens, or an id that is in use.
            ContextLengthError: prompt and output do not fit.
            EngineStoppedError: the engine is not running.
        """
        limit_tokens = end_of(request, self.info)
        handle = Handle(request.request_id, self.abort, on_event)
        with self._live_lock:
            if not self._is_open:
                raise EngineStoppedError("the engine is not running; start the server again")
            if request.request_id in self._live:
                raise InvalidRequestError(
                    f"request id {request.request_id} is in use; choose another",
                    parameter="request_id",
                )
            self._order += 1
            sequence = Sequence(
                request,
                handle.on_event,
                order=self._order,
                limit_tokens=limit_tokens,
                submitted_at=time.perf_counter(),
                end_tokens=self._end_tokens,
                speculate_tokens=self.config.speculate_tokens,
            )
            self._live[request.request_id] = sequence
            self._inbox.put(Submit(sequence))
        return handle

    def abort(self, request_id: str) -> None:
        """End a request early; its `FinishEvent` follows. An unknown or finished id is ignored."""
        self._inbox.put(Abort(request_id))

    def weigh_depth(self, even_tokens: float) -> None:
        """Evict by what was measured: attention doubles a token's cost at this context."""
        if isinstance(self._eviction, Worth):
            self._eviction.even_tokens = even_tokens

    def stats(self) -> EngineStats:
        """Return counters and gauges as of the last step."""
        return self._stats

    @property
    def is_running(self) -> bool:
        """Whether requests are taken: started, not stopped, and not broken."""
        return self._is_open

    def check(self) -> None:
        """Assert that every page is free, held or cached, and every lock accounted for.

        Raises:
            AssertionError: they are not.
            EngineStoppedError: the engine stopped meanwhile.
        """
        self._between_steps(self._scheduler.check)

    def flush(self, cause: Cause = Cause.FLUSHED) -> int:
        """Drop everything cached that no running request uses; return the pages freed.

        Slower tiers forget everything.
        """
        freed: int = self._between_steps(lambda: self._flush(cause))
        if self.tiers is not None:
            self.tiers.clear_disk()
        return freed

    def trim(self, belongs: Callable[[str], bool], most_tokens: int) -> None:
        """Have some namespaces hold no more cached tokens, soon; what requests use stays."""
        most_pages = most_tokens // self.config.page
        self._soon(lambda: self._cache.trim(belongs, most_pages))

    def reload(self, loaded: LoadedModel) -> int:
        """Serve other weights of the same model from now on; return the pages freed.

        Every tier is emptied, and the disk's files lie under another name from then on.

        Raises:
            ConfigError: requests run, or the weights are another model's; nothing has changed.
            EngineStoppedError: the engine is not running.
        """
        place: Place | None = None
        if self.tiers is not None:
            pool = self._made.pool
            place = self.tiers.place_of(lambda: fingerprint(loaded.model, pool, self.config))
        freed: int = self._between_steps(lambda: self._reload(loaded, place))
        if self.tiers is not None:
            self.tiers.clear_disk()
        return freed

    def pin(
        self,
        name: str,
        namespace: str,
        data: bytes,
        ttl_s: float,
        is_open_to: Callable[[str], bool] | None = None,
    ) -> int:
        """Keep what is cached of a prompt on the device for some seconds; return its tokens.

        It gives way to a request that could not run otherwise. Other namespaces get copies of it
        where `is_open_to` says so, which is called in the engine's thread.

        Raises:
            EngineStoppedError: the engine is not running.
        """
        until = time.perf_counter() + ttl_s
        pins = self._scheduler.pins
        kept: int = self._between_steps(lambda: pins.set(name, namespace, data, until, is_open_to))
        return kept

    def pin_soon(self, name: str, namespace: str, data: bytes, ttl_s: float) -> None:
        """Do as `pin`, without waiting for it: from the engine's own thread too."""
        until = time.perf_counter() + ttl_s
        self._soon(lambda: self._scheduler.pins.set(name, namespace, data, until))

    def unpin(self, name: str) -> None:
        """End a pin; an unknown one is ignored.

        Raises:
            EngineStoppedError: the engine is not running.
        """
        self._between_steps(lambda: self._scheduler.pins.drop(name))

    def pinned(self) -> frozenset[str]:
        """Return the names of the pins that hold.

        Raises:
            EngineStoppedError: the engine is not running.
        """
        names: frozenset[str] = self._between_steps(self._pinned)
        return names

    def survey(self, request: GenerationRequest) -> Survey:
        """Return what a request would find in the cache, without running it.

        Waits for the step under way.

        Raises:
            EngineStoppedError: the engine is not running.
        """
        config = self.config
        limit = len(request.token_ids) - 1 if config.has_prefix_cache else 0

        def look() -> Survey:
            self._scheduler.pins.expire(time.perf_counter())
            return survey(
                self._cache.tree,
                self._shared,
                self.tiers,
                self.history,
                request.namespace,
                request.token_ids.tobytes(),
                limit_tokens=max(0, limit),
                grain_tokens=config.chunk_tokens if config.is_deterministic else config.page,
            )

        found: Survey = self._between_steps(look)
        return found

    def save(self, *, most_s: float) -> int:
        """Write what is cached to the disk tier, if there is one; return the pages.

        For the end of the process: a stopped engine's cache is nobody's.
        """
        if self.tiers is None or (self._thread is not None and self._thread.is_alive()):
            return 0
        return self.tiers.save(self._cache, most_s=most_s)

    def measure_prefill(self, context_tokens: int, new_tokens: int) -> float:
        """Return the milliseconds to compute `new_tokens` behind `context_tokens`, alone.

        Runs on pages that are free, and leaves them free. What is in them does not matter to
        the time.

        Raises:
            ConfigError: the free pages do not suffice, or a number is out of range.
            EngineStoppedError: the engine is not running.
        """
        if context_tokens < 0 or new_tokens < 1:
            raise ConfigError(
                "measuring takes at least 0 context and 1 new tokens, got "
                f"{context_tokens} and {new_tokens}"
            )
        if not self._is_open:
            raise EngineStoppedError("the engine is not running; start it before measuring")
        elapsed: float = self._between_steps(lambda: self._measure(context_tokens, new_tokens))
        return elapsed

    # In the engine's thread.

    def _evicted(self, run: EvictedRun) -> None:
        self.history.note(run.namespace, run.data, len(run.pages), Cause.EVICTED)
        if self.tiers is not None:
            self.tiers.keep(run)

    def _reload(self, loaded: LoadedModel, place: Place | None) -> int:
        if self._scheduler.running or self._scheduler.waiting:
            raise ConfigError(
                "weights cannot change under running requests: drain the server first"
            )
        self._made = made = with_other_weights(self._made, loaded, self.config)
        self._runner = made.runner
        self._stepper = Stepper(self._runner, is_each_alone=self.config.is_deterministic)
        self.info = made.info
        self._end_tokens = frozenset(loaded.info.end_token_ids)
        return self._flush(Cause.WEIGHTS_CHANGED, place)

    def _pinned(self) -> frozenset[str]:
        self._scheduler.pins.expire(time.perf_counter())
        return self._scheduler.pins.names()

    def _flush(self, cause: Cause, place: Place | None = None) -> int:
        if self.tiers is not None:
            # In the same moment as the device, which would get it back from there.
            self.tiers.forget(place)
        self._scheduler.pins.clear()
        tree = self._cache.tree
        for node in tree.nodes():
            self.history.note(node.namespace, tree.path_data(node), len(node.pages), cause)
        return self._cache.flush()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._obey():
                    self._step()
        except BaseException as fault:  # noqa: BLE001
            # A broken invariant: nobody may go on with these pages, and nobody may hang.
            _log.critical("the engine broke and takes no more requests", exc_info=True)
            self._fault = fault
        with self._live_lock:
            self._is_open = False
        self._close()

    def _obey(self) -> bool:
        """Carry out commands, waiting for one if there is nothing else to do; False on stop."""
        is_idle = not (self._scheduler.running or self._scheduler.waiting)
        while True:
            try:
                command = self._inbox.get(block=is_idle)
            except queue.Empty:
                return True
            is_idle = False
            if isinstance(command, Stop):
                return False
            if isinstance(command, Submit):
                self._scheduler.add(command.sequence)
            elif isinstance(command, Abort):
                sequence = self._live.get(command.request_id)
                if sequence is not None:
                    self._finish(sequence, FinishReason.ABORT)
            else:
                command.settle()
            self._stats = self._totals.snapshot(self._scheduler)

    def _step(self) -> None:
        work = self._scheduler.plan(time.perf_counter())
        if not work:
            return
        started = time.perf_counter()
        self._cache.ages.note(self._cache.tree.clock, started)
        done = self._stepper.run(work)
        now = time.perf_counter()
        self._account(done.outcomes, (now - started) * 1e3)
        for outcome in done.outcomes:
            sequence = outcome.work.sequence
            if outcome.fault is not None and not outcome.choices:
                self._fail(sequence, str(outcome.fault))
                continue
            self._scheduler.computed(outcome.work)
            if sequence.computed == sequence.length:
                self._add_tokens(sequence, outcome, now)
        self._scheduler.adapt(ran_short=done.ran_short)
        self._totals.steps += 1
        self._stats = self._totals.snapshot(self._scheduler)
        if self.config.is_checked:
            self._scheduler.check()

    def _account(self, outcomes: tuple[Outcome, ...], step_ms: float) -> None:
        tokens = sum(outcome.work.new_tokens for outcome in outcomes)
        for outcome in outcomes:
            sequence, new_tokens = outcome.work.sequence, outcome.work.new_tokens
            if sequence.computed < sequence.prompt_tokens or outcome.work.known_tokens > 1:
                share = step_ms * new_tokens / tokens
                is_alone = len(outcomes) == 1
                sequence.spans.append(ChunkSpan(sequence.computed, new_tokens, share, is_alone))

    def _add_tokens(self, sequence: Sequence, outcome: Outcome, now: float) -> None:
        if not outcome.choices:  # max_tokens is 0
            self._finish(sequence, FinishReason.LENGTH)
            return
        for added, choice in enumerate(outcome.choices, 1):
            # All but the last were guessed right, so their KV stands already.
            sequence.computed = sequence.length
            # A grammar stands behind the last of them already.
            is_complete = added == len(outcome.choices) and sequence.sampler.is_complete
            self._add_token(sequence, choice, now, is_complete=is_complete)
            if sequence.phase is Phase.DONE:
                break
        if sequence.drafter is not None:
            self._scheduler.settle(sequence, drafted=len(outcome.work.draft), accepted=added - 1)
        if outcome.fault is not None:
            self._fail(sequence, str(outcome.fault))

    def _add_token(
        self, sequence: Sequence, choice: Choice, now: float, *, is_complete: bool
    ) -> None:
        token_id = choice.token_id
        is_stop = token_id in sequence.end_tokens
        if sequence.first_token_at is None:
            sequence.first_token_at = now
        sequence.last_token_at = now
        index = len(sequence.output)
        sequence.append_token(token_id)
        self._tell(
            sequence, TokenEvent(token_id, index, is_stop, choice.logprob, choice.top_logprobs)
        )
        if is_stop or is_complete:
            self._finish(sequence, FinishReason.STOP)
        elif sequence.length >= sequence.limit_tokens:
            self._finish(sequence, FinishReason.LENGTH)

    def _fail(self, sequence: Sequence, message: str) -> None:
        if sequence.phase is Phase.RUNNING and sequence.row_pages > sequence.shared_pages:
            # The next owner masks what it has not written, and 0 · NaN is NaN.
            self._runner.clear(sequence.held)
        self._finish(sequence, FinishReason.ERROR, message)

    def _finish(self, sequence: Sequence, reason: FinishReason, error: str | None = None) -> None:
        if sequence.phase is Phase.DONE:
            return
        is_stored = reason in (FinishReason.STOP, FinishReason.LENGTH)
        self._scheduler.finish(sequence, is_stored=is_stored)
        with self._live_lock:
            self._live.pop(sequence.request_id, None)
        report = sequence.report(time.perf_counter())
        self._totals.add(reason, report)
        self._stats = self._totals.snapshot(self._scheduler)
        self._tell(sequence, FinishEvent(reason, report, error))

    def _tell(self, sequence: Sequence, event: Event) -> None:
        try:
            sequence.on_event(event)
        except Exception:  # noqa: BLE001
            # The caller's code; its fault must not end everyone's engine.
            _log.exception("the listener of request %s failed", sequence.request_id)
            if not isinstance(event, FinishEvent):
                self._inbox.put(Abort(sequence.request_id))

    def _close(self) -> None:
        """End every request and answer every job; nothing new comes in any more."""
        while True:
            try:
                command = self._inbox.get_nowait()
            except queue.Empty:
                break
            if isinstance(command, Submit):
                self._scheduler.add(command.sequence)
            elif isinstance(command, Job):
                command.outcome.set_exception(EngineStoppedError("the engine has stopped"))
        for sequence in list(self._live.values()):
            if self._fault is None:
                self._finish(sequence, FinishReason.ABORT)
            else:
                report = sequence.report(time.perf_counter())
                error = "the engine broke; restart the server"
                self._tell(sequence, FinishEvent(FinishReason.ERROR, report, error))
        self._live.clear()
        self._stats = self._totals.snapshot(self._scheduler)

    def _measure(self, context_tokens: int, new_tokens: int) -> float:
        count = -(-(context_tokens + new_tokens) // self.config.page)
        pages = self._cache.take(count) if count <= self._cache.free_pages else None
        if pages is None:
            raise ConfigError(
                f"measuring {context_tokens} + {new_tokens} tokens needs {count} free pages, "
                f"{self._cache.free_pages} are free"
            )
        try:
            started = time.perf_counter()
            self._runner.run_scratch(pages, context_tokens, new_tokens)
            return (time.perf_counter() - started) * 1e3
        finally:
            self._cache.give_back(pages)

    # Shared.

    def _soon(self, run: Callable[[], object]) -> None:
        """Have something run in the engine's thread; nothing, if that is ending."""
        outcome: Future[Any] = Future()
        outcome.add_done_callback(_log_fault)
        with self._live_lock:
            if self._is_open:
                self._inbox.put(Job(run, outcome))

    def _between_steps(self, run: Callable[[], Any]) -> Any:
        """Run something in the engine's thread, or here if that has not started or has ended."""
        if self._fault is not None:
            raise EngineStoppedError(f"the engine broke: {self._fault!r}") from self._fault
        if self._thread is None or not self._thread.is_alive():
            return run()
        job = Job(run, Future())
        with self._live_lock:
            if not self._is_open:
                raise EngineStoppedError("the engine is stopping")
            self._inbox.put(job)
        return job.outcome.result()


def _log_fault(outcome: Future[Any]) -> None:
    """Tell of what nobody waits for, unless the engine was ending."""
    fault = outcome.exception()
    if fault is not None and not isinstance(fault, EngineStoppedError):
        _log.error("something to do between two steps failed", exc_info=fault)
