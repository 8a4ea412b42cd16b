"""LangChain: a prompt's messages for any chat model, and a callback that counts its calls.

    model.invoke(rendered.messages, config={"callbacks": [SavingsHandler()]})

Knows LangChain's messages and callbacks. LangChain takes messages in the chat API's shape as
they are. Needs the package langchain-core (`pip install "stemfirst[langchain]"`).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import ChatGeneration, LLMResult

from stemfirst.entered import open_entry
from stemfirst.entries import Entry, Status
from stemfirst.savings import Savings


class SavingsHandler(BaseCallbackHandler):
    """Files each call of a chat model in the ledgers around it; chains and threads may share it.

    `last` is the newest call's savings.
    """

    def __init__(self) -> None:
        self.last: Savings | None = None
        self._open: dict[UUID, Entry] = {}

    # Runs in the caller's own context, where its ledgers are entered.
    run_inline = True

    def on_chat_model_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Take a call that begins."""
        self._open[run_id] = open_entry()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """Take an answer."""
        entry = self._open.pop(run_id, None)
        self.last = savings_of_result(response)
        if entry is not None:
            entry.close(Status.COMPLETE, self.last)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Take a failure, or that the reader of a stream left."""
        entry = self._open.pop(run_id, None)
        if entry is not None:
            is_left = not isinstance(error, Exception)  # a closed generator, a cancelled task
            entry.close(Status.CUT_OFF if is_left else Status.FAILED)


def savings_of_result(result: LLMResult) -> Savings:
    """Return the savings that a chat model's result reports, in whichever shape it does."""
    for generations in result.generations:
        for generation in generations:
            if not isinstance(generation, ChatGeneration):
                continue
            told = generation.message.response_metadata
            usage = told.get("token_usage") or told.get("usage")
            if usage is None:
                usage = _openais(getattr(generation.message, "usage_metadata", None))
            if usage is not None:
                model = told.get("model_name") or told.get("model")
                return Savings.of({"model": model, "usage": usage})
    return Savings()


def _openais(usage: Any) -> dict[str, Any] | None:
    """Return LangChain's own usage in OpenAI's shape; both count the cached tokens as input."""
    if not usage:
        return None
    details = usage.get("input_token_details") or {}
    known = {"cached_tokens": details.get("cache_read")}
    known["cache_write_tokens"] = details.get("cache_creation")
    return {
        "prompt_tokens": usage.get("input_tokens"),
        "completion_tokens": usage.get("output_tokens"),
        "prompt_tokens_details": {k: v for k, v in known.items() if v is not None},
    }
