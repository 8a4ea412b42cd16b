"""A prefix that requests of one step share is read once, and nobody's numbers change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_server.memory.pool import KVPool, LayerShape
from stemfirst_server.model import cascade
from stemfirst_server.model.attention import AttentionStep, ChunkRow, SingleRows, _Options
from stemfirst_server.model.cascade import CascadeStep
from stemfirst_server.model.prefix_groups import PageIds, prefix_groups

# Few ids and short rows: prefixes must repeat.
contexts = st.lists(
    st.lists(st.integers(0, 2), max_size=8).map(lambda ids: np.array(ids, dtype=np.int64)),
    max_size=7,
)


@given(contexts, st.integers(1, 6), st.frozensets(st.integers(0, 6)))
def test_a_rows_groups_and_its_own_part_are_the_row(
    rows: list[PageIds], least: int, alone: frozenset[int]
) -> None:
    groups, own_from = prefix_groups(rows, least_saved_pages=least, alone=alone)
    walked = [0] * len(rows)
    for group in groups:
        assert len(group.page_ids) > 0
        for row in group.rows:
            assert group.first_page == walked[row], "no gap, and none twice"
            end = walked[row] + len(group.page_ids)
            assert rows[row][walked[row] : end].tolist() == group.page_ids.tolist()
            walked[row] = end
    assert walked == list(own_from)


@given(contexts)
def test_no_page_is_read_twice_where_one_saved_page_is_enough(rows: list[PageIds]) -> None:
    groups, own_from = prefix_groups(rows, least_saved_pages=1)
    reads = sum(len(group.page_ids) for group in groups)
    reads += sum(len(row) - start for row, start in zip(rows, own_from, strict=True))
    prefixes = {tuple(row[: end + 1].tolist()) for row in rows for end in range(len(row))}
    assert reads == len(prefixes)


def test_what_saves_too_little_is_not_a_group() -> None:
    rows = [np.array(ids, dtype=np.int64) for ids in ([1, 2, 3], [1, 2, 4], [1, 5])]
    groups, own_from = prefix_groups(rows, least_saved_pages=2)
    assert [(group.rows, group.page_ids.tolist()) for group in groups] == [((0, 1, 2), [1])]
    assert own_from == (1, 1, 1)
    groups, own_from = prefix_groups(rows, least_saved_pages=3)
    assert groups == ()
    assert own_from == (0, 0, 0)


PAGE = 4


class Scene:
    """Rows on scattered pages of one pool, some of them shared."""

    def __init__(
        self,
        *,
        heads: int,
        kv_heads: int,
        dtype: torch.dtype = torch.float32,
        widths: tuple[int, int] = (16, 16),
    ) -> None:
        torch.manual_seed(11)
        self.heads, self.kv_heads, self.dtype, self.widths = heads, kv_heads, dtype, widths
        shape = {0: LayerShape(kv_heads, *widths)}
        device = torch.device("cpu")
        self.pool = KVPool(shape, pages=200, page=PAGE, dtype=dtype, device=device)
        self.pool.keys[0].copy_(torch.randn(self.pool.keys[0].shape))
        self.pool.values[0].copy_(torch.randn(self.pool.values[0].shape))
        self._pages = iter(torch.randperm(200).tolist())

    def pages(self, count: int) -> list[int]:
        return [next(self._pages) for _ in range(count)]

    def run(
        self,
        step_type: type[AttentionStep],
        rows: list[tuple[list[int], int, int]],
        options: _Options,
    ) -> torch.Tensor:
        """Attend with rows of (pages, tokens in them, new tokens)."""
        chunks, singles, slots = [], [], []
        for pages, kv_tokens, new_tokens in rows:
            place = torch.arange(kv_tokens - new_tokens, kv_tokens)
            ids = torch.tensor(pages)
            slots.append(ids[place // PAGE] * PAGE + place % PAGE)
            if new_tokens > 1:
                chunks.append(ChunkRow(new_tokens, kv_tokens, ids))
            else:
                singles.append((kv_tokens, pages))
        table = None
        if singles:
            width = max(len(pages) for _, pages in singles)
            filled = [pages + [0] * (width - len(pages)) for _, pages in singles]
            table = SingleRows(torch.tensor([kv for kv, _ in singles]), torch.tensor(filled))
        step = step_type(self.pool, torch.cat(slots), chunks=tuple(chunks), singles=table)
        tokens = sum(new for _, _, new in rows)
        generator = torch.Generator().manual_seed(4)

        def numbers(heads: int, width: int) -> torch.Tensor:
            drawn = torch.randn((1, heads, tokens, width), generator=generator)
            return drawn.to(self.dtype)

        key_width, value_width = self.widths
        query = numbers(self.heads, key_width)
        key, value = numbers(self.kv_heads, key_width), numbers(self.kv_heads, value_width)
        return step.attend(0, query, key, value, options)


def mixed_rows(scene: Scene) -> list[tuple[list[int], int, int]]:
    """Return a step with a tree of prefixes, chunks and single tokens, whole pages and not."""
    stem, branch, twig = scene.pages(9), scene.pages(5), scene.pages(2)

    def row(shared: list[int], own_tokens: int, new_tokens: int) -> tuple[list[int], int, int]:
        own = scene.pages(-(-own_tokens // PAGE))
        return shared + own, len(shared) * PAGE + own_tokens, new_tokens

    return [
        row(stem, 40, 40),
        row(stem + branch, 7, 5),  # begins inside a page
        row([], 33, 33),  # shares nothing
        row([], 37, 33),  # shares nothing, with a context of its own
        row(stem + branch, 1, 1),
        row(stem + branch + twig, 6, 1),
        row(stem + branch + twig, 19, 1),
        row(stem, 2, 1),
        row([], 9, 1),
        row([], 1, 1),
    ]


@pytest.fixture
def _everything_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "LEAST_SAVED_TOKENS", 1)


@pytest.mark.usefixtures("_everything_is_worth_it")
@pytest.mark.parametrize("heads", [2, 8], ids=["a KV head each", "four heads a KV head"])
@pytest.mark.parametrize("has_sinks", [False, True], ids=["", "sinks"])
@pytest.mark.parametrize("softcap", [None, 2.0], ids=["", "softcap"])
@pytest.mark.parametrize("widths", [(16, 16), (24, 12), (12, 24)], ids=str)
def test_a_tree_of_prefixes_gives_the_references_numbers(
    heads: int, has_sinks: bool, softcap: float | None, widths: tuple[int, int]
) -> None:
    scene = Scene(heads=heads, kv_heads=2, widths=widths)
    rows = mixed_rows(scene)
    sinks = torch.randn(heads) if has_sinks else None
    options = _Options(scale=0.3, window=None, softcap=softcap, sinks=sinks)
    for some in (rows, rows[:4], rows[4:], rows[:1], rows[4:5]):
        expected = scene.run(AttentionStep, some, options)
        got = scene.run(CascadeStep, some, options)
        assert got.shape == expected.shape
        assert torch.allclose(got, expected, rtol=0, atol=2e-6)


@pytest.mark.usefixtures("_everything_is_worth_it")
def test_a_window_that_ends_before_the_prefix_takes_the_references_way() -> None:
    scene = Scene(heads=4, kv_heads=2)
    rows = mixed_rows(scene)
    options = _Options(scale=0.3, window=13, softcap=None, sinks=None)
    expected = scene.run(AttentionStep, rows, options)
    assert torch.equal(scene.run(CascadeStep, rows, options), expected)


class Whole(AttentionStep):
    """Reads all pages, and masks what a window does not show."""

    def _seen_pages(
        self, rows: SingleRows, window: int | None, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        position = torch.arange(rows.page_ids.shape[1] * PAGE)
        last = rows.kv_tokens[:, None]
        is_seen = (position < last) & (position >= last - (window or 10**6))
        mask = torch.zeros(is_seen.shape, dtype=dtype).masked_fill_(~is_seen, float("-inf"))
        return rows.page_ids, mask[:, None, None]


@pytest.mark.parametrize("window", [None, 1, 3, 4, 5, 13, 64, 200])
def test_a_single_token_reads_the_pages_of_its_window_and_no_more(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(heads=4, kv_heads=2)
    lengths = [1, 4, 5, 83, 60]
    rows = [(scene.pages(-(-length // PAGE)), length, 1) for length in lengths]
    options = _Options(scale=0.3, window=window, softcap=None, sinks=None)
    expected = scene.run(Whole, rows, options)
    read: list[int] = []
    gather = KVPool.gather

    def noting(self: KVPool, which: str, layer: int, page_ids: torch.Tensor) -> Any:
        read.append(len(page_ids))
        return gather(self, which, layer, page_ids)

    monkeypatch.setattr(KVPool, "gather", noting)
    assert torch.allclose(scene.run(AttentionStep, rows, options), expected, rtol=0, atol=2e-6)
    longest = -(-max(lengths) // PAGE)
    most_pages = longest if window is None else min(longest, (window - 2) // PAGE + 2)
    assert max(read) <= len(rows) * most_pages


@pytest.mark.usefixtures("_everything_is_worth_it")
def test_bfloat16_is_merged_in_float32() -> None:
    """Off by the rounding of the parts at most, which is that of one bfloat16."""
    exact = Scene(heads=4, kv_heads=2)
    coarse = Scene(heads=4, kv_heads=2, dtype=torch.bfloat16)
    exact.pool.keys[0].copy_(coarse.pool.keys[0])
    exact.pool.values[0].copy_(coarse.pool.values[0])
    options = _Options(scale=0.3, window=None, softcap=None, sinks=None)
    rows = mixed_rows(exact)
    expected = exact.run(AttentionStep, rows, options)
    reference = coarse.run(AttentionStep, rows, options).float()
    got = coarse.run(CascadeStep, rows, options).float()
    assert (got - expected).abs().max() <= 1.5 * (reference - expected).abs().max()


@pytest.mark.usefixtures("_everything_is_worth_it")
def test_a_shared_page_is_gathered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(heads=4, kv_heads=2)
    stem = scene.pages(20)
    rows = [(stem + scene.pages(1), 83, 1) for _ in range(6)]
    read: list[int] = []
    gather = KVPool.gather

    def noting(self: KVPool, which: str, layer: int, page_ids: torch.Tensor) -> Any:
        read.append(len(page_ids))
        return gather(self, which, layer, page_ids)

    monkeypatch.setattr(KVPool, "gather", noting)
    scene.run(CascadeStep, rows, _Options(scale=0.3, window=None, softcap=None, sinks=None))
    assert sum(read) == 2 * (20 + 6)  # keys and values
