"""Chat and legacy completions as clients use them, against the real server."""

from __future__ import annotations

import asyncio
import json
import math
from time import monotonic
from typing import Any

import httpx
import openai
import pytest

MODEL = "stemfirst-demo"
PAGE = 16


def ask(client: openai.OpenAI, policy: str, question: str, **more: Any) -> Any:
    return client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "system", "content": policy}, {"role": "user", "content": question}],
        **{"max_tokens": 4, "temperature": 0, **more},
    )


def report_of(response: Any) -> dict[str, Any]:
    report: dict[str, Any] = response.model_extra["stemfirst"]
    return report


def test_a_second_request_reads_its_prefix_from_the_cache_in_whole_pages(
    client: openai.OpenAI, policy: str
) -> None:
    cold = ask(client, policy, "Where is my order?")
    warm = ask(client, policy, "Can I return a shoe?")
    cached = warm.usage.prompt_tokens_details.cached_tokens
    assert cold.usage.prompt_tokens_details.cached_tokens == 0
    assert cold.usage.prompt_tokens_details.cache_write_tokens > 0
    assert cached > 400
    assert cached % PAGE == 0
    assert warm.usage.prompt_tokens - cached < 3 * PAGE


def test_the_same_request_computes_the_rest_of_the_last_page_only(
    client: openai.OpenAI, policy: str
) -> None:
    first = ask(client, policy, "Same?")
    second = ask(client, policy, "Same?")
    prompt = second.usage.prompt_tokens
    assert report_of(second)["cached_tokens"] == (prompt - 1) // PAGE * PAGE
    assert report_of(second)["missed"] is None
    assert second.choices[0].message.content == first.choices[0].message.content


def test_a_warm_answer_is_the_cold_one(client: openai.OpenAI, policy: str) -> None:
    ask(client, policy, "Prime it")
    warm = ask(client, policy, "What now?", max_tokens=12)
    cold = ask(client, policy, "What now?", max_tokens=12, extra_body={"cache_salt": policy})
    assert report_of(warm)["cached_tokens"] > 0
    assert report_of(cold)["cached_tokens"] == 0
    assert warm.choices[0].message.content == cold.choices[0].message.content


def test_the_report_accounts_for_every_token_and_says_what_was_saved(
    client: openai.OpenAI, policy: str
) -> None:
    ask(client, policy, "One")
    report = report_of(ask(client, policy, "Two, and some more"))
    assert report["v"] == 1
    assert report["cached_tokens"] + report["computed_tokens"] == report["prompt_tokens"]
    assert report["source"] == {"gpu": report["cached_tokens"], "host": 0, "disk": 0}
    time = report["time"]
    assert time["ttft"] >= time["prefill"] > 0
    assert time["tpot"] == pytest.approx(time["decode"] / 3, abs=0.01)
    assert "random weights" in report["notice"]
    deadline = monotonic() + 60
    while report["time"]["prefill_ms_saved"] is None:
        # A machine that was busy at the start: every prefill that follows tells the law more.
        assert report["cost"] is None
        assert monotonic() < deadline, "the server never came to an estimate"
        ask(client, policy, "Once more", extra_body={"cache_salt": str(monotonic())})
        report = report_of(ask(client, policy, "Two, and some more"))
    saved, cost = report["time"]["prefill_ms_saved"], report["cost"]
    assert saved["lo"] <= saved["est"] <= saved["hi"]
    assert saved["est"] > 10
    assert cost["saved"] == pytest.approx(saved["est"] * 2 / 3_600_000, rel=1e-3)
    assert cost["without_cache"] == pytest.approx(cost["actual"] + cost["saved"])


def test_a_miss_is_placed_at_the_byte_where_the_prompt_changed(
    client: openai.OpenAI, policy: str
) -> None:
    ask(client, policy + "Now it is 12:00. Good luck.", "Go")
    report = report_of(ask(client, policy + "Now it is 13:00. Good luck.", "Go"))
    missed = report["missed"]
    assert missed["reason"] == "prompt_changed"
    assert missed["at"]["path"] == ["messages", 0, "content"]
    length = len(policy.encode())
    assert length + len("Now it is") <= missed["at"]["byte"] <= length + len("Now it is 13")


