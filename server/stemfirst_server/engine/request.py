"""What crosses the boundary of the engine: requests in, events and reports out.

Knows: token ids, sampling parameters, and the accounting of one request. Does not know text,
chat templates, HTTP, or how a request is scheduled. Everything here is an immutable value and
safe to pass between threads; importing this module does not load torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stemfirst_server.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stemfirst_server.engine.constraint import Constraint
    from stemfirst_server.steering.history import Gone

TokenArray = npt.NDArray[np.int32]


def token_array(token_ids: Iterable[int] | npt.NDArray[np.integer]) -> TokenArray:
    """Return token ids as a read-only, contiguous int32 array of its own.

    Raises:
        InvalidRequestError: an id is negative or does not fit int32.
    """
    wide = np.asarray(
        token_ids if isinstance(token_ids, np.ndarray) else list(token_ids), dtype=np.int64
    )
    if wide.ndim != 1:
        raise InvalidRequestError(f"token ids must be a flat list, got {wide.ndim} dimensions")
    if wide.size and (int(wide.min()) < 0 or int(wide.max()) > np.iinfo(np.int32).max):
        bad = int(wide.min()) if int(wide.min()) < 0 else int(wide.max())
        raise InvalidRequestError(f"token ids must be between 0 and 2147483647, got {bad}")
    narrow = wide.astype(np.int32)
    narrow.flags.writeable = False
    return narrow


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token of one request is chosen, and when to stop.

    Order of operations: repetition, presence and frequency penalties, `logit_bias`, temperature,
    then `top_k`, `top_p` and `min_p` each on what the one before left, then the draw. `logprobs`
    are those of the model's own distribution, before any of this.

    Attributes:
        max_tokens: most tokens to generate; None means up to the end of the context; 0 reads
            the prompt into the cache and generates nothing.
        temperature: 0 is greedy.
        top_p: in (0, 1]; 1 is off.
        top_k: keep this many candidates; 0 is off.
        min_p: in [0, 1]; drop candidates below this share of the best one's probability.
        presence_penalty: in [-2, 2], subtracted once from each token generated so far.
        frequency_penalty: in [-2, 2], subtracted per occurrence in the output so far.
        repetition_penalty: > 0; divides (multiplies, if negative) logits of tokens in prompt or
            output; 1 is off.
        logit_bias: (token id, bias in [-100, 100]) pairs.
        seed: the same seed, prompt and parameters draw the same tokens, whatever else runs.
        stop_token_ids: end after one of these, besides the model's own end tokens.
        ignore_eos: do not end at the model's own end tokens (`stop_token_ids` still end).
        logprobs: None: none; n: the sampled token's and the n most likely tokens'.

    Raises:
        InvalidRequestError: a value is out of range; names the parameter.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if self.max_tokens is not None:
            _at_least("max_tokens", self.max_tokens, 0)
        _within("temperature", self.temperature, 0.0, 100.0)
        _within("top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0.0:
            raise InvalidRequestError("top_p must be above 0, got 0", parameter="top_p")
        _at_least("top_k", self.top_k, 0)
        _within("min_p", self.min_p, 0.0, 1.0)
        _within("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        _within("repetition_penalty", self.repetition_penalty, 0.0, 100.0)
        if self.repetition_penalty == 0.0:
            raise InvalidRequestError(
                "repetition_penalty must be above 0, got 0", parameter="repetition_penalty"
            )
        for token_id, bias in self.logit_bias:
            _at_least("logit_bias", token_id, 0)
            _within("logit_bias", bias, -100.0, 100.0)
        if self.logprobs is not None:
            _at_least("logprobs", self.logprobs, 0)

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0.0 or self.top_k == 1

    @property
    def changes_logits(self) -> bool:
        """Whether penalties or biases move the logits before the choice."""
        return (
            self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
            or self.repetition_penalty != 1.0
            or bool(self.logit_bias)
        )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InvalidRequestError(f"{name} must be at least {least}, got {value}", parameter=name)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise InvalidRequestError(
            f"{name} must be between {low:g} and {high:g}, got {value:g}", parameter=name
        )


@dataclass(frozen=True, slots=True, eq=False)
class GenerationRequest:
    """One prompt to continue.

    Attributes:
        request_id: unique among the requests in the engine.
        token_ids: the prompt; make it with `token_array`.
        namespace: requests share KV only inside one namespace.
        can_read_cache: False computes the whole prompt anew (shadow runs, comparisons).
        can_write_cache: False leaves nothing in the cache for others.
        constraint: what the output may be; None: anything. An output that is complete ends.
        priority: of those that wait, the lower goes sooner: by a tenth of a second each.
        ttl_s: seconds for which its prompt stays on the device after it ended, if there is room.
        prefetch_ms: time that was spent on reading its KV from disk before it was submitted.
    """

    request_id: str
    token_ids: TokenArray
    sampling: SamplingParams = field(default_factory=SamplingParams)
    namespace: str = ""
    can_read_cache: bool = True
    can_write_cache: bool = True
    constraint: Constraint | None = None
    prefetch_ms: float = 0.0
    priority: int = 0
    ttl_s: float = 0.0


class FinishReason(StrEnum):
    """Why a request ended."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A candidate token and the natural logarithm of its probability."""

    token_id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One generated token.

    Attributes:
        token_id: the token.
        index: its place in the output, from 0.
        is_stop: it is an end token: it counts as output and its text is not shown.
        logprob: of this token, if logprobs were asked for.
        top_logprobs: the most likely candidates, best first; empty if none were asked for.
    """

    token_id: int
    index: int
    is_stop: bool = False
    logprob: float | None = None
    top_logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkSpan:
    """One prefill chunk of one request, as the device spent it.

    Attributes:
        context_tokens: tokens whose KV was there before.
        new_tokens: tokens computed.
        ms: the step's time; in a step with others, the share by tokens computed.
        is_alone: nothing else ran in the step, so `ms` is a measurement and not a share.
    """

    context_tokens: int
    new_tokens: int
    ms: float
    is_alone: bool


@dataclass(frozen=True, slots=True)
class RequestReport:
    """What one request cost, final when its `FinishEvent` is sent.

    `cached_tokens + computed_tokens == prompt_tokens` once prefill is complete. Work that a
    preemption threw away counts in `prefill_ms` and `chunks` only, never in the token counts.

    Attributes:
        prompt_tokens: tokens of the prompt.
        cached_tokens: prompt tokens whose KV was found, always whole pages (the last prompt
            token is always computed, so a full hit reports less than the prompt).
        computed_tokens: prompt tokens that this request computed itself.
        cache_write_tokens: prompt tokens that this request added to the cache.
        output_tokens: generated tokens, end token included.
        divergence_token: index of the first prompt token that was not cached in this namespace
            when the request was admitted, exact to the token; equals `prompt_tokens` if none.
        is_diverged: the cache held a different token at that place (the prompt changed);
            False means that everything cached simply ended there (the prompt grew, or is new).
        queue_ms: from submit until the first step that worked on it.
        prefill_ms: the sum of `chunks`.
        load_ms: time to bring KV from slower tiers; 0 where nothing came from there.
        ttft_ms: from submit to the first token; None without one.
        decode_ms: from the first token to the last; 0 with fewer than two.
        total_ms: from submit to the end.
        preemptions: how often its pages were taken and its work done again.
        chunks: the prefill chunks in order.
        host_tokens: of the cached ones, those whose KV lay in the host's memory.
        disk_tokens: of the cached ones, those whose KV was read from disk.
        gone: what became of the pages behind the cached ones, where they were cached once.
    """

    prompt_tokens: int
    cached_tokens: int
    computed_tokens: int
    cache_write_tokens: int
    output_tokens: int
    divergence_token: int
    is_diverged: bool
    queue_ms: float
    prefill_ms: float
    load_ms: float
    ttft_ms: float | None
    decode_ms: float
    total_ms: float
    preemptions: int
    chunks: tuple[ChunkSpan, ...]
    host_tokens: int = 0
    disk_tokens: int = 0
    gone: Gone | None = None


@dataclass(frozen=True, slots=True)
class FinishEvent:
    """The last event of every request.

    Attributes:
        reason: why it ended.
        report: its accounting, also for aborted and failed requests.
        error: for `FinishReason.ERROR`, a sentence that a client may read.
    """

    reason: FinishReason
    report: RequestReport
    error: str | None = None


Event = TokenEvent | FinishEvent


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, for callers that do not stream."""

    tokens: tuple[TokenEvent, ...]
    finish: FinishEvent

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The generated tokens in order."""
        return tuple(event.token_id for event in self.tokens)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the rest of the server may know of the model, without loading torch.

    Attributes:
        name: the path or id that it was loaded from.
        architecture: the class that runs it, such as `LlamaForCausalLM`.
        context_tokens: most tokens of prompt and output together.
        vocab_size: rows of the output layer.
        end_token_ids: the model's own end tokens.
        dtype: such as `float32`.
        device: such as `cpu` or `cuda:0`.
        kv_bytes_per_token: of all layers together.
        parameters: their number.
        is_pool_short: the model's own context is longer, and the KV memory holds no more.
    """

    name: str
    architecture: str
    context_tokens: int
    vocab_size: int
    end_token_ids: tuple[int, ...]
    dtype: str
    device: str
    kv_bytes_per_token: int
    parameters: int
    is_pool_short: bool = False


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters and gauges of the engine at one moment. Counters only grow.

    A preempted request's second prefill does not count again in the token counters.
    `pages_total == pages_free + pages_held + pages_cached`; `pages_evictable` of the cached
    ones can be taken at once. `evicted_age_s` is the time since their last use of all the
    `evicted_pages` together. Of the `drafted_tokens` that were guessed, `accepted_tokens` came
    true. Of the `cached_tokens`, `host_tokens` and `disk_tokens` lay in slower tiers.
    """

    running: int
    waiting: int
    page: int
    pages_total: int
    pages_free: int
    pages_held: int
    pages_cached: int
    pages_evictable: int
    requests_finished: Mapping[str, int]
    prompt_tokens: int
    cached_tokens: int
    computed_tokens: int
    output_tokens: int
    preemptions: int
    evicted_pages: int
    steps: int
    drafted_tokens: int
    accepted_tokens: int
    host_tokens: int = 0
    disk_tokens: int = 0
    evicted_age_s: float = 0.0
