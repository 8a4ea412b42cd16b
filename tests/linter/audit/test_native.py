"""Requests as Gemini's and Bedrock's own APIs write them, checked by the vendors' packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from audit_recordings import at, write
from botocore.session import get_session
from botocore.validate import ParamValidator
from google.genai import types
from stemfirst.providers import Mode
from stemfirst_lint.audit.as_json import json_report
from stemfirst_lint.audit.bodies import ShapeError
from stemfirst_lint.audit.provider_rules import rules_for
from stemfirst_lint.audit.records import Api, Place, Request
from stemfirst_lint.audit.run import audit_files
from stemfirst_lint.audit.shapes import request_of

POINT = {"cachePoint": {"type": "default", "ttl": "1h"}}
CONVERSE: dict[str, Any] = {
    "modelId": "us.anthropic.claude-sonnet-5-v1:0",
    "system": [{"text": "Be terse."}, {"cachePoint": {"type": "default"}}, {"text": "Now."}],
    "messages": [
        {"role": "user", "content": [{"text": "Hi"}, POINT]},
        {"role": "assistant", "content": [
            {"toolUse": {"toolUseId": "1", "name": "s", "input": {}}}]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": "1", "content": [{"text": "found"}]}}]},
    ],
    "toolConfig": {"tools": [
        {"toolSpec": {"name": "s", "inputSchema": {"json": {"type": "object"}}}}, POINT]},
    "inferenceConfig": {"temperature": 0.0},
}  # fmt: skip
GEMINI: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be terse."}]},
    "tools": [{"functionDeclarations": [{"name": "s", "description": "searches"}]}],
    "contents": [
        {"role": "user", "parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "image/png",
                                                                   "data": "AAAA"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "s", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "s", "response": {"a": 1}}}]},
    ],
    "generationConfig": {"temperature": 0},
}  # fmt: skip


def read(value: object) -> Request:
    return request_of(json.dumps(value).encode(), Place("rec.jsonl", 1))


def test_the_bodies_are_what_the_vendors_packages_take() -> None:
    shape = get_session().get_service_model("bedrock-runtime").operation_model("Converse")
    report = ParamValidator().validate(CONVERSE, shape.input_shape)
    assert not report.has_errors(), report.generate_report()
    for content in GEMINI["contents"]:
        types.Content.model_validate(content)
    types.Content.model_validate(GEMINI["systemInstruction"])
    types.Tool.model_validate(GEMINI["tools"][0])


def test_converse_is_read_with_its_cache_points() -> None:
    usage = {"inputTokens": 5, "outputTokens": 1, "cacheReadInputTokens": 90}
    request = read({"request": CONVERSE, "response": {"usage": usage}})
    assert request.api is Api.CONVERSE
    assert request.model == "us.anthropic.claude-sonnet-5-v1:0"
    assert [(block.role, block.at, block.marker_ttl_s) for block in request.blocks] == [
        ("tool definition", ("toolConfig", "tools", 0), 3600),
        ("system", ("system", 0, "text"), 300),
        ("system", ("system", 2, "text"), None),
        ("user", ("messages", 0, "content", 0, "text"), 3600),
        ("assistant", ("messages", 1, "content", 0), None),
        ("tool", ("messages", 2, "content", 0), None),
    ]
    assert request.usage.prompt_tokens == 95
    assert request.usage.cached_tokens == 90
    assert rules_for(request.model, None, request.api).mode is Mode.MARKERS


def test_a_log_of_invocations_is_read() -> None:
    body = {key: value for key, value in CONVERSE.items() if key != "modelId"}
    logged = {
        "timestamp": "2026-11-01T10:00:00Z",
        "modelId": "anthropic.claude-haiku-4-5",
        "operation": "Converse",
        "input": {"inputBodyJson": body},
        "output": {"outputBodyJson": {"usage": {"inputTokens": 7, "outputTokens": 1}}},
    }
    request = read(logged)
    assert request.model == "anthropic.claude-haiku-4-5"
    assert request.usage.prompt_tokens == 7
    assert request.at_s is not None


@pytest.mark.parametrize(
    "body",
    [
        GEMINI,
        {
            "contents": GEMINI["contents"],
            "config": {
                "system_instruction": GEMINI["systemInstruction"],
                "tools": [{"function_declarations": GEMINI["tools"][0]["functionDeclarations"]}],
            },
        },
    ],
    ids=["JSON", "the package's spelling"],
)
def test_gemini_is_read(body: dict[str, Any]) -> None:
    usage = {"promptTokenCount": 40, "cachedContentTokenCount": 30}
    request = read(
        {
            "url": "https://example.com/v1beta/models/gemini-2.5-flash:generateContent",
            "request": body,
            "response": [{"candidates": []}, {"usageMetadata": usage}],
        }
    )
    assert request.api is Api.GEMINI
    assert request.model == "gemini-2.5-flash"
    assert [block.role for block in request.blocks] == [
        "tool definition", "system", "user", "user", "assistant", "tool",
    ]  # fmt: skip
    assert request.blocks[0].name == "s"
    assert request.blocks[1].text == "Be terse."
    assert request.blocks[3].text.startswith("<inlineData ")
    assert request.usage.cached_tokens == 30
    assert rules_for(request.model, None, request.api).name == "Google Gemini"


def test_a_plain_text_and_stored_content_are_read() -> None:
    request = read({"model": "models/gemini-4-pro", "contents": "Hi", "cachedContent": "c/1"})
    assert [(block.role, block.text) for block in request.blocks] == [
        ("system", "<cached c/1>"),
        ("user", "Hi"),
    ]
    assert request.model == "gemini-4-pro"


BROKEN = {
    "contents": ({"contents": 3}, "`contents` is no array"),
    "a content": ({"contents": [3]}, "`contents.0` is no content"),
    "tools": ({"contents": "a", "tools": [3]}, "`tools.0` is no tool"),
    "a role": ({"modelId": "m", "messages": [{}]}, "messages[0] has no role"),
    "system": ({"modelId": "m", "messages": [], "system": "Be."}, "`system` is no array"),
    "a part": ({"modelId": "m", "messages": [], "system": ["Be."]}, "`system.0` is no content"),
}


@pytest.mark.parametrize(("body", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_the_api_would_refuse_is_said(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(ShapeError, match=reason.replace("[", r"\[")):
        read(body)


def test_the_first_divergence_is_found_in_both(tmp_path: Path) -> None:
    hi = [{"text": "Hi"}]
    lines: list[dict[str, Any]] = []
    for number in range(3):
        system = [{"text": f"Request {number}. " + "Be terse and kind. " * 400}]
        converse = {"system": system, "messages": [{"role": "user", "content": hi}]}
        gemini = {"systemInstruction": {"parts": system}, "contents": [{"parts": hi}]}
        lines.append({"at": at(number), "request": {"modelId": "amazon.nova-pro", **converse}})
        lines.append({"at": at(number), "request": {"model": "gemini-2.5-flash", **gemini}})
    report = audit_files((str(write(tmp_path / "rec.jsonl", lines)),))
    assert not report.problems
    (template,) = report.templates  # one text, whatever the API
    assert template.sums.requests == 6
    text = json.dumps(json_report(report))
    assert "Bedrock Converse" in text
    assert "Gemini content" in text
    assert "SF6" in text
