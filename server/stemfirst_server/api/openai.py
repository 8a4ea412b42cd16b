"""What clients read: OpenAI's response shapes, with usage and our report on them.

Knows JSON shapes only. Source: openai 3.54.0, `types/chat` and `types/completion*.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stemfirst.wire import BODY_FIELD, HIT_HEADER, VERSION, report_to_json

if TYPE_CHECKING:
    from stemfirst.wire import Report

    from stemfirst_server.engine.request import RequestReport, TokenEvent
    from stemfirst_server.tokens.detokenize import Vocabulary
    from stemfirst_server.tools.calls import ToolCall

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """What all chunks of a response share."""

    response_id: str
    created_s: int
    model: str


def usage(counted: Sequence[RequestReport], output_tokens: int) -> Json:
    """Return the usage of a response: each prompt once, all answers.

    Args:
        counted: one report a prompt.
        output_tokens: of all choices together.
    """
    prompt_tokens = sum(report.prompt_tokens for report in counted)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": prompt_tokens + output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": sum(report.cached_tokens for report in counted),
            "cache_write_tokens": sum(report.cache_write_tokens for report in counted),
        },
    }


def report_field(report: Report, counted: RequestReport, prefix_name: Json | None = None) -> Json:
    """Return the field `stemfirst` of a response.

    Args:
        report: the account.
        counted: the engine's own.
        prefix_name: what the prefix is kept under, if it is.
    """
    field = report_to_json(report) | {"cache_write_tokens": counted.cache_write_tokens}
    if prefix_name is not None:
        field["ref"] = prefix_name
    return {BODY_FIELD: field}


def headers(report: Report, tokenize_ms: float) -> dict[str, str]:
    """Return the headers that say the same to those who never read bodies."""
    time = report.time
    spans = {
        "tokenize": tokenize_ms,
        "queue": time.queue,
        "prefill": time.prefill,
        "decode": time.decode,
    }
    return {
        "server-timing": ", ".join(f"{name};dur={ms:.2f}" for name, ms in spans.items()),
        HIT_HEADER: f"v{VERSION};hit={report.cached_tokens};of={report.prompt_tokens}",
    }


def model_list(names: Iterable[str], created_s: int, context_tokens: int) -> Json:
    """Return the body of `GET /v1/models`."""
    return {"object": "list", "data": [model_card(n, created_s, context_tokens) for n in names]}


def model_card(name: str, created_s: int, context_tokens: int) -> Json:
    """Return one model; `max_model_len` is what vLLM's clients look for."""
    return {
        "id": name,
        "object": "model",
        "created": created_s,
        "owned_by": "stemfirst",
        "max_model_len": context_tokens,
    }


