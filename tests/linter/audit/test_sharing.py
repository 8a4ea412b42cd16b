"""What providers' caches are expected to read, against recordings whose truth is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from audit_recordings import POLICY, chat, record
from hypothesis import given, settings
from hypothesis import strategies as st
from stemfirst.providers import Mode
from stemfirst_lint.audit.auditor import Auditor
from stemfirst_lint.audit.bounded import RecentMap, RecentStore
from stemfirst_lint.audit.provider_rules import rules_for
from stemfirst_lint.audit.records import Api, Place
from stemfirst_lint.audit.shapes import request_of
from stemfirst_lint.audit.tallies import CauseSum, Slice, Timeline

EPHEMERAL = {"type": "ephemeral"}


def audited(records: Iterable[dict[str, Any]], **options: int) -> Auditor:
    import json

    auditor = Auditor(**options)
    for line, item in enumerate(records, 1):
        auditor.add(request_of(json.dumps(item).encode(), Place("rec.jsonl", line)))
    for template in auditor.templates.values():
        template.sums.check()
    return auditor


def causes(auditor: Auditor) -> dict[str, CauseSum]:
    return {c.cause.name: c for t in auditor.templates.values() for c in t.by_loss}


def total(auditor: Auditor, name: str) -> float:
    return sum(getattr(template.sums, name) for template in auditor.templates.values())


def used(prompt: int, cached: int = 0) -> dict[str, Any]:
    details = {"cached_tokens": cached}
    return {"usage": {"prompt_tokens": prompt, "prompt_tokens_details": details}}


def claude(
    system: str, question: str, *, model: str = "claude-sonnet-4-5", ttl: str | None = None,
    marked: bool = True, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    block: dict[str, Any] = {"type": "text", "text": system}
    if marked:
        block["cache_control"] = {**EPHEMERAL, **({"ttl": ttl} if ttl else {})}
    messages = [{"role": "user", "content": question}]
    return {"model": model, "max_tokens": 9, "system": [block], "messages": messages, **more}


def test_a_prompt_sent_twice_is_read_in_whole_steps_of_the_provider() -> None:
    request = record(chat(POLICY, "Hi"), response=used(2_000))
    auditor = audited([request, request])
    assert total(auditor, "expected_tokens") == 1_920  # the greatest multiple of 128 below 2,000
    assert total(auditor, "shared_tokens") == 2_000
    assert not causes(auditor)


def test_the_last_token_is_never_read_from_a_cache() -> None:
    request = record(chat(POLICY, "Hi", model="my-llama"), response=used(1_600))
    assert total(audited([request, request]), "expected_tokens") == 1_584


def test_a_prompt_below_the_minimum_is_not_read_and_says_so() -> None:
    request = record(chat(POLICY, "Hi"), response=used(1_000))
    auditor = audited([request, request])
    assert total(auditor, "expected_tokens") == 0
    assert causes(auditor)["prefix-below-minimum"].lost_tokens == 1_000


@pytest.mark.parametrize(("gap", "is_read"), [(599, True), (601, False)])
def test_a_prefix_lives_for_the_ttl_after_its_last_use(gap: float, is_read: bool) -> None:
    request = chat(POLICY, "Hi")
    auditor = audited([record(request, i * gap, response=used(2_000)) for i in range(3)])
    assert (total(auditor, "expected_tokens") == 2 * 1_920) is is_read
    assert ("gap-longer-than-ttl" in causes(auditor)) is not is_read
    assert total(auditor, "best_tokens") == total(auditor, "expected_tokens")


def test_what_varies_first_costs_all_that_is_stable_behind_it() -> None:
    auditor = audited(
        record(chat(f"Now: 09:00:0{i}\n{POLICY}", f"Question {i}"), i, response=used(2_000))
        for i in range(5)
    )
    clock = causes(auditor)["clock-in-prefix"]
    assert clock.requests == 4
    assert clock.lost_tokens == total(auditor, "best_tokens") == 4 * 1_920
    assert total(auditor, "expected_tokens") == 0


def test_the_same_text_in_the_right_order_costs_nothing() -> None:
    auditor = audited(
        record(chat(f"{POLICY}\nNow: 09:00:0{i}", f"Question {i}"), i, response=used(2_000))
        for i in range(5)
    )
    assert not causes(auditor)
    assert total(auditor, "expected_tokens") == 4 * 1_920


def test_another_model_shares_nothing() -> None:
    auditor = audited(
        record(chat(POLICY, "Hi", model=m), response=used(2_000)) for m in ("gpt-4o", "gpt-4.1")
    )
    assert total(auditor, "shared_tokens") == 0
    assert not causes(auditor)


def test_another_cache_key_shares_nothing_and_is_named() -> None:
    def turn(number: int) -> dict[str, Any]:
        turns = ["What is the price of the tent?", "It is 389 euros.", "And of the boots?"]
        request = chat(POLICY, *turns[: 2 * number + 1], prompt_cache_key=f"k{number}")
        return record(request, number, session="one", response=used(2_000))

    auditor = audited([turn(0), turn(1)])
    assert causes(auditor)["varying-cache-key"].lost_tokens > 1_800


def test_documents_that_two_questions_share_are_no_loss() -> None:
    document = POLICY.replace("agent", "reader")
    auditor = audited(
        record(chat("You are helpful.", f"Question {i} of many? " * 9 + document), i)
        for i in range(2)
    )
    assert not causes(auditor)


def test_anthropic_reads_what_a_marker_wrote() -> None:
    def response(read: int, written: int) -> dict[str, Any]:
        return {
            "type": "message",
            "usage": {"input_tokens": 2_010 - read - written, "cache_read_input_tokens": read,
                      "cache_creation_input_tokens": written, "output_tokens": 1},
        }  # fmt: skip

    auditor = audited(
        record(claude(POLICY, f"Hi {i}"), i, response=response(2_000 * (i > 0), 2_000 * (i == 0)))
        for i in range(3)
    )
    expected = total(auditor, "expected_tokens")
    assert expected == pytest.approx(total(auditor, "reported_cached_tokens"), rel=0.01)
    assert total(auditor, "written_tokens") == pytest.approx(2_000, rel=0.01)
    assert total(auditor, "expected_cost") == pytest.approx(
        total(auditor, "reported_cost"), rel=0.01
    )
    assert not causes(auditor)


@pytest.mark.parametrize(
    ("records", "cause"),
    [
        ([claude(POLICY, f"Hi {i}", marked=False) for i in range(3)], "no-marker"),
        (
            [claude(POLICY + f"\nCase {i}" + " x" * 90, "Hi") for i in range(3)],
            "marker-behind-hole",
        ),
        ([claude(POLICY[:3_000], f"Hi {i}") for i in range(3)], "prefix-below-minimum"),
        (
            [claude(POLICY, f"Hi {i}", thinking={"type": f"kind-{i}"}) for i in range(3)],
            None,  # tools and system text stay cached
        ),
    ],
    ids=["no marker", "marker behind a hole", "below the minimum", "thinking toggled"],
)
def test_anthropic_misses_for_a_reason(records: list[dict[str, Any]], cause: str | None) -> None:
    auditor = audited(record(item, i) for i, item in enumerate(records))
    assert set(causes(auditor)) == ({cause} if cause else set())


def test_a_marker_of_an_hour_outlives_one_of_five_minutes() -> None:
    for ttl, is_read in (("1h", True), (None, False)):
        auditor = audited(record(claude(POLICY, f"Hi {i}", ttl=ttl), 1_000 * i) for i in range(2))
        assert bool(total(auditor, "expected_tokens")) is is_read
    assert "gap-longer-than-ttl" in causes(auditor)


def test_more_than_twenty_blocks_behind_the_last_marker_are_not_looked_through() -> None:
    def request(turns: int, marker: int) -> dict[str, Any]:
        content = [{"type": "text", "text": f"Step {n} of the work was done well."}
                   for n in range(turns)]  # fmt: skip
        content[marker]["cache_control"] = EPHEMERAL  # type: ignore[assignment]
        body = claude(POLICY, "", marked=False)
        body["messages"] = [{"role": "user", "content": content}]
        return body

    near = audited([record(request(10, 9), 0), record(request(25, 24), 1)])
    assert total(near, "expected_tokens") > 1_000
    far = audited([record(request(10, 9), 0), record(request(40, 39), 1)])
    assert total(far, "expected_tokens") == 0
    assert "lookback-exceeded" in causes(far)


def test_writes_that_nobody_reads_are_counted() -> None:
    auditor = audited(record(claude(f"Case {i}\n{POLICY}", "Hi"), i) for i in range(3))
    unread = auditor.prefixes.unread_tokens
    assert unread == pytest.approx(total(auditor, "written_tokens"), rel=0.01)
    assert unread > 4_000


def test_breakpoints_end_at_the_newest_message_and_carry_a_conversation() -> None:
    turns = ["What is the price?", "It is 389 euros.", "And of the boots?", "219.", "Thanks!"]
    talk = [record(chat(POLICY, *turns[:n], model="gpt-6-sol"), n) for n in (1, 3, 5)]
    auditor = audited(talk)
    assert total(auditor, "expected_tokens") > 0.6 * total(auditor, "prompt_tokens")
    # Other conversations share only the policy, and no breakpoint ends it.
    others = audited(record(chat(POLICY, f"Question {i}?", model="gpt-6-sol"), i) for i in range(3))
    assert total(others, "expected_tokens") == 0
    assert set(causes(others)) == {"no-marker"}


@pytest.mark.parametrize(
    ("model", "provider", "api", "name", "mode", "minimum"),
    [
        ("gpt-4o", None, Api.CHAT, "OpenAI before GPT-5.6", Mode.PREFIX, 1024),
        ("gpt-5.6-sol", None, Api.CHAT, "OpenAI from GPT-5.6", Mode.BREAKPOINTS, 1024),
        ("openai/gpt-6-sol", None, Api.RESPONSES, "OpenAI from GPT-5.6", Mode.BREAKPOINTS, 1024),
        ("claude-opus-4-6", None, Api.ANTHROPIC, "Anthropic", Mode.MARKERS, 4096),
        ("claude-haiku-4-5-20251001", None, Api.ANTHROPIC, "Anthropic", Mode.MARKERS, 4096),
        ("claude-opus-4-8", None, Api.ANTHROPIC, "Anthropic", Mode.MARKERS, 1024),
        ("claude-opus-5-5", None, Api.CHAT, "Anthropic", Mode.MARKERS, 512),
        ("us.anthropic.claude-opus-4-7-v1:0", "bedrock", Api.CHAT, "Anthropic", Mode.MARKERS, 2048),
        ("deepseek-flash", None, Api.CHAT, "DeepSeek", Mode.PREFIX, 64),
        ("gemini-2.5-pro", None, Api.CHAT, "Google Gemini", Mode.PREFIX, 2048),
        ("Qwen/Qwen3-8B", None, Api.CHAT, "inference engine", Mode.PREFIX, 16),
        ("gpt-4o", "http://localhost:8000/v1", Api.CHAT, "inference engine", Mode.PREFIX, 16),
        ("deepseek-ai/DeepSeek-V3", "vllm", Api.CHAT, "inference engine", Mode.PREFIX, 16),
        ("?", None, Api.CHAT, "inference engine", Mode.PREFIX, 16),
    ],
)  # fmt: skip
def test_each_model_gets_its_providers_rules(
    model: str, provider: str | None, api: Api, name: str, mode: Mode, minimum: int
) -> None:
    rules = rules_for(model, provider, api)
    assert (rules.name, rules.mode, rules.min_tokens) == (name, mode, minimum)


words = st.lists(st.sampled_from(["a" * 300, "b" * 300, "c" * 700]), max_size=4)


@given(st.lists(words, min_size=2, max_size=6))
@settings(max_examples=60)
def test_the_chain_shares_exactly_what_two_prompts_share(prompts: list[list[str]]) -> None:
    """The slow way: compare each prompt with every earlier one, character by character."""
    auditor = audited(record(chat("".join(p) + "!", "Hi", model="m"), None) for p in prompts)
    found = [0.0]
    seen: list[str] = []
    for prompt in prompts:
        text = "".join(prompt) + "!"
        best = 0
        for earlier in seen:
            agreed = 0
            while agreed < min(len(text), len(earlier)) and text[agreed] == earlier[agreed]:
                agreed += 1
            # Equal system texts agree in the user message too.
            best = max(best, agreed + 2 * (agreed == len(text) == len(earlier)))
        seen.append(text)
        found.append(best / (len(text) + 2))
    single = audited([record(chat("".join(prompts[-1]) + "!", "Hi", model="m"), None)])
    before = audited(record(chat("".join(p) + "!", "Hi", model="m"), None) for p in prompts[:-1])
    last = total(auditor, "shared_tokens") - total(before, "shared_tokens")
    assert last == pytest.approx(found[-1] * total(single, "prompt_tokens"), abs=3)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans())))
def test_a_recent_map_keeps_what_was_used_last(uses: list[tuple[int, bool]]) -> None:
    kept: RecentMap[int, int] = RecentMap(3)
    last: list[int] = []
    for key, is_put in uses:
        if is_put:
            kept.put(key, key)
        if is_put or kept.get(key) is not None:
            last = [*(k for k in last if k != key), key]
        kept.check()
        assert len(kept) <= 6
    for key in last[-2:]:
        assert kept.get(key) == key


@given(st.lists(st.integers(0, 30), max_size=20))
def test_a_recent_store_stays_within_its_budget(weights: list[int]) -> None:
    store: RecentStore[int] = RecentStore(60)
    for number, weight in enumerate(weights):
        store.put(number, weight, weight)
        store.check()
    if weights and weights[-1] <= 15:
        assert store.get(len(weights) - 1) == weights[-1]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_a_timeline_loses_nothing_and_stays_small(positions: list[int]) -> None:
    line = Timeline(1.0)
    for position in positions:
        line.add(position, Slice(prompt_tokens=1.0))
    slices = line.slices()
    assert len(slices) <= 120
    assert sum(part.prompt_tokens for _, part in slices) == len(positions)