def test_headers_say_what_the_body_says(http: httpx.Client, policy: str) -> None:
    answer = http.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": policy}], "max_tokens": 2},
        headers={"x-request-id": "mine-1"},
    )
    report = answer.json()["stemfirst"]
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-stemfirst"] == f"v1;hit=0;of={report['prompt_tokens']}"
    assert f"prefill;dur={report['time']['prefill']:.2f}" in answer.headers["server-timing"]


@pytest.mark.parametrize("include_usage", [True, False, None])
def test_a_stream_carries_usage_as_asked_and_the_report_always(
    client: openai.OpenAI, policy: str, include_usage: bool | None
) -> None:
    more: dict[str, Any] = {}
    if include_usage is not None:
        more["stream_options"] = {"include_usage": include_usage}
    chunks = list(ask(client, policy, "Stream", stream=True, **more))
    last = chunks[-1]
    assert bool(last.usage) is (include_usage is not False)
    assert (last.choices == []) is (include_usage is True)
    assert report_of(last)["prompt_tokens"] > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])
    if last.usage:
        assert last.usage.completion_tokens == 4
        assert last.usage.prompt_tokens_details.cached_tokens == 0


def test_a_stream_is_the_same_text_in_pieces(client: openai.OpenAI, policy: str) -> None:
    whole = ask(client, policy, "Text", max_tokens=40)
    chunks = list(ask(client, policy, "Text", max_tokens=40, stream=True))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"


def test_a_stream_ends_with_done(http: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: ")) for line in lines[:-1])


def test_a_stop_string_is_found_across_tokens_and_not_shown(
    client: openai.OpenAI, policy: str
) -> None:
    text = ask(client, policy, "Stop", max_tokens=40).choices[0].message.content
    stop = text[30:45]
    stopped = ask(client, policy, "Stop", max_tokens=40, stop=[stop, "never there at all"])
    assert stopped.choices[0].message.content == text[: text.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.usage.completion_tokens < 40
    chunks = list(ask(client, policy, "Stop", max_tokens=40, stop=stop, stream=True))
    shown = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert shown == text[: text.index(stop)]


def test_n_answers_share_one_prompt(client: openai.OpenAI, policy: str) -> None:
    answer = ask(client, policy, "Many", n=3, temperature=1.0, seed=5, max_tokens=8)
    texts = {choice.message.content for choice in answer.choices}
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(texts) == 3
    assert answer.usage.completion_tokens == 24
    assert answer.usage.prompt_tokens == report_of(answer)["prompt_tokens"]
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_a_seed_repeats_and_a_temperature_varies(client: openai.OpenAI, policy: str) -> None:
    def sampled(seed: int) -> str:
        answer = ask(client, policy, "Seed", temperature=1.0, seed=seed, max_tokens=8)
        return str(answer.choices[0].message.content)

    assert sampled(1) == sampled(1) != sampled(2)


def test_logprobs_name_the_tokens_that_were_taken(client: openai.OpenAI, policy: str) -> None:
    answer = ask(client, policy, "Logprobs", logprobs=True, top_logprobs=3, max_tokens=5)
    content = answer.choices[0].logprobs.content
    assert b"".join(bytes(item.bytes) for item in content).decode("utf-8", "replace") == (
        answer.choices[0].message.content
    )
    for item in content:
        best = [top.logprob for top in item.top_logprobs]
        assert best == sorted(best, reverse=True)
        assert item.logprob == pytest.approx(best[0])
        assert sum(map(math.exp, best)) <= 1.0


def test_logit_bias_forbids_a_token(client: openai.OpenAI, policy: str) -> None:
    first = ask(client, policy, "Bias", max_tokens=1, logprobs=True)
    token = first.choices[0].message.content
    models = client.models.list().data
    assert models[0].id == MODEL
    banned = {str(token_id): -100 for token_id in range(200, 300)}
    forced = ask(client, policy, "Bias", max_tokens=4, logit_bias={"300": 100})
    assert len({*[forced.choices[0].message.content[:3]]}) == 1
    assert ask(client, policy, "Bias", max_tokens=1, logit_bias=banned).choices
    assert token is not None


def test_tools_and_calls_of_past_turns_reach_the_model(client: openai.OpenAI, policy: str) -> None:
    tool = {
        "type": "function",
        "function": {"name": "find_order", "parameters": {"type": "object", "properties": {}}},
    }
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "find_order", "arguments": '{"id": 7}'},
    }
    messages: list[Any] = [
        {"role": "system", "content": policy},
        {"role": "user", "content": "Where is it?"},
    ]
    without = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=1)
    with_tools = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[tool], max_tokens=1
    )
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"state": "sent"}'},
    ]
    after = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[tool], max_tokens=1
    )
    assert without.usage is not None
    assert with_tools.usage is not None
    assert after.usage is not None
    assert without.usage.prompt_tokens < with_tools.usage.prompt_tokens < after.usage.prompt_tokens
    details = after.usage.prompt_tokens_details
    assert details is not None
    assert details.cached_tokens is not None
    assert details.cached_tokens >= with_tools.usage.prompt_tokens - 2 * PAGE