class ChatShape:
    """Chat completions, whole and in chunks."""

    def __init__(self, head: Head, vocabulary: Vocabulary) -> None:
        self._head = head
        self._vocabulary = vocabulary
        self._told: dict[int, int] = {}

    def whole(self, choices: Sequence[Answer], wants_logprobs: bool) -> Json:
        """Return the response without usage."""
        return self._envelope("chat.completion") | {
            "choices": [
                {
                    "index": index,
                    "message": _message(choice),
                    "logprobs": self._logprobs(choice.tokens) if wants_logprobs else None,
                    "finish_reason": choice.finish,
                }
                for index, choice in enumerate(choices)
            ]
        }

    def opening(self, choice: int) -> Json | None:
        """Return the chunk that names the role."""
        return self._chunk(choice, {"role": "assistant", "content": ""}, None, None)

    def piece(
        self,
        choice: int,
        text: str,
        tokens: Sequence[TokenEvent],
        finish: str | None,
        wants_logprobs: bool,
        calls: Sequence[ToolCall] = (),
    ) -> Json:
        """Return the chunk of a piece of text and of the calls behind it, which are whole."""
        logprobs = self._logprobs(tokens) if wants_logprobs and tokens else None
        delta: Json = {"content": text} if text or (finish is None and not calls) else {}
        if calls:
            told = self._told.get(choice, 0)
            self._told[choice] = told + len(calls)
            delta["tool_calls"] = [
                {"index": told + number, **_call(call)} for number, call in enumerate(calls)
            ]
        return self._chunk(choice, delta, logprobs, finish)

    def closing(self) -> Json:
        """Return the chunk that carries nothing but usage."""
        return self._envelope("chat.completion.chunk") | {"choices": []}

    def _chunk(self, choice: int, delta: Json, logprobs: Json | None, finish: str | None) -> Json:
        return self._envelope("chat.completion.chunk") | {
            "choices": [
                {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            ]
        }

    def _envelope(self, kind: str) -> Json:
        head = self._head
        return {
            "id": head.response_id,
            "object": kind,
            "created": head.created_s,
            "model": head.model,
            "system_fingerprint": None,
        }

    def _logprobs(self, tokens: Sequence[TokenEvent]) -> Json:
        return {"content": token_logprobs(tokens, self._vocabulary), "refusal": None}


def token_logprobs(tokens: Sequence[TokenEvent], vocabulary: Vocabulary) -> list[Json]:
    """Return tokens with their logprobs and the most likely candidates'."""

    def shown(token_id: int, logprob: float | None) -> Json:
        data = vocabulary.bytes_of(token_id)
        return {
            "token": data.decode("utf-8", "replace"),
            "logprob": finite(logprob),
            "bytes": list(data),
        }

    return [
        shown(event.token_id, event.logprob)
        | {"top_logprobs": [shown(other.token_id, other.logprob) for other in event.top_logprobs]}
        for event in tokens
    ]


class CompletionShape:
    """Legacy completions, whole and in chunks."""

    def __init__(self, head: Head, vocabulary: Vocabulary) -> None:
        self._head = head
        self._vocabulary = vocabulary
        self._shown: dict[int, int] = {}

    def whole(self, choices: Sequence[Answer], wants_logprobs: bool) -> Json:
        """Return the response without usage."""
        return self._envelope() | {
            "choices": [
                self._choice(index, choice.text, choice.tokens, choice.finish, wants_logprobs)
                for index, choice in enumerate(choices)
            ]
        }

    def opening(self, choice: int) -> Json | None:
        """Return nothing: a legacy stream starts with text."""
        return None

    def piece(
        self,
        choice: int,
        text: str,
        tokens: Sequence[TokenEvent],
        finish: str | None,
        wants_logprobs: bool,
        calls: Sequence[ToolCall] = (),
    ) -> Json:
        """Return the chunk of a piece of text; there are no calls."""
        return self._envelope() | {
            "choices": [self._choice(choice, text, tokens, finish, wants_logprobs)]
        }

    def closing(self) -> Json:
        """Return the chunk that carries nothing but usage."""
        return self._envelope() | {"choices": []}

    def _choice(
        self,
        index: int,
        text: str,
        tokens: Sequence[TokenEvent],
        finish: str | None,
        wants_logprobs: bool,
    ) -> Json:
        return {
            "index": index,
            "text": text,
            "logprobs": self._logprobs(index, tokens) if wants_logprobs else None,
            "finish_reason": finish,
        }

    def _envelope(self) -> Json:
        head = self._head
        return {
            "id": head.response_id,
            "object": "text_completion",
            "created": head.created_s,
            "model": head.model,
            "system_fingerprint": None,
        }

    def _logprobs(self, choice: int, tokens: Sequence[TokenEvent]) -> Json:
        spelled = [self._spelled(event.token_id) for event in tokens]
        offsets = []
        for text in spelled:
            offsets.append(self._shown.get(choice, 0))
            self._shown[choice] = offsets[-1] + len(text)
        return {
            "tokens": spelled,
            "token_logprobs": [finite(event.logprob) for event in tokens],
            "top_logprobs": [
                {
                    self._spelled(other.token_id): finite(other.logprob)
                    for other in event.top_logprobs
                }
                for event in tokens
            ],
            "text_offset": offsets,
        }

    def _spelled(self, token_id: int) -> str:
        return self._vocabulary.bytes_of(token_id).decode("utf-8", "replace")


@dataclass(slots=True)
class Answer:
    """One choice as it is gathered from pieces."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    finish: str | None = None
    tokens: list[TokenEvent] = field(default_factory=list)
    report: RequestReport | None = None
    output_tokens: int = 0
    stop: str | None = None


def _message(choice: Answer) -> Json:
    message: Json = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.calls:
        message["content"] = choice.text or None
        message["tool_calls"] = [_call(call) for call in choice.calls]
    return message


def _call(call: ToolCall) -> Json:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def finite(logprob: float | None) -> float | None:
    """Return a logprob that JSON can hold; OpenAI's own floor is -9999."""
    return None if logprob is None else max(logprob, -9999.0)


def with_fields(body: Json, *more: Mapping[str, Any]) -> Json:
    """Return the body with further fields behind its own."""
    for fields in more:
        body.update(fields)
    return body
