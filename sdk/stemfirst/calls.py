"""One call under way: from the request to its savings, filed in the ledgers around it.

Knows what a response or a stream of OpenAI's text endpoints and of Anthropic's carries, and how
to watch it go by without changing it. Does not send: the clients do, sync and async alike.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from stemfirst.bodies import as_sent
from stemfirst.chain import ChainKey
from stemfirst.discovery import is_foreign
from stemfirst.entered import memory_here, open_entry
from stemfirst.entries import Status
from stemfirst.errors import PromptError
from stemfirst.observers import Outcome, Sent, has_observers, tell, tell_end
from stemfirst.plain import compared, runs_of_body
from stemfirst.references import Naming, is_prefix_unknown
from stemfirst.rendered import Rendered
from stemfirst.reports import held_from_json
from stemfirst.savings import Savings, field_of, remember_stream
from stemfirst.streams import Watched
from stemfirst.usage import mapping_of
from stemfirst.wire import BODY_FIELD, SESSION_HEADER

WATCHED_PATHS = frozenset({"/chat/completions", "/completions", "/responses", "/v1/messages"})
"""Endpoints that read a prompt, relative to the base URL."""

_FINISHED = ("response.completed", "response.incomplete", "message_stop")


class Call:
    """Watches one request's answer, and settles its ledger entry exactly once."""

    __slots__ = (
        "_before",
        "_body",
        "_ends",
        "_entry",
        "_first_chunk_s",
        "_holder",
        "_is_finished",
        "_last",
        "_naming",
        "_provider",
        "_recalled",
        "_rendered",
        "_runs",
        "_started_s",
    )

    def __init__(
        self,
        *,
        provider: str,
        rendered: Rendered | None,
        sent: Sent | None = None,
        naming: Naming | None = None,
        api_key: object = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        self._naming = naming
        self._body = body if rendered else None
        # A public API says nothing of what it compared.
        is_ours = rendered is None and not is_foreign(urlsplit(provider).hostname or "")
        self._runs = runs_of_body(body) if is_ours else ()
        self._provider = provider
        self._rendered = rendered
        self._before, is_new_epoch = _remember(rendered) if rendered else (None, False)
        memory = memory_here() if rendered else None
        recalled = memory.exchange(rendered, api_key) if memory and rendered else None
        self._recalled = None if is_new_epoch else recalled
        self._entry = open_entry(rendered)
        self._last: object = None
        self._holder: object = None  # what carries the usage
        self._is_finished = False
        self._started_s = time.perf_counter()
        self._first_chunk_s: float | None = None
        self._ends = tell(sent) if sent else ()

    @property
    def savings(self) -> Savings:
        """What is known by now; complete when the answer was received to its end."""
        return self._entry.savings

    def received(self, response: object) -> None:
        """Take a whole response."""
        self._settle(Status.COMPLETE, response)

    def saw(self, chunk: object) -> None:
        """Take one chunk of a stream.

        A consumer may leave with the last chunk in hand and never ask for the end, so the
        call is settled as soon as the model has finished and the usage is there.
        """
        if self._first_chunk_s is None:
            self._first_chunk_s = time.perf_counter() - self._started_s
        # The Responses API wraps the finished response in its closing event, Anthropic's the
        # begun message in its first one.
        whole = field_of(chunk, "response", "message") or chunk
        if field_of(chunk, "type") == "message_delta":
            self._holder = _with_newer_usage(self._holder, chunk)
        elif field_of(whole, "usage", BODY_FIELD) is not None:
            self._holder = whole
        self._last = whole
        self._is_finished = self._is_finished or _says_finished(chunk)
        if self._is_finished and self._holder is not None:
            self.ended()

    def ended(self) -> None:
        """Take a stream's end, which is early where the model had not finished."""
        if not self._is_finished:
            self.cut()
            return
        self._settle(Status.COMPLETE, self._holder or self._last)

    def cut(self) -> None:
        """Take a stream's early end: closed by its reader, or broken by the network."""
        self._settle(Status.CUT_OFF, self._holder or self._last)

    def whole_body(self, error: BaseException) -> Mapping[str, Any] | None:
        """Return the body's fields to send again in full, or None where the error stands.

        Only where the server did not know the prefix that the body named, and only once.
        """
        naming = self._naming
        if naming is None or not naming.is_named or not is_prefix_unknown(error):
            return None
        self._naming = naming.refused()
        return naming.whole

    def failed(self, error: BaseException | None = None) -> None:
        """Take an error instead of an answer."""
        self._settle(Status.FAILED, None, error)

    def _settle(self, status: Status, response: object, error: BaseException | None = None) -> None:
        if self._entry.status is not Status.OPEN:
            return
        if status is Status.FAILED:
            self._entry.close(status)
        else:
            is_complete = status is Status.COMPLETE
            if self._naming is not None:
                report = field_of(response, BODY_FIELD)
                self._naming.answered(held_from_json(field_of(report, "ref")))
            self._entry.close(status, self._read(response, is_complete=is_complete))
            if self._first_chunk_s is not None:
                remember_stream(field_of(response, "id"), self.savings)
        if self._ends:
            duration_s = time.perf_counter() - self._started_s
            tell_end(
                self._ends,
                Outcome(status, self.savings, response, duration_s, self._first_chunk_s, error),
            )

    def _read(self, response: object, *, is_complete: bool) -> Savings:
        savings = Savings.of(
            response,
            rendered=self._rendered,
            body=self._body,
            before=self._before,
            recalled=self._recalled,
            provider=self._provider,
            is_complete=is_complete,
        )
        return compared(savings, self._runs)


MOST_REMEMBERED = 64
"""Prompts of which the last rendering is remembered; their stable texts are held anyway."""

_sent_before: OrderedDict[str, Rendered] = OrderedDict()
_memory_lock = threading.Lock()


_new_epochs: set[str] = set()
"""Titles whose next prompt is compared to none, whoever sent the last one."""


def _remember(rendered: Rendered) -> tuple[Rendered | None, bool]:
    """Return what was sent before under this prompt's title, and remember this one.

    And whether it begins a new epoch, so that what other processes sent is no measure of it.
    """
    title = rendered.title
    if title is None:
        return None, False
    with _memory_lock:
        is_new_epoch = title in _new_epochs
        _new_epochs.discard(title)
        before = _sent_before.pop(title, None)
        _sent_before[title] = rendered
        if len(_sent_before) > MOST_REMEMBERED:
            _sent_before.popitem(last=False)
    return before, is_new_epoch


def forget(title: str) -> None:
    """Compare the next prompt of this title to none: it is meant to differ from the last one."""
    with _memory_lock:
        _sent_before.pop(title, None)
        _new_epochs.add(title)


def _says_finished(chunk: object) -> bool:
    """Whether a chunk says that the model has finished, in any of the known shapes."""
    if field_of(chunk, "type") in _FINISHED:
        return True
    choices = field_of(chunk, "choices") or ()
    return any(field_of(choice, "finish_reason") is not None for choice in choices)


def _with_newer_usage(holder: object, delta: object) -> object:
    """Return Anthropic's begun message with what came since: its counts are cumulative.

    Our server's report comes with them.
    """
    usage = mapping_of(field_of(delta, "usage")) or {}
    newer = {k: v for k, v in usage.items() if v is not None}
    before = mapping_of(field_of(holder, "usage")) or {}
    report = field_of(delta, BODY_FIELD) or field_of(holder, BODY_FIELD)
    return {
        **({BODY_FIELD: report} if report is not None else {}),
        "id": field_of(holder, "id"),
        "model": field_of(holder, "model"),
        "usage": {**before, **newer},
    }


def attach(response: object, savings: Savings) -> None:
    """Put `savings` on a response object, beside its fields.

    It goes into the instance's dict, as the packages' own `_request_id` does: there it is found
    by attribute access and copied along, and left out when the response is dumped to JSON.
    """
    if hasattr(response, "model_dump"):
        object.__setattr__(response, "savings", savings)


_sending: ContextVar[tuple[Rendered, Naming | None] | None] = ContextVar(
    "stemfirst_sending", default=None
)


@contextmanager
def sending(rendered: Rendered, naming: Naming | None = None) -> Iterator[None]:
    """Tell the client's hook, further down this call, which prompt is being sent.

    The package's `create()` stands between the two and passes on only what is sent. A prompt
    that is sent by other means can be named the same way, so that a miss finds its line:

        with sending(rendered):
            client.messages.create(model=..., max_tokens=..., **rendered.anthropic())

    `naming` is for our own clients: the prefix that the body names.

    Raises:
        PromptError: the prompt holds half a surrogate pair, which no request can carry.
    """
    token = _sending.set((rendered, naming))
    try:
        yield
    except UnicodeEncodeError as error:
        raise _unsendable(rendered) or error from None
    finally:
        _sending.reset(token)


def _unsendable(rendered: Rendered) -> PromptError | None:
    """Return the error that names the first segment which is no valid Unicode."""
    for segment in rendered.segments:
        try:
            segment.text.encode()
        except UnicodeEncodeError as error:
            place = f" (built at {segment.origin})" if segment.origin else ""
            return PromptError(
                f"{segment.label}{place} holds half a surrogate pair, "
                f"{segment.text[error.start]!r} at character {error.start:,}: it was cut inside a "
                "character or decoded with errors='surrogateescape'; decode it with "
                "errors='replace'"
            )
    return None


def start(options: Any, *, base_url: str, api_key: object) -> Call | None:
    """Return a new call for a request, or None where there is nothing to watch.

    Args:
        options: the package's `FinalRequestOptions`.
        base_url: where it goes.
        api_key: the client's key, where it is known by now.
    """
    path = str(options.url).partition("?")[0]
    if path not in WATCHED_PATHS:
        return None
    rendered, naming = _sending.get() or (None, None)
    given = as_sent(options.json_data) if isinstance(options.json_data, Mapping) else None
    sent = None
    if has_observers():
        body = given or {}
        if naming is not None:
            body = in_full(body, naming.whole)  # a name would mean nothing to its reader
        sent = Sent(
            path=path,
            base_url=base_url,
            body=body,
            at_s=time.time(),
            rendered=rendered,
            session_id=_session_of(options.headers),
            key=ChainKey.derive(api_key) if isinstance(api_key, str) and api_key else None,
        )
    return Call(
        provider=base_url,
        rendered=rendered,
        sent=sent,
        naming=naming,
        api_key=api_key,
        body=given if naming is None else None,
    )


def in_full(body: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body whose messages and tools are the whole ones, less our own field."""
    full = {**body, "messages": whole["messages"]}
    if whole["tools"]:
        full["tools"] = whole["tools"]
    return full


def _session_of(headers: object) -> str | None:
    if not isinstance(headers, Mapping):  # the package's "not given"
        return None
    found = [value for name, value in headers.items() if str(name).lower() == SESSION_HEADER]
    return found[0] if found and isinstance(found[0], str) else None


def parser_for(call: Call, inner: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """Return a `post_parser` for the request's options: watch, then parse as `inner` does.

    It runs wherever a response is parsed, also behind `with_raw_response`.
    """

    def parse(response: Any) -> Any:
        if isinstance(response, Watched):
            response.watched_by(call)
            return inner(response) if inner else response
        call.received(response)  # before `inner`, which raises on a cut answer
        parsed = inner(response) if inner else response
        attach(parsed, call.savings)
        return parsed

    return parse
