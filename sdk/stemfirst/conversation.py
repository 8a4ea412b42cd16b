"""A conversation as an append-only log: past turns stay byte for byte as they were sent.

    talk = Conversation(POLICY)
    turn = talk.turn(request(question))
    answer = client.ask(turn)
    talk.add(turn, answer)

Knows what was sent, and proves that each turn begins with it. Does not send. A history that
must get shorter starts a new epoch by `compact`, which costs one cold prompt, and is counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from stemfirst.divergence import first_difference
from stemfirst.errors import HistoryChangedError, PromptError
from stemfirst.messages import as_mapping
from stemfirst.prompt import Prompt, session, system
from stemfirst.rendered import Rendered
from stemfirst.segments import Message, Segment
from stemfirst.tiers import Tier

STATE_VERSION = 1


class Reply(Protocol):
    """What `ask` returns, as far as a conversation stores it."""

    @property
    def message(self) -> dict[str, Any]:
        """The model's message in the shape of the chat API."""


class Conversation:
    """One conversation behind a prompt; grows by whole messages.

    Args:
        prompt: what stands before the history: static and tenant text.
        history: messages of earlier turns, in the shape of the chat API.

    Raises:
        PromptError: a message of `history` is none.
    """

    def __init__(self, prompt: Prompt, history: Sequence[Mapping[str, Any]] = ()) -> None:
        self.prompt = prompt
        self.epoch = 0
        """How often the history was compacted."""
        session(history)  # raises where a message is none
        self._log = tuple(map(_text, history))
        self._front: tuple[str, ...] | None = None  # the prompt's own messages, once sent
        self._front_digest: str | None = None
        self._title: str | None = None  # what the turns are called, once one was sent
        self._is_new_epoch = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The history in the shape of the chat API; a fresh copy at each call."""
        return [json.loads(item) for item in self._log]

    @property
    def digest(self) -> str:
        """SHA-256 of the history, as 64 hex characters."""
        return _digest(self._log)

    def turn(self, *parts: Segment | Message | Sequence[Message]) -> Prompt:
        """Return the prompt of the next turn: the history, and `parts` behind it.

        Raises:
            PromptError: a part is static or tenant text, which stands in front of the history.
        """
        whole: list[Segment | Message | Sequence[Message]] = []
        for part in parts:
            if isinstance(part, Segment) and part.tier < Tier.SESSION:
                raise PromptError(
                    f"{part} belongs into the conversation's prompt, in front of the history: "
                    "Conversation(Prompt(...))"
                )
            # Loose text would be welded to the system message in the first turn, and to none later.
            is_note = isinstance(part, Segment) and part.tier is Tier.SESSION
            whole.append(system(cast("Segment", part)) if is_note else part)
        return self.prompt.then(session(self.messages), *whole)

    def add(self, sent: Prompt | Rendered, *replies: Mapping[str, Any] | Reply) -> None:
        """Store a turn: what was sent behind the history, and what came back.

        Args:
            sent: as it was sent; a prompt with holes has to be rendered.
            replies: the model's message or the answer that holds it, and the results of its
                tools where they are known.

        Raises:
            HistoryChangedError: `sent` does not begin with the history as it was sent.
            PromptError: `sent` is no turn of this conversation.
        """
        rendered = sent.render() if isinstance(sent, Prompt) else sent
        messages = [_text(item) for item in rendered.messages]
        fixed = len(self.prompt.messages)
        if len(messages) < fixed:
            raise PromptError(
                f"the turn has {len(messages)} messages, the conversation's prompt {fixed}: "
                "build it with turn(...)"
            )
        front = tuple(messages[:fixed])
        self._prove((*(self._front or front), *self._log), messages)
        if self._front_digest not in (None, _digest(front)):
            raise HistoryChangedError(
                "the messages in front of the history are not what was sent before it was stored: "
                "everything behind them is read again"
            )
        self._front, self._front_digest = front, _digest(front)
        self._title, self._is_new_epoch = rendered.title, False
        self._log = (*messages[fixed:], *(_text(_message(reply)) for reply in replies))

    def append(self, *messages: Mapping[str, Any]) -> None:
        """Append messages that belong to the last turn: the results of tools."""
        session(messages)  # raises where one is none
        self._log = (*self._log, *map(_text, messages))

    def prove(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Check that a list of messages, kept elsewhere, begins with this history.

        Raises:
            HistoryChangedError: it does not; the message names the first that differs.
        """
        self._prove(self._log, [_text(item) for item in messages])

    def _prove(self, known: Sequence[str], given: Sequence[str]) -> None:
        for index, before in enumerate(known):
            if index >= len(given):
                raise HistoryChangedError(
                    f"message {index} of {len(known)} that were sent is missing: append only, or "
                    "start a new epoch with compact(...)"
                )
            difference = first_difference(before, given[index])
            if difference is not None:
                raise HistoryChangedError(
                    f"message {index} is not what was sent:\n"
                    f"{difference.window(('sent', 'now'))}\n"
                    "Everything behind it is read again. Append only, or start a new epoch with "
                    "compact(...)"
                )

    def compact(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Start a new epoch: `messages` (a summary, the last turns) are the history from now on.

        Raises:
            PromptError: a message is none.
        """
        session(messages)
        self._log = tuple(map(_text, messages))
        self.epoch += 1
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        """Let the next miss not be told as a history that slid."""
        self._is_new_epoch = True
        if self._title is not None:
            from stemfirst.calls import forget

            forget(self._title)

    def to_json(self) -> dict[str, Any]:
        """Return the state for a store of your own: the history, its epoch and its digest."""
        return {
            "v": STATE_VERSION,
            "epoch": self.epoch,
            "messages": self.messages,
            "sha256": self.digest,
            "front_sha256": self._front_digest,
            "title": self._title,
            "is_new_epoch": self._is_new_epoch,
        }

    @classmethod
    def from_json(cls, prompt: Prompt, state: Mapping[str, Any]) -> Conversation:
        """Return the conversation of a stored state, proven to be what was stored.

        Raises:
            HistoryChangedError: the messages are not those that were stored.
            PromptError: `state` is none.
        """
        if not isinstance(state, Mapping):
            raise PromptError(f"this is no stored conversation: {type(state).__name__}")
        messages, epoch = state.get("messages"), state.get("epoch")
        if state.get("v") != STATE_VERSION or not isinstance(messages, list):
            raise PromptError(f"this is no stored conversation: {str(dict(state))[:80]}")
        talk = cls(prompt, messages)
        talk.epoch = epoch if isinstance(epoch, int) else 0
        front = state.get("front_sha256")
        talk._front_digest = front if isinstance(front, str) else None
        if state.get("sha256") != talk.digest:
            raise HistoryChangedError(
                f"the {len(messages)} stored messages are not those that were stored (SHA-256 "
                f"{talk.digest[:12]}… now, {str(state.get('sha256'))[:12]}… then)"
            )
        title = state.get("title")
        talk._title = title if isinstance(title, str) else None
        if state.get("is_new_epoch") is True:
            talk._begin_epoch()  # compacted by another process, and not sent since
        return talk


def _message(reply: object) -> Mapping[str, Any]:
    held = getattr(reply, "message", None)
    if isinstance(held, Mapping):
        return held
    if isinstance(reply, Mapping) or hasattr(reply, "model_dump"):
        return as_mapping(reply, 0)
    raise PromptError(
        f"a reply is a message or an answer that holds one, got {type(reply).__name__}"
    )


def _text(message: Mapping[str, Any]) -> str:
    """Return a message as JSON, its fields in the order in which a prompt sends them."""
    message = as_mapping(message, 0)
    front = {"role": message.get("role"), "content": message.get("content")}
    return json.dumps({**front, **message}, ensure_ascii=False)


def _digest(log: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(log).encode("utf-8", "surrogatepass")).hexdigest()
