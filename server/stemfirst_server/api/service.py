"""What a request passes through between HTTP and the engine.

Ties the tokens front end, the engine, the cost model and the metrics of one served model
together. Knows no JSON and no HTTP; runs nothing on the device itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from stemfirst.chain import ChainKey
from stemfirst.wire import hint_from_json

from stemfirst_server.api.bounds import Bounds
from stemfirst_server.api.comparing import Earlier
from stemfirst_server.api.narrated import Origin
from stemfirst_server.api.output import Outputs
from stemfirst_server.engine.request import FinishEvent, FinishReason, token_array
from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.metrics import Metrics
from stemfirst_server.namespaces import tenant_of
from stemfirst_server.savings.costmodel import CostModel, SavedTime, Unestimated
from stemfirst_server.savings.law import Sample
from stemfirst_server.savings.report import (
    Price,
    build_report,
    missed_tokens,
    reason_of,
    sum_of,
)
from stemfirst_server.savings.shadows import ShadowRuns
from stemfirst_server.steering.prefixes import PINNED_SHARE, TENANT_SHARE, Prefixes
from stemfirst_server.steering.references import References
from stemfirst_server.sums import DailySums
from stemfirst_server.tokens import hints
from stemfirst_server.tokens.detokenize import Vocabulary
from stemfirst_server.tokens.encoder import Encoded, Encoder, printable
from stemfirst_server.tokens.grammar import Grammars
from stemfirst_server.tokens.placement import (
    NOWHERE,
    Placement,
    place_conversation,
    place_text,
)
from stemfirst_server.tokens.template import ChatTemplate, Conversation, conversation
from stemfirst_server.tools.families import FORMATS, format_taught

if TYPE_CHECKING:
    from stemfirst.wire import Report
    from transformers import PreTrainedTokenizerBase

    from stemfirst_server.api.admission import Admission
    from stemfirst_server.engine.config import EngineConfig
    from stemfirst_server.engine.engine import Engine
    from stemfirst_server.engine.request import (
        Event,
        GenerationRequest,
        RequestReport,
    )
    from stemfirst_server.tenants import Tenant

_log = logging.getLogger("stemfirst.server")

_Made = TypeVar("_Made")

_INLINE_CHARACTERS = 20_000
"""Text up to this length is tokenised in the event loop; handing it over would cost more."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptTokens:
    """One prompt, ready for the engine.

    Attributes:
        encoded: its tokens and where they start in the text.
        text_length: characters of the text that the model reads.
        place: finds out which string of the request each character came from; costs a second
            rendering, and so is asked only when a report needs it.
        body: `messages`, `tools` or `prompt` as they were sent, for the client's hints.
    """

    encoded: Encoded
    text_length: int
    place: Callable[[], Placement]
    body: Mapping[str, Any]

    @property
    def count(self) -> int:
        """How many tokens it has."""
        return len(self.encoded.token_ids)


@dataclass(frozen=True, slots=True)
class Served:
    """What is served, as clients may know it.

    Attributes:
        names: what requests may call the model, the first being what answers call it.
        context_tokens: of the model, or less where the pool is smaller.
        price: of the device, or None.
        notice: what every reader of this server's answers must know, or None.
        is_demo: whether it is the demo model.
        created_s: start of the server, seconds since 1970.
        most_output_tokens: of an answer; None: up to the end of the context.
    """

    names: tuple[str, ...]
    context_tokens: int
    price: Price | None
    notice: str | None
    is_demo: bool
    created_s: int
    most_output_tokens: int | None = None


