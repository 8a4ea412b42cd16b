"""The SDK's own prompts against the real server: tokens by tier, and a miss by its segment."""

from __future__ import annotations

import os
from typing import Any

import openai
import pytest
from stemfirst.chain import ChainKey
from stemfirst.prompt import Prompt, Rendered, hole, request, session, static, tenant, tool
from stemfirst.wire import Report, hint_to_json, prompt_hint, report_from_json

TOOL = {
    "type": "function",
    "function": {"name": "find_order", "parameters": {"type": "object", "properties": {}}},
}
POLICY = Prompt(
    static(f"You are help desk {os.getpid()}. " + "Refunds take thirty days. " * 30, name="policy"),
    tenant(hole("profile"), name="profile"),
    tools=[tool(TOOL)],
).then(
    session([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]),
    request(hole("question"), name="question"),
)


def rendered(profile: str, question: str) -> Rendered:
    return POLICY.render(profile=profile, question=question)


def send(client: openai.OpenAI, prompt: Rendered, *, key: str = "test-key", **more: Any) -> Report:
    hint = hint_to_json(prompt_hint(prompt, ChainKey.derive(key)))
    answer = client.chat.completions.create(
        model="stemfirst-demo",
        max_tokens=1,
        extra_body={"stemfirst": hint, **more},
        **prompt.openai(),
    )
    report = report_from_json((answer.model_extra or {})["stemfirst"])
    assert report is not None
    return report


def test_cached_tokens_are_reported_by_tier_and_segment(client: openai.OpenAI) -> None:
    send(client, rendered("Anna, gold customer. " * 4, "Where is my order?"))
    report = send(client, rendered("Anna, gold customer. " * 4, "Can I return it?"))
    assert report.tiers is not None
    assert report.segments is not None
    assert list(report.tiers) == ["static", "tenant", "session", "request"]
    assert report.tiers["static"].cached_tokens == report.tiers["static"].prompt_tokens > 100
    assert report.tiers["request"].cached_tokens < report.tiers["request"].prompt_tokens
    by_segment = sum(use.cached_tokens for use in report.segments.values())
    assert by_segment == sum(use.cached_tokens for use in report.tiers.values())
    assert by_segment <= report.cached_tokens
    first = next(iter(prompt_segment.id for prompt_segment in rendered("x", "y").segments))
    assert first in report.segments


def test_a_miss_names_the_segment_that_changed(client: openai.OpenAI) -> None:
    send(client, rendered("Bea from Bern. " * 8, "Same question"))
    changed = rendered("Bea from Rome. " * 8, "Same question")
    report = send(client, changed)
    assert report.missed is not None
    assert report.missed.at is not None
    names = {segment.id: segment.name for segment in changed.segments}
    assert names[report.missed.at.segment or ""] == "profile"
    assert report.missed.at.path == ("messages", 0, "content")
    text = changed.messages[0]["content"].encode()
    assert report.missed.at.byte is not None
    assert b"Rome" in text[report.missed.at.byte - 8 : report.missed.at.byte + 8]


@pytest.mark.parametrize("key", ["another-key"])
def test_segments_under_another_key_are_not_believed(client: openai.OpenAI, key: str) -> None:
    report = send(client, rendered("Cleo. " * 8, "Who?"), key=key)
    assert report.tiers is None
    assert report.segments is None


def test_hints_change_nothing_of_what_the_model_reads(client: openai.OpenAI) -> None:
    prompt = rendered("Dora. " * 8, "What now?")
    with_hint = send(client, prompt)
    answer = client.chat.completions.create(model="stemfirst-demo", max_tokens=1, **prompt.openai())
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == with_hint.prompt_tokens
    assert (answer.model_extra or {})["stemfirst"]["missed"] is None