def test_parts_of_text_are_the_text(client: openai.OpenAI, policy: str) -> None:
    ask(client, policy, "Parts?")
    parts: list[Any] = [
        {"type": "text", "text": policy[:100]},
        {"type": "text", "text": policy[100:]},
    ]
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "system", "content": parts}, {"role": "user", "content": "Parts?"}],
        max_tokens=1,
    )
    assert report_of(answer)["missed"] is None


def test_legacy_completions_take_text_lists_and_tokens(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL, prompt=["one two", "three"], max_tokens=3, n=2, temperature=0, echo=True
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text.startswith("one two")
    assert answer.choices[3].text.startswith("three")
    assert answer.choices[0].text == answer.choices[1].text
    tokens = client.completions.create(
        model=MODEL, prompt=[300, 301, 302], max_tokens=2, logprobs=2, temperature=0
    )
    assert tokens.usage is not None
    assert tokens.usage.prompt_tokens == 3
    logprobs = tokens.choices[0].logprobs
    assert logprobs is not None
    assert "".join(logprobs.tokens or []) == tokens.choices[0].text
    assert len(tokens.choices[0].text) > 0


def test_a_legacy_stream_carries_its_report(client: openai.OpenAI) -> None:
    chunks = list(
        client.completions.create(model=MODEL, prompt="stream me", max_tokens=3, stream=True)
    )
    assert report_of(chunks[-1])["prompt_tokens"] > 0
    assert chunks[-1].usage is not None


def test_eight_clients_at_once_get_what_each_gets_alone(
    client: openai.OpenAI, server: Any, policy: str
) -> None:
    questions = [f"Question {number}?" for number in range(8)]

    async def together() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="test-key", max_retries=0
        ) as many:
            answers = await asyncio.gather(
                *(ask(many, policy, question, max_tokens=8) for question in questions)  # type: ignore[arg-type]
            )
        return [answer.choices[0].message.content for answer in answers]

    batched = asyncio.run(together())
    alone = [ask(client, policy, q, max_tokens=8).choices[0].message.content for q in questions]
    assert batched == alone


def test_a_salt_narrows_who_shares(client: openai.OpenAI, policy: str) -> None:
    def cached(salt: str | None) -> int:
        body = {"cache_salt": salt} if salt else {}
        return int(report_of(ask(client, policy, "Salt", extra_body=body))["cached_tokens"])

    assert cached(None) == 0
    assert cached("a") == 0
    assert cached("a") > 0
    assert cached(None) > 0
    assert cached("b") == 0