class Service:
    """One model, its engine, and everything that stands around them."""

    def __init__(
        self,
        engine: Engine,
        config: EngineConfig,
        tokenizer: PreTrainedTokenizerBase,
        served: Served,
        cost_model: CostModel,
        admission: Admission,
        tool_format: str | None = None,
        sums: DailySums | None = None,
        reload_weights: Callable[[], int] | None = None,
        *,
        logs_text: bool = False,
    ) -> None:
        backend = tokenizer.backend_tokenizer
        self.engine = engine
        self.config = config
        self.served = served
        self.bounds = Bounds(
            served.context_tokens,
            engine.info.vocab_size,
            served.most_output_tokens,
            engine.info.is_pool_short,
        )
        self.cost_model = cost_model
        self._shadows = ShadowRuns(engine, cost_model)
        self.admission = admission
        self.reload_weights = reload_weights
        self.logs_text = logs_text
        self.is_reloading = False
        admission.on_end = self._limit_cached
        self.references = References()
        pinned_pages = int(engine.stats().pages_total * PINNED_SHARE)
        tenant_pages = int(pinned_pages * TENANT_SHARE)
        self.prefixes = Prefixes(most_pages=pinned_pages, most_tenant_pages=tenant_pages)
        self.vocabulary = Vocabulary(backend)
        self.metrics = Metrics(served.names[0], engine.stats)
        self._encoder = Encoder(backend)
        self._template = ChatTemplate(tokenizer)
        self._opening_tokens = opening_tokens(self._template, self._encoder)
        self.sums = sums or DailySums()
        self.earlier = Earlier()
        self.metrics.watch_tiers(engine.tiers.stats if engine.tiers else None)
        self.metrics.watch(
            "stemfirst_requests_admitted",
            "Requests in the server, running and waiting.",
            lambda: admission.taken,
        )
        self.metrics.watch(
            "stemfirst_remembered_token_bytes",
            "Memory of remembered token ids.",
            lambda: self._encoder.remembered_bytes,
        )
        self.outputs = Outputs(
            Grammars(backend, engine.info.end_token_ids),
            self._template.source,
            self.vocabulary.added,
            FORMATS[tool_format]
            if tool_format
            else format_taught(self._template, self.vocabulary.added),
        )

    async def chat_prompt(
        self, asked: Conversation, namespace: str, origin: Origin | None = None
    ) -> PromptTokens:
        """Return the tokens of a conversation, converted from another body if `origin` says so.

        Raises:
            InvalidRequestError: the template refused it.
        """

        def make() -> tuple[str, Encoded]:
            text = printable(self._template.render(asked))
            self.bounds.refuse_hopeless(len(text), None)  # with its tools
            return text, self._encoder.encode(text, namespace=namespace)

        size = sum(len(str(message.get("content"))) for message in asked.messages)
        self.bounds.refuse_hopeless(size, None)
        text, encoded = await _beside(make, size)
        if origin is None:
            origin = Origin({"messages": asked.messages, "tools": asked.tools}, {})
        paths = origin.paths
        return PromptTokens(
            encoded,
            len(text),
            lambda: place_conversation(asked, text, self._template).renamed(paths),
            origin.body,
        )

    async def text_prompt(
        self,
        prompt: str | Sequence[int],
        namespace: str,
        path: tuple[str | int, ...],
        *,
        add_special_tokens: bool = True,
    ) -> PromptTokens:
        """Return the tokens of a plain prompt, which may be tokens already.

        Raises:
            InvalidRequestError: a token id is outside the vocabulary, or there is nothing.
        """
        if isinstance(prompt, str):
            self.bounds.refuse_hopeless(len(prompt), "prompt")
            text = printable(prompt)
            encoded = await _beside(
                lambda: self._encoder.encode(
                    text, namespace=namespace, add_special_tokens=add_special_tokens
                ),
                len(text),
            )
            return PromptTokens(
                encoded, len(text), lambda: place_text(text, path), _nested(path, prompt)
            )
        self.bounds.refuse_hopeless(len(prompt), "prompt")
        self.bounds.check_tokens(prompt, "prompt")
        ids = token_array(prompt)
        encoded = Encoded(ids, np.zeros(len(ids), dtype=np.int32))
        return PromptTokens(encoded, 0, lambda: NOWHERE, {})

    async def prefetch(self, prompt: PromptTokens, namespace: str) -> float:
        """Read from disk what the engine will want for a prompt; return the milliseconds."""
        tiers = self.engine.tiers
        if tiers is None or not tiers.reads_disk:
            return 0.0
        data = prompt.encoded.token_ids.tobytes()
        return await asyncio.to_thread(tiers.prefetch, namespace, data)

    def submit(self, request: GenerationRequest, on_event: Callable[[Event], None]) -> object:
        """Hand a request to the engine, and account for it when it ends."""

        def receive(event: Event) -> None:
            if not isinstance(event, FinishEvent):
                on_event(event)
                return
            try:
                self._account(event, request)
                self._keep(event, request)
            except Exception:  # noqa: BLE001
                # Bookkeeping; whoever waits for the answer gets it all the same.
                _log.exception("request %s could not be accounted for", request.request_id)
            try:
                on_event(event)
            finally:
                self._shadows.ended(request, event)

        self._shadows.began()
        try:
            return self.engine.submit(request, on_event=receive)
        except BaseException:
            self._shadows.dropped()
            raise

    def remember(self, request: GenerationRequest, output: Sequence[int]) -> None:
        """Remember an answer's own tokens for when its text comes back in a conversation.

        Not in deterministic mode: it caches no answers, and there a text's tokens may not depend on
        what was answered before.
        """
        if self.vocabulary.is_byte_level and not self.config.is_deterministic:
            self._encoder.remember_written(
                request.token_ids, output, self.vocabulary.bytes_of, request.namespace
            )

    def abort(self, request_id: str) -> None:
        """End a request early."""
        self.engine.abort(request_id)

    def report(
        self,
        counted: RequestReport,
        prompt: PromptTokens,
        hint_field: object,
        api_key: str | None,
    ) -> Report:
        """Return the client's account of a finished request.

        Args:
            counted: the engine's account.
            prompt: what was asked.
            hint_field: the body's field `stemfirst`, as it was sent.
            api_key: what the client authenticated with; its segments are verified against it.
        """
        hint = hint_from_json(hint_field)
        reason = self._reason(counted)
        if hint is None and reason is None:
            placement, segments = NOWHERE, hints.NO_SEGMENTS
        else:
            placement = prompt.place()
            key = ChainKey.derive(api_key) if hint is not None and api_key else None
            segments = hints.verified(hint, key, prompt.body) if key else hints.NO_SEGMENTS
        place = None
        if reason is not None:
            place = hints.locate(
                counted.divergence_token, prompt.encoded, prompt.text_length, placement, segments
            )
        return build_report(
            counted,
            self._saved(counted),
            self._missed(counted),
            lost_tokens=missed_tokens(counted, self.config.page)[1],
            reason=reason,
            place=place,
            uses=hints.count_uses(prompt.encoded, counted.cached_tokens, placement, segments),
            price=self.served.price,
            notice=self.served.notice,
        )

    def _keep(self, event: FinishEvent, request: GenerationRequest) -> None:
        """Pin the prompt of a request that asked for it, if the tenant's share has room."""
        if not request.ttl_s or event.error is not None:
            return
        with suppress(InvalidRequestError):  # a hint: without room, it is none
            made = self.prefixes.add(
                tenant_of(request.namespace),
                request.namespace,
                request.token_ids,
                pages=len(request.token_ids) // self.config.page,
                ttl_s=request.ttl_s,
                name=None,
            )
            self.prefixes.confirm(made)
            data = request.token_ids.tobytes()
            self.engine.pin_soon(made.id, request.namespace, data, request.ttl_s)

    def _limit_cached(self, tenant: Tenant) -> None:
        if tenant.most_cached_tokens is not None:
            name = tenant.name
            self.engine.trim(lambda space: tenant_of(space) == name, tenant.most_cached_tokens)

    def _account(self, event: FinishEvent, request: GenerationRequest) -> None:
        counted = event.report
        for chunk in counted.chunks:
            if chunk.is_alone:
                self.cost_model.observe(Sample(chunk.context_tokens, chunk.new_tokens, chunk.ms))
        saved = self._saved(counted)
        self.metrics.finished(counted, event.reason, saved, self._reason(counted))
        if event.reason in (FinishReason.STOP, FinishReason.LENGTH):
            self.sums.add(tenant_of(request.namespace), sum_of(counted, saved))

    def _saved(self, counted: RequestReport) -> SavedTime | Unestimated:
        return self.cost_model.saved(counted.cached_tokens, counted.computed_tokens)

    def _missed(self, counted: RequestReport) -> SavedTime | Unestimated:
        context, lost, rest = missed_tokens(counted, self.config.page)
        return self.cost_model.avoided(context, lost, rest)

    def _reason(self, counted: RequestReport) -> str | None:
        reason = reason_of(
            counted, page=self.config.page, has_prefix_cache=self.config.has_prefix_cache
        )
        # What any two prompts share is no prompt that was changed.
        if reason == "prompt_changed" and counted.divergence_token <= self._opening_tokens:
            return "first_seen"
        return reason


def opening_tokens(template: ChatTemplate, encoder: Encoder) -> int:
    """Return with how many tokens of its own the chat template begins every conversation."""
    shared = []
    for role in ("system", "user"):
        with suppress(InvalidRequestError):  # some know no system message
            first, second = (
                encoder.encode(
                    printable(template.render(conversation([{"role": role, "content": text}]))),
                    namespace="",
                ).token_ids.tolist()
                for text in ("a", "b")
            )
            alike = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
            shared.append(sum(1 for _ in alike))
    return min(shared, default=0)


async def _beside(make: Callable[[], _Made], characters: int) -> _Made:
    """Return what `make` makes, beside the event loop if it is long work."""
    if characters <= _INLINE_CHARACTERS:
        return make()
    return await asyncio.to_thread(make)


def _nested(path: tuple[str | int, ...], prompt: str) -> Mapping[str, Any]:
    """Return a body in which `prompt` stands at `path`: `("prompt",)` or `("prompt", index)`."""
    return {"prompt": prompt} if len(path) == 1 else {"prompt": {path[1]: prompt}}
