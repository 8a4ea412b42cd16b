"""Frameworks that call models for an app: the real packages, counted from below."""

import asyncio

import openai
import pytest
from stemfirst import Prompt, instrument, ledger, request, static


def test_pydantic_ai_runs_on_an_instrumented_client(peer):
    pytest.importorskip("pydantic_ai", reason="pip install pydantic-ai-slim")
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def work():
        async with openai.AsyncOpenAI(base_url=peer.url, api_key="sk") as client:
            provider = OpenAIProvider(openai_client=instrument(client))
            agent = Agent(OpenAIChatModel("gpt-4o", provider=provider), instructions="Be kind.")
            with ledger() as book:
                result = await agent.run("Where is it?")
        return result, book

    result, book = asyncio.run(work())
    assert result.output == "Hello!"
    assert (book.requests, book.cached_tokens) == (1, 1_536)


def test_langchain_counts_streams_errors_and_threads(peer, monkeypatch):
    langchain_openai = pytest.importorskip(
        "langchain_openai", reason="pip install langchain-openai"
    )
    from stemfirst.langchain import SavingsHandler

    model = langchain_openai.ChatOpenAI(
        model="gpt-4o", base_url=peer.url, api_key="sk", max_retries=0, stream_usage=True
    )
    messages = Prompt(static("Be kind."), request("Where?")).render().messages
    handler = SavingsHandler()
    with ledger() as book:
        model.batch([messages, messages], config={"callbacks": [handler]})
        text = "".join(
            str(chunk.content) for chunk in model.stream(messages, config={"callbacks": [handler]})
        )
        peer.failures = [400]
        with pytest.raises(openai.BadRequestError):
            model.invoke(messages, config={"callbacks": [handler]})
        stream = model.stream(messages, config={"callbacks": [handler]})
        assert next(stream) is not None
        stream.close()
    assert text == "Hello!"
    assert (book.requests, book.totals.failed, book.totals.incomplete) == (5, 1, 1)
    assert book.cached_tokens == 3 * 1_536
    assert handler.last.cached_tokens == 1_536
