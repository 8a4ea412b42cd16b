"""Clients for any OpenAI-compatible endpoint that report what the prefix cache did.

`Client` and `AsyncClient` are the openai package's clients: same arguments, retries, timeouts
and errors. On top they have `ask` and `stream`, which send a `Prompt`, and every text response
carries `savings` and is counted in the ledgers around it.

Knows when to send. What is sent and made of the answer is `stemfirst.asking`'s; how an answer
is watched is `stemfirst.calls`'s and `stemfirst.watching`'s. Hints go only to a server that
says it is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import openai
from openai.types.chat import ChatCompletion

from stemfirst.answers import Answer, AnswerStream, AsyncAnswerStream, answer_of
from stemfirst.asking import Question, Ready, question
from stemfirst.calls import sending
from stemfirst.discovery import Capabilities, Discovery, is_foreign, is_openais
from stemfirst.loops import in_each_loop, taken_from
from stemfirst.prompt import Prompt, Rendered
from stemfirst.references import KnownPrefixes
from stemfirst.watching import watched_request

DISCOVERY_PATH = "/stemfirst"
"""Relative to the base URL, which ends in `/v1`."""

DISCOVERY_OPTIONS: dict[str, Any] = {"timeout": 5.0, "max_retries": 0}
"""A server that does not say soon that it is ours is treated as any other."""


_NO_SUCH_PAGE = frozenset({404, 405, 410, 501})


class _Hinting:
    """What both clients add to the openai package's, as far as it awaits nothing."""

    _is_watched_by_stemfirst = True

    _package_name: str

    # The signature that a type checker sees is the base class's.
    if not TYPE_CHECKING:

        @property
        def user_agent(self):
            """As the openai package names itself: some gateways route by it."""
            return f"{self._package_name}/Python {self._version}"

    @cached_property
    def _servers(self) -> Discovery:
        return Discovery()

    @cached_property
    def _prefixes(self) -> KnownPrefixes:
        return KnownPrefixes()

    if not TYPE_CHECKING:

        def copy(self, **options):
            """Return a client with these options changed; what is known of servers is shared."""
            copied = super().copy(**options)
            copied.__dict__["_servers"] = self._servers
            copied.__dict__["_prefixes"] = self._prefixes
            return copied

        with_options = copy


class Client(_Hinting, openai.OpenAI):
    """The openai package's client, with `ask`, `stream` and savings; threads may share it."""

    _package_name = "OpenAI"

    if not TYPE_CHECKING:
        request = watched_request(openai.OpenAI)

    def ask(
        self,
        prompt: Prompt | Rendered,
        /,
        *,
        model: str | None = None,
        values: Mapping[str, object] | None = None,
        session_id: str | None = None,
        **arguments: Any,
    ) -> Answer:
        """Send a prompt and return the model's answer with what the cache did.

        Args:
            prompt: what to send.
            model: by default the one that the server serves, where it is stemfirst's own.
            values: values of the prompt's holes, by name.
            session_id: keeps a conversation on one replica; by default derived from the prompt.
            arguments: values of holes too, and options of `chat.completions.create`;
                `response_format` may be a pydantic model, of which `answer.parsed` is one then.

        Raises:
            ClientError: an argument is ambiguous or misplaced, or no model is named.
            MissingValueError: a hole got no value.
            openai.OpenAIError: as from `chat.completions.create`.
        """
        asked = _asked(prompt, model, values, session_id, arguments)
        ready = _ready(self, asked, self.capabilities())
        with sending(asked.rendered, ready.naming):
            completion = _method(self.chat.completions, ready)(**ready.arguments)
        return answer_of(cast("ChatCompletion", completion))

    def stream(
        self,
        prompt: Prompt | Rendered,
        /,
        *,
        model: str | None = None,
        values: Mapping[str, object] | None = None,
        session_id: str | None = None,
        **arguments: Any,
    ) -> AnswerStream:
        """Send a prompt and return the answer's text as it comes; arguments as for `ask`."""
        asked = _asked(prompt, model, values, session_id, arguments)
        ready = _ready(self, asked, self.capabilities(), is_streamed=True)
        with sending(asked.rendered, ready.naming):
            raw = cast("Any", self.chat.completions.create(**ready.arguments))
        return AnswerStream(raw, asked.options.get("response_format"))

    def capabilities(self) -> Capabilities | None:
        """Return what the server says of itself, or None where it is not stemfirst's.

        Asks at most once in ten minutes per base URL, and never a provider's public API.
        """
        where = str(self.base_url)
        known = self._servers.recall(where)
        if known is not None:
            return known.capabilities
        if is_foreign(self.base_url.host):
            return None
        try:
            answer = self.get(
                DISCOVERY_PATH, cast_to=object, options=cast("Any", DISCOVERY_OPTIONS)
            )
        except (openai.OpenAIError, ValueError) as error:  # ValueError: not the JSON it claims
            self._servers.fail(where, is_final=_is_final(error))
            return None
        return self._servers.learn(where, answer)


