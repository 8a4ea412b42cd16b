"""Shadow runs: what a hit really saved, measured beside what was said."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import httpx
import pytest
from stemfirst.server_process import ServerProcess
from stemfirst_server.engine.request import (
    ChunkSpan,
    Event,
    FinishEvent,
    FinishReason,
    GenerationRequest,
    RequestReport,
    token_array,
)
from stemfirst_server.savings.costmodel import FEWEST_SHADOWS, CostModel
from stemfirst_server.savings.law import Sample
from stemfirst_server.savings.shadows import ShadowRuns

CHUNK = 512


def law(context: int, new: int) -> float:
    return 3.0 + 0.3 * new + 0.00002 * new * (context + new / 2) + 0.002 * context


def report(cached: int, computed: int, ms: float, *, is_alone: bool = True) -> RequestReport:
    return RequestReport(
        prompt_tokens=cached + computed,
        cached_tokens=cached,
        computed_tokens=computed,
        cache_write_tokens=0,
        output_tokens=1,
        divergence_token=cached,
        is_diverged=False,
        queue_ms=0.0,
        prefill_ms=ms,
        load_ms=0.0,
        ttft_ms=ms,
        decode_ms=0.0,
        total_ms=ms,
        preemptions=0,
        chunks=(ChunkSpan(cached, computed, ms, is_alone),),
    )


class Stage:
    """A runner whose requests end when the test says so."""

    def __init__(self) -> None:
        self.running: dict[str, tuple[GenerationRequest, Callable[[Event], None]]] = {}
        self.aborted: list[str] = []

    def submit(self, request: GenerationRequest, on_event: Callable[[Event], None]) -> object:
        self.running[request.request_id] = (request, on_event)
        return None

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    def end(self, ms: float, *, is_alone: bool = True) -> GenerationRequest:
        request, on_event = self.running.pop(next(iter(self.running)))
        tokens = len(request.token_ids)
        counted = report(0, tokens, ms, is_alone=is_alone)
        on_event(FinishEvent(FinishReason.LENGTH, counted))
        return request


def fitted(rate: float = 1.0) -> CostModel:
    model = CostModel(CHUNK, shadow_rate=rate)
    model.calibrate(
        Sample(context, new, law(context, new) * (1.02 if context % 1024 else 0.98))
        for context in (0, 512, 1024, 2048, 4096)
        for new in (16, 64, 256, 512)
    )
    return model


def request() -> GenerationRequest:
    return GenerationRequest(uuid.uuid4().hex, token_array([1] * 1_100))


def warm(ms: float = 25.0, *, is_alone: bool = True) -> FinishEvent:
    return FinishEvent(FinishReason.STOP, report(1_024, 76, ms, is_alone=is_alone))


def test_a_shadow_reads_nothing_leaves_nothing_and_is_compared() -> None:
    stage, model = Stage(), fitted()
    runs = ShadowRuns(stage, model)
    runs.began()
    runs.ended(request(), warm())
    shadow = stage.end(400.0)
    assert (shadow.can_read_cache, shadow.can_write_cache) == (False, False)
    assert shadow.sampling.max_tokens == 1
    assert model.verdict.runs == 1


@pytest.mark.parametrize(
    "case", ["rate", "busy", "shared chunk", "no hit", "aborted", "shared shadow"]
)
def test_what_cannot_be_compared_is_not(case: str) -> None:
    stage, model = Stage(), fitted(0.0 if case == "rate" else 1.0)
    runs = ShadowRuns(stage, model)
    runs.began()
    if case == "busy":
        runs.began()
    event = warm(is_alone=case != "shared chunk")
    if case == "no hit":
        event = FinishEvent(FinishReason.STOP, report(0, 1_100, 400.0))
    if case == "aborted":
        event = FinishEvent(FinishReason.ABORT, event.report)
    runs.ended(request(), event)
    if case == "shared shadow":
        stage.end(400.0, is_alone=False)
    assert not stage.running
    assert model.verdict.runs == 0


def test_a_users_request_ends_a_shadow() -> None:
    stage = Stage()
    runs = ShadowRuns(stage, fitted())
    runs.began()
    runs.ended(request(), warm())
    (shadow,) = stage.running
    runs.began()
    assert stage.aborted == [shadow]


def test_shadows_tell_the_error_and_stretch_the_interval() -> None:
    model = fitted()
    before = model.saved(1_024, 76)
    assert before is not None
    assert before.shadows == 0
    for number in range(FEWEST_SHADOWS):  # this machine saves 30 % more than the law says
        said = model.saved(1_024, 76)
        assert said is not None
        model.compare(1.3 * said.ms + number % 2, said)
    after = model.saved(1_024, 76)
    assert after is not None
    assert after.shadows == FEWEST_SHADOWS
    assert after.error == pytest.approx(0.3, abs=0.01)
    assert not before.low <= 1.3 * before.ms <= before.high
    assert after.low <= 1.3 * after.ms <= after.high
    assert after.high - after.ms < 0.4 * after.ms


def test_a_stretch_does_not_compound() -> None:
    model = fitted()
    for _ in range(5 * FEWEST_SHADOWS):
        said = model.saved(1_024, 76)
        assert said is not None
        model.compare(1.3 * said.ms, said)
    said = model.saved(1_024, 76)
    assert said is not None
    assert said.high == pytest.approx(1.3 * said.ms, rel=0.02)


@pytest.mark.long
@pytest.mark.needs_server
def test_a_server_that_is_asked_to_measures_its_own_error() -> None:
    flags = ["--shadow-rate", "1", "--calibration-seconds", "1", "--chunk-tokens", "128"]
    with (
        ServerProcess(flags, timeout_s=120) as server,
        httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http,
    ):
        prompt = list(range(100, 500))
        deadline = time.monotonic() + 90
        runs, next_s = 0, 0.0
        while not runs and time.monotonic() < deadline:
            if time.monotonic() > next_s:  # one that comes too soon would end the shadow
                next_s = time.monotonic() + 5
                body = {"prompt": prompt, "max_tokens": 1}
                answer = http.post("/v1/completions", json=body).json()
            law = http.get("/v1/stemfirst").json()["cost_model"]
            runs = law["shadows"]["runs"] if law else 0
    assert runs > 0
    assert answer["stemfirst"]["cached_tokens"] == 384
