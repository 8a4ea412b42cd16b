"""Lines of recordings, in the shapes that loggers write, and in shapes that nobody should."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from audit_recordings import at, chat, record, write
from hypothesis import given
from hypothesis import strategies as st
from stemfirst.tiers import Tier
from stemfirst_lint.audit.bodies import ShapeError
from stemfirst_lint.audit.lines import lines_of
from stemfirst_lint.audit.records import Api, Place, Problem, Request
from stemfirst_lint.audit.shapes import request_of

HERE = Place("rec.jsonl", 7)
SEARCH = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}


def read(value: Any) -> Request:
    line = value if isinstance(value, bytes) else json.dumps(value).encode()
    return request_of(line, HERE)


def texts(request: Request) -> list[tuple[str, str]]:
    return [(block.role, block.text) for block in request.blocks]


def test_the_sdks_recording_is_read_with_time_session_and_segments() -> None:
    segments = [
        {"id": "s0", "tier": "static", "at": ["messages", 0, "content"], "n": 3, "name": "policy",
         "origin": {"path": "app.py", "line": 12}},
        {"id": "s1", "tier": "request", "at": ["messages", 1, "content"], "n": 2},
    ]  # fmt: skip
    request = read(
        record(chat("Be.", "Hi"), 5, segments=segments, headers={"x-session-id": "c1"},
               response={"usage": {"prompt_tokens": 9, "completion_tokens": 1,
                                   "prompt_tokens_details": {"cached_tokens": 0}}})
    )  # fmt: skip
    assert request.api is Api.CHAT
    assert texts(request) == [("system", "Be."), ("user", "Hi")]
    assert request.session == "c1"
    assert request.usage.prompt_tokens == 9
    assert request.usage.cached_tokens == 0
    assert request.segments[0].tier is Tier.STATIC
    assert str(request.segments[0].origin) == "app.py:12"
    assert request.segments[1].origin is None


def test_segments_on_the_wire_are_read_where_the_recording_names_none() -> None:
    body = chat("Be.", "Hi")
    place = ["messages", 0, "content"]
    body["stemfirst"] = {"v": 1, "segs": [{"id": "s0", "tier": "static", "at": place, "n": 3}]}
    assert [segment.id for segment in read({"request": body}).segments] == ["s0"]


def test_litellms_log_is_read() -> None:
    request = read(
        {
            "id": "x",
            "call_type": "acompletion",
            "model": "claude-sonnet-4-5",
            "custom_llm_provider": "anthropic",
            "startTime": 1764000000.5,
            "messages": [{"role": "system", "content": "Be."}, {"role": "user", "content": "Hi"}],
            "model_parameters": {"tools": [SEARCH], "temperature": 0},
            "response": {"usage": {"prompt_tokens": 20, "completion_tokens": 2,
                                   "cache_read_input_tokens": 5, "input_tokens": 15}},
        }
    )  # fmt: skip
    assert [role for role, _ in texts(request)] == ["tool definition", "system", "user"]
    assert request.blocks[0].name == "search"
    assert request.provider == "anthropic"
    assert request.at_s == 1764000000.5
    assert request.usage.cached_tokens == 5


def test_an_anthropic_body_is_read_in_its_render_order_with_markers() -> None:
    request = read(
        {
            "model": "claude-opus-4-8",
            "max_tokens": 1,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f",
                                                   "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t",
                                              "content": "ok",
                                              "cache_control": {"type": "ephemeral"}}]},
            ],
            "system": [{"type": "text", "text": "Be.",
                        "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        }
    )  # fmt: skip
    assert request.api is Api.ANTHROPIC
    roles = [(block.role, block.marker_ttl_s) for block in request.blocks]
    assert roles == [
        ("tool definition", None), ("system", 3600), ("user", None), ("assistant", None),
        ("tool", 300),
    ]  # fmt: skip
    assert "cache_control" not in request.blocks[-1].text


def test_a_responses_body_is_read() -> None:
    request = read(
        {
            "model": "gpt-6-sol",
            "instructions": "Be.",
            "input": [
                {"role": "developer", "content": "More."},
                {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "1"},
            ],
            "prompt_cache_key": "k",
            "reasoning": {"effort": "low"},
        }
    )
    assert [role for role, _ in texts(request)] == ["system", "system", "user", "assistant", "tool"]
    assert request.cache_key == "prompt_cache_key=k"
    assert request.settings == (("reasoning", '{"effort": "low"}'),)
    assert texts(read({"model": "m", "input": "Hi"})) == [("user", "Hi")]


@pytest.mark.parametrize(
    "wrapped",
    [
        {"custom_id": "1", "method": "POST", "url": "/v1", "body": chat("Be.", "Hi")},
        {"request": json.dumps(chat("Be.", "Hi"))},
        {"request": {"url": "https://x", "body": chat("Be.", "Hi")}},
        chat("Be.", "Hi"),
    ],
    ids=["batch", "request as a string", "request with its envelope", "bare body"],
)
def test_other_envelopes_are_opened(wrapped: dict[str, Any]) -> None:
    assert texts(read(wrapped)) == [("system", "Be."), ("user", "Hi")]


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [(at(0), 1795424400.0), (1795424400, 1795424400.0), (1795424400000, 1795424400.0),
     ("2026-11-23T09:00:00", 1795424400.0), ("yesterday", None), (True, None), (-5, None),
     (1e300, None), (None, None)],
)  # fmt: skip
def test_times_are_read_in_every_usual_form(moment: object, seconds: float | None) -> None:
    assert read({"at": moment, "request": chat("Be.", "Hi")}).at_s == seconds


def test_of_a_streams_chunks_the_one_with_usage_counts() -> None:
    chunks = [{"choices": []}, {"usage": {"prompt_tokens": 7, "completion_tokens": 1}}, "[DONE]"]
    assert read({"request": chat("Be.", "Hi"), "response": chunks}).usage.prompt_tokens == 7


def test_media_is_named_by_a_digest_and_not_kept() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}
    [block] = read({"messages": [{"role": "user", "content": [image]}]}).blocks
    assert block.text.startswith("<image_url ")
    assert len(block.text) < 40


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[1]", "one request a line"),
        (b"3", "expected a JSON object"),
        (b"{}", "neither `messages`, `input` nor `contents`"),
        (b'{"messages": {}}', "`messages` is an object, expected an array"),
        (b'{"messages": []}', "no text"),
        (b'{"messages": ["hi"]}', "messages[0] is a string"),
        (b'{"messages": [{"content": "hi"}]}', "messages[0] has no role"),
        (b'{"messages": [{"role": "user", "content": 3}]}', "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": [3]}]}', "messages.0.content.0"),
        (b'{"messages": [], "tools": "x"}', "`tools` is a string"),
        (b'{"messages": [], "tools": [1]}', "tools[0] is int"),
        (b'{"input": 3}', "`input` is int"),
        (b'{"messages": "redacted-by-litellm", "call_type": "completion"}', "redacted"),
        (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "nest"),
        (b'{"at": ' + b"9" * 5_000 + b"}", "not JSON that can be read"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_line_that_is_no_request_says_what_is_wrong(line: bytes, said: str) -> None:
    with pytest.raises(ShapeError) as caught:
        read(line)
    assert said in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["messages", "input", "request", "response", "role", "content", "tools", "system",
             "usage", "at", "segments", "stemfirst", "cache_control", "model", "text", "type",
             "prompt_cache_options", "call_type", "model_parameters"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_any_json_is_a_request_or_says_why_not(value: object) -> None:
    try:
        request = request_of(json.dumps(value).encode(), HERE)
    except ShapeError:
        return
    assert request.blocks


def places(path: Path, **options: int) -> list[tuple[int, bytes] | str]:
    found = lines_of(str(path), **options)
    return [str(i) if isinstance(i, Problem) else (i[0].line, i[1].strip()) for i in found]


def test_lines_are_counted_with_the_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"one\n\n  \ntwo")
    assert places(path) == [(1, b"one"), (4, b"two")]


def test_gzip_is_known_by_its_bytes_and_a_cut_one_gives_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    data = gzip.compress("".join(f"line {i} {i * 7919}\n" for i in range(20_000)).encode())
    path.write_bytes(data)
    assert len(places(path)) == 20_000
    path.write_bytes(data[: len(data) // 2])
    found = places(path)
    assert len(found) > 1000
    assert isinstance(found[-1], str)
    assert "damaged or cut off" in found[-1]
    assert found[-1].startswith(f"{path}:{len(found)}: ")
    path.write_bytes(data[:100] + b"garbage" + data[107:])
    assert isinstance(places(path)[-1], str)


def test_a_line_without_end_is_skipped_and_the_next_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ["x" * 5_000, "short"])
    first, second = places(path, max_line_bytes=1_000)
    assert "longer than" in str(first)
    assert second == (2, b"short")


def test_a_missing_file_and_a_folder_are_problems(tmp_path: Path) -> None:
    [missing] = places(tmp_path / "none.jsonl")
    assert missing == f"{tmp_path / 'none.jsonl'}: No such file or directory"
    [folder] = places(tmp_path)
    assert folder == f"{tmp_path}: a folder; name the recordings in it"
