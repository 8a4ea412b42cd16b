"""Laws of audit on generated traffic: small alphabets, so that everything repeats and collides."""

from __future__ import annotations

import json
from typing import Any

from audit_recordings import POLICY, at
from hypothesis import given, settings
from hypothesis import strategies as st
from stemfirst_lint.audit.as_json import json_report
from stemfirst_lint.audit.auditor import Auditor
from stemfirst_lint.audit.page import page
from stemfirst_lint.audit.records import Place
from stemfirst_lint.audit.report import report_of
from stemfirst_lint.audit.shapes import request_of
from stemfirst_lint.audit.text import text_lines

PIECES = ("", "Now: 09:00:01\n", "Now: 09:00:07\n", "id 4471\n", "a, b, c\n", "c, b, a\n", POLICY,
          POLICY.replace("agent", "clerk"), "\ud800", "日本語のテキスト " * 40)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)
markers = st.sampled_from([{}, {}, {"cache_control": {"type": "ephemeral"}},
                           {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
                           {"prompt_cache_breakpoint": {"mode": "explicit"}}])  # fmt: skip
parts = st.builds(lambda text, marker: {"type": "text", "text": text, **marker}, texts, markers)
contents = texts | st.lists(parts, max_size=3) | st.none()
roles = st.sampled_from(["system", "user", "assistant", "tool", "developer"])
messages = st.builds(lambda role, content: {"role": role, "content": content}, roles, contents)
tools = st.builds(
    lambda name, text: {"name": name, "input_schema": {}, "description": text},
    st.sampled_from("abc"), st.sampled_from(["x", "y", POLICY]),
)  # fmt: skip
models = st.sampled_from(["gpt-4o", "gpt-6-sol", "claude-sonnet-4-5", "my-llama", "deepseek-flash"])
usages = st.sampled_from([None, (2_000, 0), (2_000, 1_920), (9, 9), (0, 0), (1, 5)])
bodies = st.fixed_dictionaries(
    {"model": models, "messages": st.lists(messages, min_size=1, max_size=5)},
    optional={
        "tools": st.lists(tools, max_size=3),
        "system": texts,
        "reasoning_effort": st.sampled_from(["low", "high"]),
        "prompt_cache_key": st.sampled_from("kl"),
        "cache_control": st.just({"type": "ephemeral"}),
        "prompt_cache_options": st.sampled_from([{"mode": "explicit"}, {"ttl": "30m"}]),
    },
)


def line(body: dict[str, Any], seconds: int | None, usage: tuple[int, int] | None) -> bytes:
    record: dict[str, Any] = {"request": body}
    if seconds is not None:
        record["at"] = at(seconds)
    if usage is not None:
        details = {"cached_tokens": usage[1]}
        record["response"] = {
            "usage": {"prompt_tokens": usage[0], "prompt_tokens_details": details}
        }
    return json.dumps(record).encode()


times = st.none() | st.sampled_from([0, 5, 299, 301, 5_000])


@given(st.lists(st.tuples(bodies, times, usages), min_size=1, max_size=8))
@settings(max_examples=120, deadline=None)
def test_any_traffic_is_audited_and_shown(traffic: list[Any]) -> None:
    auditor = Auditor(min_gain=1)
    read = 0
    for number, (body, seconds, usage) in enumerate(traffic, 1):
        if not any(message["content"] for message in body["messages"]) and not body.get("system"):
            continue
        auditor.add(request_of(line(body, seconds, usage), Place("rec.jsonl", number)))
        read += 1
    report = report_of(auditor, ("rec.jsonl",), (), 0)
    report.sums.check()
    assert report.sums.requests == read
    for template in report.templates:
        template.sums.check()
        assert template.sums.expected_cost >= template.sums.best_cost - 1e-9
        for one in template.by_loss:
            assert one.requests <= template.sums.requests
            assert one.lost_tokens >= 0
    assert all(len(text) <= 80 or not text.isascii() for text in text_lines(report))
    json.dumps(json_report(report))
    page(report).encode()


@given(st.lists(bodies, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_traffic_that_is_sent_again_loses_nothing_by_its_order(traffic: list[Any]) -> None:
    """The second time every prompt was sent before, so that no divergence can be found."""
    auditor = Auditor(min_gain=1)
    lines = [
        line(body, None, None)
        for body in traffic
        if any(message["content"] for message in body["messages"])
    ]
    for data in lines:
        auditor.add(request_of(data, Place("rec.jsonl", 1)))
    before = _divergences(auditor)
    for data in lines:
        auditor.add(request_of(data, Place("rec.jsonl", 2)))
    assert _divergences(auditor) == before


def _divergences(auditor: Auditor) -> int:
    causes = [one for t in auditor.templates.values() for one in t.causes.values() if one.at]
    return sum(one.requests for one in causes)
