"""What an operator may ask of a server beyond its defaults: a bound on answers, text in the log,
spans of whatever ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from .conftest import Served
from .wire import CHAT, Connection

MOST = 24
EXPORTER = """
import json, os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

out = open(os.environ["SPANS"], "a", buffering=1)
line = lambda span: json.dumps(
    [span.name, span.status.status_code.name, dict(span.attributes)]) + "\\n"
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=line)))
trace.set_tracer_provider(provider)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wishes")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    """A server with a bound on answers, its spans in a file as an operator's provider has them."""
    (folder / "sitecustomize.py").write_text(EXPORTER, "utf-8")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    made = Served(
        folder,
        *("--port", "0", "--calibration-seconds", "0", "--pool-tokens", "8192"),
        *("--max-model-len", "1024", "--max-output-tokens", str(MOST)),
        *("--log-text", "--log-format", "json"),
        env={"PYTHONPATH": path, "SPANS": str(folder / "spans")},
    )
    try:
        yield made.wait_until_ready()
    finally:
        made.close()


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "ignore_eos": True} | more


@pytest.mark.parametrize(
    ("asked", "written"), [({}, MOST), ({"max_tokens": 500}, MOST), ({"max_tokens": 3}, 3)]
)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_no_answer_is_longer_than_the_operator_allows(
    served: Served, asked: dict[str, int], written: int, is_streamed: bool
) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="k", max_retries=0) as client:
        body: dict[str, Any] = {
            "model": "stemfirst-demo",
            "messages": [{"role": "user", "content": "Go on"}],
            "extra_body": {"ignore_eos": True},
            **asked,
        }
        if is_streamed:
            *_, last = client.chat.completions.create(
                stream=True, stream_options={"include_usage": True}, **body
            )
            assert last.usage
            assert last.usage.completion_tokens == written
            return
        answer = client.chat.completions.create(**body)
        assert answer.usage
        assert answer.usage.completion_tokens == written
        assert answer.choices[0].finish_reason == "length"


def test_the_bound_holds_on_every_route_and_near_the_end_of_the_context(served: Served) -> None:
    def post(path: str, body: dict[str, Any]) -> Any:
        answer = httpx.post(served.url + path, json=body, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    asked = {"ignore_eos": True}
    assert (
        post("/v1/completions", {"prompt": "a", "max_tokens": 99, **asked})["usage"][
            "completion_tokens"
        ]
        == MOST
    )
    assert post("/v1/responses", {"input": "a", **asked})["usage"]["output_tokens"] == MOST
    with anthropic.Anthropic(base_url=served.url, api_key="k", max_retries=0) as claude:
        answer = claude.messages.create(
            model="stemfirst-demo", max_tokens=4096, messages=[{"role": "user", "content": "a"}],
            extra_body=asked,
        )  # fmt: skip
        assert answer.usage.output_tokens == MOST
    # Ten tokens are left, and the answer has these.
    ids = [5] * 1014
    found = post("/v1/completions", {"prompt": ids, "max_tokens": 10, **asked})
    assert found["usage"]["completion_tokens"] == 10


def logged(served: Served, name: str) -> list[str]:
    """Return the texts that the log has under a name."""
    lines = [json.loads(line) for line in served.log.splitlines() if line.startswith("{")]
    return [line[name] for line in lines if name in line]


def test_a_log_holds_text_where_it_was_asked_for(served: Served) -> None:
    reply = httpx.post(
        served.url + CHAT, json=said("a-word\nof the prompt"), timeout=60, trust_env=False
    )
    written = reply.json()["choices"][0]["message"]["content"]
    assert any("a-word\nof the prompt" in text for text in logged(served, "prompt"))
    assert written in logged(served, "answer")
    assert "prompts and answers stand in this log" in served.log


def spans(folder: Path, has: Callable[[dict[str, Any]], bool]) -> list[Any]:
    """Return the spans with such attributes, once there are any."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        every = [json.loads(line) for line in (folder / "spans").read_text().splitlines()]
        found = [span for span in every if has(span[2])]
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("no such span came")


def test_a_complete_answer_is_a_span_without_an_error(served: Served, folder: Path) -> None:
    reply = httpx.post(
        served.url + CHAT, json=said("Go"), headers={"x-request-id": "whole"}, timeout=60,
        trust_env=False,
    )  # fmt: skip
    assert reply.status_code == 200
    (span,) = spans(folder, lambda found: found.get("stemfirst.request.id") == "whole")
    assert span[0] == "chat stemfirst-demo"
    assert span[1] == "UNSET"
    assert "error.type" not in span[2]
    assert span[2]["gen_ai.response.finish_reasons"] == ["length"]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_client_that_leaves_ends_a_span_as_cancelled(
    served: Served, folder: Path, is_streamed: bool
) -> None:
    name = f"left-{is_streamed}"

    async def leave() -> None:
        connection = await Connection.open(served.url)
        body = said("Go on " * 300, stream=is_streamed, n=8)
        # A stream is left in its middle, a whole answer before it is there.
        await connection.post_and_leave(
            CHAT, body, after_bytes=400 if is_streamed else 0, after_s=0.1, **{"x-request-id": name}
        )

    asyncio.run(leave())
    (span,) = spans(folder, lambda found: found.get("stemfirst.request.id") == name)
    assert span[2]["error.type"] == "cancelled"
    assert span[1] == "UNSET", "it is no fault of the server's"
