"""Clients whose calls are watched, and copies of existing clients that are.

Knows the one method through which every request of a client of the packages openai and
anthropic goes, and that such a client makes copies of itself. Bodies and headers stay as the
caller gave them; the classes and objects of the packages stay as they are.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from copy import copy
from functools import cached_property, lru_cache
from inspect import getattr_static, iscoroutinefunction
from typing import Any, TypeVar, cast

from stemfirst.calls import Call, in_full, parser_for, start
from stemfirst.errors import ClientError
from stemfirst.streams import watched
from stemfirst.wire import BODY_FIELD

C = TypeVar("C")

WATCHED = "_is_watched_by_stemfirst"
"""The attribute of classes whose calls are watched."""


def watched_request(kind: Any) -> Any:
    """Return the method `request` of a subclass of `kind` whose calls are watched."""
    return _async_request(kind) if iscoroutinefunction(kind.request) else _request(kind)


def _request(kind: Any) -> Any:
    def request(
        self: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """Send one request; watch the answer where it is one to a prompt."""
        call = _start(self, options)
        if call is None:
            return kind.request(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        options, stream_cls = _watch(options, call), watched(stream_cls)
        try:
            return kind.request(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        except BaseException as error:
            again = _in_full(options, call.whole_body(error))
            if again is None:
                call.failed(error)
                raise
        try:
            return kind.request(self, cast_to, again, stream=stream, stream_cls=stream_cls)
        except BaseException as error:
            call.failed(error)
            raise

    return request


def _async_request(kind: Any) -> Any:
    async def request(
        self: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """Send one request; watch the answer where it is one to a prompt."""
        call = _start(self, options)
        if call is None:
            return await kind.request(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        options, stream_cls = _watch(options, call), watched(stream_cls)
        try:
            return await kind.request(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        except BaseException as error:
            again = _in_full(options, call.whole_body(error))
            if again is None:
                call.failed(error)
                raise
        try:
            return await kind.request(self, cast_to, again, stream=stream, stream_cls=stream_cls)
        except BaseException as error:
            call.failed(error)
            raise

    return request


def instrument(client: C) -> C:
    """Return a copy of a client whose calls are counted, with `savings` on each answer.

    The copy sends exactly what the client would, shares its connections and options, is of its
    type and has its attributes; the client itself stays as it is.

    Args:
        client: one of the openai or the anthropic package, sync or async, Azure's and Bedrock's
            too.

    Raises:
        ClientError: it is something else.
    """
    kind: Any = type(client)
    home = kind.__module__.partition(".")[0]
    bases = {base.__module__.partition(".")[0] for base in kind.__mro__} | {home}
    if not bases & {"openai", "anthropic"} or not (
        hasattr(kind, "copy") and hasattr(kind, "request") and hasattr(client, "base_url")
    ):
        raise ClientError(
            "instrument() takes a client of the package openai or anthropic, "
            f"got {kind.__module__}.{kind.__qualname__}; for others, read each response with "
            "savings_of(response)"
        )
    # Not by its own copy(), which calls the constructor: a subclass may have another one.
    copied: Any = copy(client)
    # `chat`, `messages` and the like hold the client that they send by: they are made anew.
    for name, value in list(vars(copied).items()):
        if getattr(value, "_client", None) is not client:
            continue
        if isinstance(getattr_static(kind, name, None), cached_property):
            del vars(copied)[name]
        else:
            setattr(copied, name, type(value)(copied))
    if not getattr(kind, WATCHED, False):
        # The copy is nobody else's yet, so its class may change. Its own copies follow it.
        copied.__class__ = _watched_kind(cast("Hashable", type(copied)))
    return copied  # type: ignore[no-any-return]


@lru_cache(maxsize=32)
def _watched_kind(kind: Any) -> Any:
    # One base only: with a mixin before it, the layout would differ.
    members = {"request": watched_request(kind), WATCHED: True, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), members)


def _start(client: Any, options: Any) -> Call | None:
    # Clients of cloud platforms have other credentials than a key.
    key = getattr(client, "api_key", None)
    return start(options, base_url=str(client.base_url), api_key=key)


def _in_full(options: Any, whole: Mapping[str, Any] | None) -> Any:
    """Return the request's options with the whole body in the place of one that names a prefix."""
    if whole is None:
        return None
    copied = options.model_copy()
    copied.json_data = in_full(options.json_data, whole)
    copied.extra_json = {**(options.extra_json or {}), BODY_FIELD: whole[BODY_FIELD]}
    return copied


def _watch(options: Any, call: Call) -> Any:
    """Return the request's options with a parser that shows each answer to `call`."""
    inner = options.post_parser
    copied = options.model_copy()
    copied.post_parser = parser_for(call, inner if callable(inner) else None)
    return copied
