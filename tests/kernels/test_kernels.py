"""Our kernels against the reference path: store, extend, decode."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("triton", reason="the kernels need triton: pip install --no-deps triton")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stemfirst_server.engine.config import KVDtype
from stemfirst_server.kernels.decode import decode, splits_for
from stemfirst_server.kernels.step import TritonStep
from stemfirst_server.kernels.store import store
from stemfirst_server.kernels.trial import Work, lay_out
from stemfirst_server.kernels.verify import TOLERANCE, Layer, attend, layer_error, relative_error
from stemfirst_server.memory.pool import KVPool, LayerShape
from stemfirst_server.model.attention import AttentionStep, SingleRows

pytestmark = pytest.mark.needs_server

ALIKE = LayerShape(2, 16, 16)
ROUNDING = {**TOLERANCE, torch.float32: 1e-5}


class OneRun(TritonStep):
    splits = 1


class FourRuns(TritonStep):
    splits = 4


class MoreRunsThanBlocks(TritonStep):
    splits = 8


MIXED = Work(chunks=((0, 20), (37, 9)), singles=(1, 16, 100))
CASES = {
    "chunks and hits and single tokens": (Layer(4, ALIKE), MIXED, 16),
    "one chunk, nothing cached": (Layer(4, ALIKE), Work(((0, 33),)), 16),
    "a hit on whole pages": (Layer(4, ALIKE), Work(((32, 7),)), 16),
    "a hit on all but the last token": (Layer(4, ALIKE), Work(singles=(64,)), 16),
    "the first token of all": (Layer(4, ALIKE), Work(singles=(1,)), 16),
    "several tiles of a long chunk": (Layer(4, ALIKE), Work(((130, 150),)), 16),
    "pages of one token": (Layer(4, ALIKE), MIXED, 1),
    "pages longer than a request": (Layer(4, ALIKE), MIXED, 128),
    "a head for each KV head": (Layer(3, LayerShape(3, 16, 16)), MIXED, 4),
    "one KV head for all": (Layer(5, LayerShape(1, 16, 16)), MIXED, 4),
    "three heads a KV head": (Layer(6, ALIKE), MIXED, 4),
    "more heads a KV head than a tile": (Layer(37, LayerShape(1, 8, 8)), MIXED, 4),
    "a width that is no power of two": (Layer(4, LayerShape(2, 24, 24)), MIXED, 4),
    "keys wider than values": (Layer(4, LayerShape(2, 40, 24)), MIXED, 4),
    "values wider than keys": (Layer(4, LayerShape(2, 8, 48)), MIXED, 4),
    "a very wide head": (Layer(2, LayerShape(1, 288, 288)), Work(((5, 4),), (9,)), 4),
    "a window inside a page": (Layer(4, ALIKE, window=5), MIXED, 16),
    "a window over pages": (Layer(4, ALIKE, window=41), MIXED, 16),
    "a window of one token": (Layer(4, ALIKE, window=1), MIXED, 4),
    "a window that starts behind many blocks": (Layer(4, ALIKE, window=9), Work(((200, 90),)), 16),
    "softcap": (Layer(4, ALIKE, softcap=0.5), MIXED, 4),
    "sinks": (Layer(4, ALIKE, has_sinks=True), MIXED, 4),
    "window, softcap and sinks": (
        Layer(6, LayerShape(2, 24, 40), window=30, softcap=2.0, has_sinks=True),
        MIXED,
        4,
    ),
}


@pytest.mark.parametrize(("layer", "work", "page"), CASES.values(), ids=CASES)
def test_the_kernels_equal_the_reference(
    layer: Layer, work: Work, page: int, device: torch.device
) -> None:
    error = layer_error(layer, work, page=page, dtype=torch.float32, device=device)
    assert error < ROUNDING[torch.float32]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", ["several tiles of a long chunk", "window, softcap and sinks"])
def test_half_precision_differs_by_rounding_only(
    case: str, dtype: torch.dtype, device: torch.device
) -> None:
    layer, work, page = CASES[case]
    error = layer_error(layer, work, page=page, dtype=dtype, device=device)
    assert error < ROUNDING[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kv_dtype", [KVDtype.INT8, KVDtype.FP8])
@pytest.mark.parametrize(
    "case",
    [
        "chunks and hits and single tokens",
        "keys wider than values",
        "window, softcap and sinks",
    ],
)
def test_keys_and_values_in_eight_bits_are_read_as_the_reference_reads_them(
    case: str, kv_dtype: KVDtype, dtype: torch.dtype, device: torch.device
) -> None:
    layer, work, page = CASES[case]
    error = layer_error(layer, work, page=page, dtype=dtype, device=device, kv_dtype=kv_dtype)
    assert error < ROUNDING[dtype]


@pytest.mark.parametrize("fast", [OneRun, FourRuns, MoreRunsThanBlocks])
@pytest.mark.parametrize("window", [None, 70])
@pytest.mark.parametrize("has_sinks", [False, True], ids=["plain", "sinks"])
def test_decode_may_cut_a_request_into_any_number_of_runs(
    fast: type[TritonStep], window: int | None, has_sinks: bool, device: torch.device
) -> None:
    layer = Layer(4, ALIKE, window=window, has_sinks=has_sinks)
    work = Work(singles=(1, 64, 65, 300))
    error = layer_error(layer, work, page=16, dtype=torch.float32, device=device, fast=fast)
    assert error < ROUNDING[torch.float32]


requests = st.lists(st.tuples(st.integers(0, 9), st.integers(2, 5)), max_size=2).map(tuple)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    chunks=requests,
    singles=st.lists(st.integers(1, 9), max_size=2).map(tuple),
    page=st.sampled_from([1, 2, 4]),
    heads=st.sampled_from([(1, 1), (2, 1), (3, 1), (4, 2)]),
    widths=st.sampled_from([(4, 4), (5, 3)]),
    window=st.one_of(st.none(), st.integers(1, 6)),
    softcap=st.sampled_from([None, 1.0]),
    has_sinks=st.booleans(),
    fast=st.sampled_from([TritonStep, FourRuns]),
    kv_dtype=st.sampled_from(KVDtype),
)
def test_any_small_work_equals_the_reference(
    device: torch.device,
    chunks: tuple[tuple[int, int], ...],
    singles: tuple[int, ...],
    page: int,
    heads: tuple[int, int],
    widths: tuple[int, int],
    window: int | None,
    softcap: float | None,
    has_sinks: bool,
    fast: type[TritonStep],
    kv_dtype: KVDtype,
) -> None:
    work = Work(chunks, singles or (() if chunks else (3,)))
    layer = Layer(heads[0], LayerShape(heads[1], *widths), window, softcap, has_sinks)
    error = layer_error(
        layer,
        work,
        page=page,
        dtype=torch.float32,
        device=device,
        fast=fast,
        kv_dtype=kv_dtype,
    )
    assert error < ROUNDING[torch.float32]


def test_memory_that_is_not_a_requests_is_never_read(device: torch.device) -> None:
    layer, work = Layer(4, ALIKE), Work(chunks=((0, 5), (20, 3)), singles=(1, 19))
    ends = [5, 23, 1, 19]
    laid = lay_out(work, {0: ALIKE}, page=16, dtype=torch.float32, device=device)
    assert laid.singles is not None
    requests = [*(chunk.page_ids for chunk in laid.chunks), *laid.singles.page_ids]
    own = torch.cat([
        (ids[:, None] * 16 + torch.arange(16, device=device)).flatten()[:end]
        for ids, end in zip(requests, ends, strict=True)
    ])  # fmt: skip
    # One page more in front: page 0, which a table's or a mask's zeros would name, is nobody's.
    chunks = tuple(replace(chunk, page_ids=chunk.page_ids + 1) for chunk in laid.chunks)
    singles = replace(laid.singles, page_ids=laid.singles.page_ids + 1)

    def run(elsewhere: float) -> torch.Tensor:
        pool = KVPool(
            {0: ALIKE}, pages=laid.pool.pages + 1, page=16, dtype=torch.float32, device=device
        )
        for ours, noise in (
            (pool.keys[0], laid.pool.keys[0]),
            (pool.values[0], laid.pool.values[0]),
        ):
            ours.fill_(elsewhere)
            ours.flatten(0, 1)[own + 16] = noise.flatten(0, 1)[own]
        step = FourRuns(pool, laid.slots + 16, chunks, singles)
        return attend(layer, replace(laid, pool=pool), step)

    expected = run(0.0)
    assert expected.isfinite().all()
    assert torch.equal(run(float("nan")), expected)


def test_a_fixed_number_of_runs_gives_the_same_bits_in_any_batch(device: torch.device) -> None:
    layer = Layer(4, ALIKE)
    laid = lay_out(
        Work(singles=(40, 300, 7)), {0: ALIKE}, page=16, dtype=torch.float32, device=device
    )
    assert laid.singles is not None
    together = attend(layer, laid, FourRuns(laid.pool, laid.slots, (), laid.singles))[0]
    row = 1
    rows = SingleRows(laid.singles.kv_tokens[row : row + 1], laid.singles.page_ids[row : row + 1])
    # The step's new tokens are in memory from the first run; only this row's query is asked again.
    query = torch.randn(3, 4, 16, generator=torch.Generator().manual_seed(8)).to(device)
    out = torch.empty(1, 4, 16, device=device)
    decode(
        rows,
        query[row : row + 1].transpose(0, 1),
        laid.pool.keys[0],
        laid.pool.values[0],
        out,
        scale=16**-0.5,
        splits=4,
    )
    assert torch.equal(out[0], together[row])


@pytest.mark.parametrize("factor", [1e4, -1e4], ids=["far above the cap", "far below it"])
def test_scores_far_beyond_the_softcap_stay_finite(factor: float, device: torch.device) -> None:
    laid = lay_out(Work(((3, 2),), (4,)), {0: ALIKE}, page=4, dtype=torch.float32, device=device)
    laid.pool.keys[0].mul_(factor)
    layer = Layer(4, ALIKE, softcap=30.0)
    steps = [
        kind(laid.pool, laid.slots, laid.chunks, laid.singles)
        for kind in (AttentionStep, TritonStep)
    ]
    expected, got = (attend(layer, laid, step) for step in steps)
    assert relative_error(got, expected) < ROUNDING[torch.float32]


def test_store_takes_keys_and_values_that_are_views(device: torch.device) -> None:
    """Multi-head latent attention hands over slices of a wider tensor."""
    laid = lay_out(
        Work(((2, 5),)), {0: LayerShape(3, 8, 4)}, page=4, dtype=torch.float32, device=device
    )
    both = torch.randn(5, 3, 12).to(device)
    key, value = both.transpose(0, 1).split((8, 4), dim=-1)
    assert not key.is_contiguous()
    store(key, value, laid.slots, laid.pool.keys[0], laid.pool.values[0])
    assert torch.equal(laid.pool.keys[0].flatten(0, 1)[laid.slots], both[..., :8])
    assert torch.equal(laid.pool.values[0].flatten(0, 1)[laid.slots], both[..., 8:])


@pytest.mark.parametrize(
    ("programs", "most_tokens", "processors", "splits"),
    [(8, 100_000, 132, 64), (8, 1_000, 132, 8), (8, 100, 132, 1), (2_048, 100_000, 132, 1),
     (64, 100_000, 132, 16)],
    ids=["one long request", "one of a thousand", "a short one", "a full batch", "eight requests"],
)  # fmt: skip
def test_requests_are_cut_only_as_far_as_it_fills_the_device(
    programs: int, most_tokens: int, processors: int, splits: int
) -> None:
    assert splits_for(programs, most_tokens, processors) == splits