class AsyncClient(_Hinting, openai.AsyncOpenAI):
    """The openai package's async client, with `ask`, `stream` and savings.

    Event loops may share it: each has connections of its own, unless you brought an `http_client`.
    """

    _package_name = "AsyncOpenAI"

    if not TYPE_CHECKING:
        request = in_each_loop(watched_request(openai.AsyncOpenAI))

        async def close(self):
            """Close the connections of the running event loop; in the first one, the client."""
            http = taken_from(self._client)
            await (super().close() if http is None else http.aclose())

    async def ask(
        self,
        prompt: Prompt | Rendered,
        /,
        *,
        model: str | None = None,
        values: Mapping[str, object] | None = None,
        session_id: str | None = None,
        **arguments: Any,
    ) -> Answer:
        """Send a prompt and return the model's answer; arguments as for `Client.ask`."""
        asked = _asked(prompt, model, values, session_id, arguments)
        ready = _ready(self, asked, await self.capabilities())
        with sending(asked.rendered, ready.naming):
            completion = await _method(self.chat.completions, ready)(**ready.arguments)
        return answer_of(cast("ChatCompletion", completion))

    def stream(
        self,
        prompt: Prompt | Rendered,
        /,
        *,
        model: str | None = None,
        values: Mapping[str, object] | None = None,
        session_id: str | None = None,
        **arguments: Any,
    ) -> AsyncAnswerStream:
        """Send a prompt and return the answer's text as it comes; arguments as for `ask`.

        `async with client.stream(...) as answer` and `await client.stream(...)` both send it.
        """
        asked = _asked(prompt, model, values, session_id, arguments)

        async def send() -> Any:
            ready = _ready(self, asked, await self.capabilities(), is_streamed=True)
            with sending(asked.rendered, ready.naming):
                return await self.chat.completions.create(**ready.arguments)

        return AsyncAnswerStream(send, asked.options.get("response_format"))

    async def capabilities(self) -> Capabilities | None:
        """Return what the server says of itself, or None where it is not stemfirst's."""
        where = str(self.base_url)
        known = self._servers.recall(where)
        if known is not None:
            return known.capabilities
        if is_foreign(self.base_url.host):
            return None
        options = cast("Any", DISCOVERY_OPTIONS)
        try:
            answer = await self.get(DISCOVERY_PATH, cast_to=object, options=options)
        except (openai.OpenAIError, ValueError) as error:
            self._servers.fail(where, is_final=_is_final(error))
            return None
        return self._servers.learn(where, answer)


def _method(completions: Any, ready: Ready) -> Any:
    """Return what sends: `parse` where the answer is to be one of a type, else `create`."""
    wanted = ready.arguments.get("response_format")
    return completions.parse if isinstance(wanted, type) else completions.create


def _ready(
    client: Client | AsyncClient,
    asked: Question,
    capabilities: Capabilities | None,
    *,
    is_streamed: bool = False,
) -> Ready:
    return asked.ready(
        capabilities,
        client._prefixes,
        base_url=str(client.base_url),
        api_key=client.api_key,
        default_headers=client.default_headers,
        is_streamed=is_streamed,
        is_openais=is_openais(client.base_url.host),
    )


def _asked(
    prompt: Prompt | Rendered,
    model: str | None,
    values: Mapping[str, object] | None,
    session_id: str | None,
    arguments: Mapping[str, Any],
) -> Question:
    return question(prompt, model=model, values=values, session_id=session_id, arguments=arguments)


def _is_final(error: Exception) -> bool:
    """Whether the server itself said that it has no such page: asking again soon is of no use.

    A gateway's 401, 408 or 429 says nothing of the server behind it.
    """
    return isinstance(error, openai.APIStatusError) and error.status_code in _NO_SUCH_PAGE
