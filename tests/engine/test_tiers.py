"""KV that left the device comes back as it was, or not at all."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from stemfirst_server.engine.config import EngineConfig, KVDtype
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import (
    Completion,
    GenerationRequest,
    RequestReport,
    SamplingParams,
    token_array,
)
from stemfirst_server.errors import ConfigError
from stemfirst_server.model.loading import LoadedModel, load_model
from stemfirst_server.tiers.block import Block, BlockIndex
from stemfirst_server.tiers.settings import TierSettings
from stemfirst_server.tiers.tiers import Tiers

MIB = 2**20
PAGE = 16


class Tiered:
    """An engine with slower tiers."""

    def __init__(self, loaded: LoadedModel, settings: TierSettings, **config: Any) -> None:
        chosen = {"is_checked": True, "pool_tokens": 512, "page": PAGE} | config
        self.engine = Engine(loaded, EngineConfig(**chosen), settings)
        self.engine.start()
        self.count = 0

    @property
    def tiers(self) -> Tiers:
        assert self.engine.tiers is not None
        return self.engine.tiers

    def ask(self, tokens: list[int], namespace: str = "", *, most: int = 2) -> Completion:
        """Answer a prompt as the server does: disk first, then the engine."""
        self.count += 1
        ids = token_array(tokens)
        spent_ms = self.tiers.prefetch(namespace, ids.tobytes())
        params = SamplingParams(max_tokens=most, temperature=0.0, ignore_eos=True, logprobs=0)
        request = GenerationRequest(str(self.count), ids, params, namespace, prefetch_ms=spent_ms)
        return self.engine.submit(request).result(timeout=60)

    def report(self, tokens: list[int], namespace: str = "") -> RequestReport:
        return self.ask(tokens, namespace).finish.report

    def end(self) -> int:
        """Stop, and write what is cached to disk."""
        self.engine.check()
        self.tiers.check()
        assert self.engine.stop(timeout=20)
        written = self.engine.save(most_s=20)
        self.tiers.check()
        if self.tiers._disk is not None:
            self.tiers._disk.close()
        return written


@pytest.fixture
def start(load_small: Callable[[str], LoadedModel]) -> Iterator[Callable[..., Tiered]]:
    started: list[Tiered] = []

    def make(
        *, host: int | None = 4 * MIB, disk: Path | None = None, disk_bytes: int = 64 * MIB,
        model: str = "llama", loaded: LoadedModel | None = None, **config: Any,
    ) -> Tiered:  # fmt: skip
        settings = TierSettings(host, disk, disk_bytes)
        started.append(Tiered(loaded or load_small(model), settings, **config))
        return started[-1]

    yield make
    for tiered in started:
        tiered.end()


def prompt(seed: int, length: int = 200) -> list[int]:
    return [random.Random(seed).randrange(3, 60) for _ in range(length)]


def logprobs(answer: Completion) -> list[float]:
    """Return what wrong KV would move, even where the best tokens stay."""
    return [event.logprob for event in answer.tokens if event.logprob is not None]


def push_out(tiered: Tiered, seeds: range = range(100, 104)) -> None:
    """Fill the pool of 512 tokens with other prompts."""
    for seed in seeds:
        tiered.ask(prompt(seed))


def test_what_was_evicted_comes_back_from_the_host(start: Callable[..., Tiered]) -> None:
    tiered = start()
    first = tiered.ask(prompt(1), most=4)
    push_out(tiered)
    again = tiered.ask(prompt(1), most=4)
    assert again.token_ids == first.token_ids
    report = again.finish.report
    assert report.cached_tokens == 192
    assert report.host_tokens == 192
    assert report.disk_tokens == 0
    assert report.load_ms > 0
    assert tiered.report(prompt(1)).host_tokens == 0, "it is on the device now"
    assert tiered.engine.stats().host_tokens == 192


def test_without_tiers_it_would_have_been_computed_again(
    load_small: Callable[[str], LoadedModel],
) -> None:
    assert Engine(load_small("llama"), EngineConfig(), TierSettings()).tiers is None


def test_one_namespace_never_gets_what_another_left(start: Callable[..., Tiered]) -> None:
    tiered = start()
    tiered.ask(prompt(1), "a")
    push_out(tiered)
    assert tiered.report(prompt(1), "b").cached_tokens == 0
    assert tiered.report(prompt(1), "a").host_tokens == 192


def test_the_host_hands_on_to_disk_and_disk_gives_back(
    start: Callable[..., Tiered], tmp_path: Path
) -> None:
    tiered = start(host=MIB // 2, disk=tmp_path)
    first = tiered.ask(prompt(1), most=4)
    for seed in range(100, 140):
        push_out(tiered, range(seed, seed + 1))
        assert tiered.tiers.settle(20)
    assert list(tmp_path.glob("*/*.safetensors"))
    again = tiered.ask(prompt(1), most=4)
    assert again.token_ids == first.token_ids
    report = again.finish.report
    assert report.disk_tokens > 0
    assert report.disk_tokens + report.host_tokens == report.cached_tokens == 192


def test_a_restart_comes_back_warm(start: Callable[..., Tiered], tmp_path: Path) -> None:
    before = start(disk=tmp_path)
    prompts = [prompt(seed, 100) for seed in range(4)]
    answers = [before.ask(tokens, most=4).token_ids for tokens in prompts]
    assert before.end() > 0
    after = start(disk=tmp_path)
    for tokens, answer in zip(prompts, answers, strict=True):
        again = after.ask(tokens, most=4)
        assert again.token_ids == answer
        assert again.finish.report.disk_tokens == 96
    assert after.report(prompts[0], "another namespace").cached_tokens == 0


def test_other_weights_never_find_what_was_left(
    start: Callable[..., Tiered], load_small: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    before = start(disk=tmp_path)
    before.ask(prompt(1))
    assert before.end() > 0
    loaded = load_small("llama")
    weight = next(loaded.model.parameters())
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.view(-1)[5] += 0.001
        assert start(disk=tmp_path).report(prompt(1)).cached_tokens == 0
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_the_same_weights_under_another_configuration_never_find_what_was_left(
    start: Callable[..., Tiered], save_small: Callable[..., Path], tmp_path: Path
) -> None:
    """One name, one namespace, one disk, every weight the same: positions alone differ."""
    disk = tmp_path / "disk"

    def served(base: float) -> Tiered:
        rope = {"rope_type": "default", "rope_theta": base}
        folder = save_small("llama", rope_parameters=rope)
        place = tmp_path / str(len(list(tmp_path.iterdir()))) / "model"
        place.parent.mkdir()
        folder.rename(place)
        return start(disk=disk, loaded=load_model(str(place), device="cpu"))

    before = served(10_000.0)
    first = before.ask(prompt(1))
    assert before.end() > 0
    other = served(500_000.0)
    answer = other.ask(prompt(1))
    assert answer.finish.report.cached_tokens == 0
    assert logprobs(answer) != pytest.approx(logprobs(first), abs=1e-3), "wrong KV would be seen"
    other.end()
    # The same checkpoint is found wherever it lies.
    assert served(10_000.0).report(prompt(1)).disk_tokens == 192


DAMAGE: dict[str, Callable[[bytearray], None]] = {
    "a flipped bit in the KV": lambda raw: raw.__setitem__(-100, raw[-100] ^ 1),
    "a flipped bit in the middle": lambda raw: raw.__setitem__(
        len(raw) // 2, raw[len(raw) // 2] ^ 64
    ),
    "cut off": lambda raw: raw.__delitem__(slice(len(raw) // 2, None)),
    "cut off in its head": lambda raw: raw.__delitem__(slice(20, None)),
    "empty": lambda raw: raw.clear(),
    "longer": lambda raw: raw.extend(b"x" * 16),
    "a head that is no JSON": lambda raw: raw.__setitem__(8, 0),
    "a head of 2^60 bytes": lambda raw: raw.__setitem__(7, 16),
    "zeros": lambda raw: raw.__setitem__(slice(None), bytes(len(raw))),
    "another namespace's name": lambda raw: raw.__setitem__(
        slice(None), raw.replace(b'"namespace":"one"', b'"namespace":"two"')
    ),
    "another place": lambda raw: raw.__setitem__(
        slice(None), raw.replace(b'"start_page":"0"', b'"start_page":"1"')
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("is_seen_at_start", [True, False])
def test_a_damaged_file_is_dropped_and_the_answer_is_right(
    start: Callable[..., Tiered], tmp_path: Path, damage: str, is_seen_at_start: bool
) -> None:
    before = start(disk=tmp_path)
    first = before.ask(prompt(1), "one", most=4)
    before.end()

    def harm() -> None:
        for file in tmp_path.glob("*/*.safetensors"):
            raw = bytearray(file.read_bytes())
            DAMAGE[damage](raw)
            file.write_bytes(raw)

    if is_seen_at_start:
        harm()
    after = start(disk=tmp_path)
    if not is_seen_at_start:
        harm()
    for namespace in ("one", "two"):
        again = after.ask(prompt(1), namespace, most=4)
        assert again.token_ids == first.token_ids
        assert again.finish.report.disk_tokens == 0
    # One that was behind another place from the start is never looked at, and stays.
    is_left = is_seen_at_start and damage == "another place"
    assert bool(list(tmp_path.glob("*/*.safetensors"))) == is_left
    assert (after.tiers.stats().dropped_files == 0) == is_left
    assert after.ask(prompt(1), "one", most=4).finish.report.cached_tokens == 192


@contextmanager
def no_file_larger_than(nbytes: int) -> Iterator[None]:
    """Have the system refuse writes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_writing_with_a_warning_and_answers_stay_right(
    start: Callable[..., Tiered], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiered = start(host=MIB // 2, disk=tmp_path)
    first = tiered.ask(prompt(1), most=4)
    with no_file_larger_than(1000):
        for seed in range(100, 120):
            push_out(tiered, range(seed, seed + 1))
            assert tiered.tiers.settle(20)
    assert "the disk cache takes no more" in caplog.text
    stats = tiered.tiers.stats()
    assert not stats.is_writing
    assert stats.write_failures > 0
    assert stats.written_pages == stats.disk_files == stats.disk_bytes == 0
    assert not list(tmp_path.glob("*/*"))
    assert tiered.ask(prompt(1), most=4).token_ids == first.token_ids


class Colliding:
    """A hash that gives many prompts one name."""

    def __init__(self, data: bytes) -> None:
        self._length = len(data)

    def update(self, data: bytes) -> None:
        self._length += len(data)

    def intdigest(self) -> int:
        return self._length


def test_a_hash_that_collides_makes_a_miss_and_never_a_wrong_hit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    colliding = SimpleNamespace(xxh3_128=Colliding)
    monkeypatch.setattr("stemfirst_server.tiers.block.xxhash", colliding)
    index = BlockIndex(PAGE)
    ours, theirs = (token_array(prompt(seed, 4 * PAGE)).tobytes() for seed in (1, 2))
    behind = ours[: 2 * PAGE * 4] + theirs[2 * PAGE * 4 :]
    index.add(Block("", ours, 1, 3))
    assert [page for page, _ in index.run("", ours, 1)] == [1, 2, 3]
    assert [page for page, _ in index.run("", ours[: 3 * PAGE * 4], 2)] == [2]
    assert not list(index.run("", theirs, 1))
    assert [page for page, _ in index.run("", behind, 1)] == [1]
    assert [block is not None for block in index.each("", behind, 1)] == [True, False, False]


def test_files_never_take_more_than_they_may(start: Callable[..., Tiered], tmp_path: Path) -> None:
    tiered = start(host=MIB // 2, disk=tmp_path, disk_bytes=300_000)
    for seed in range(100, 140):
        tiered.ask(prompt(seed))
        assert tiered.tiers.settle(20)
        tiered.tiers.check()
    tiered.end()
    files = list(tmp_path.glob("*/*.safetensors"))
    assert files
    assert sum(file.stat().st_size for file in files) <= 300_000


def test_only_this_user_can_read_the_files(start: Callable[..., Tiered], tmp_path: Path) -> None:
    tiered = start(disk=tmp_path / "cache")
    tiered.ask(prompt(1))
    tiered.end()
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
    for file in tmp_path.glob("cache/*/*"):
        assert file.stat().st_mode & 0o077 == 0


def test_a_flush_empties_every_tier(start: Callable[..., Tiered], tmp_path: Path) -> None:
    tiered = start(disk=tmp_path)
    tiered.ask(prompt(1))
    push_out(tiered)
    tiered.engine.flush()
    assert tiered.report(prompt(1)).cached_tokens == 0
    assert tiered.tiers.stats().host_pages == 0
    assert not list(tmp_path.glob("*/*.safetensors"))


def test_two_servers_cannot_share_a_folder(start: Callable[..., Tiered], tmp_path: Path) -> None:
    start(disk=tmp_path)
    with pytest.raises(ConfigError, match="another server uses"):
        start(disk=tmp_path)


def test_a_host_cache_below_one_page_is_refused(start: Callable[..., Tiered]) -> None:
    with pytest.raises(ConfigError, match="at least one page"):
        start(host=10)


def test_half_written_files_of_a_killed_process_are_removed(
    start: Callable[..., Tiered], tmp_path: Path
) -> None:
    before = start(disk=tmp_path)
    before.ask(prompt(1))
    before.end()
    folder = next(tmp_path.glob("*/*.safetensors")).parent
    (folder / "x.part").write_bytes(b"half")
    start(disk=tmp_path)
    assert not (folder / "x.part").exists()


@pytest.mark.parametrize(
    ("seed", "host", "config"),
    [
        (1, MIB // 2, {}),
        (2, MIB // 4, {"page": 1}),
        (3, MIB // 4, {"is_deterministic": True, "chunk_tokens": 32}),
        (4, MIB // 8, {"kv_dtype": KVDtype.INT8}),
        (5, MIB // 2, {"model": "gemma3_text"}),
    ],
    ids=["pages of 16", "pages of 1", "deterministic", "int8", "sliding windows"],
)
def test_random_traffic_over_all_tiers_is_answered_as_without_a_cache(
    start: Callable[..., Tiered], tmp_path: Path, seed: int, host: int, config: dict[str, Any]
) -> None:
    rng = random.Random(seed)
    tiered = start(host=host, disk=tmp_path, disk_bytes=2 * MIB, **config)
    alone = start(host=4 * MIB, **(config | {"pool_tokens": 4096}))
    # Eight bits are read as they were written, but a hit is computed in other shapes.
    tolerance = 0.02 if "kv_dtype" in config else 1e-4
    stems = [prompt(seed * 50 + i, rng.randrange(20, 150)) for i in range(6)]
    sources = {"host": 0, "disk": 0}
    for turn in range(60):
        tokens = rng.choice(stems)[: rng.randrange(10, 150)] + prompt(rng.randrange(4), 9)
        namespace = rng.choice("ab")
        got = tiered.ask(tokens, namespace)
        ids = token_array(tokens)
        params = SamplingParams(max_tokens=2, temperature=0.0, ignore_eos=True, logprobs=0)
        fresh = GenerationRequest(
            f"fresh {turn}", ids, params, can_read_cache=False, can_write_cache=False
        )
        expected = alone.engine.submit(fresh).result(timeout=60)
        assert logprobs(got) == pytest.approx(logprobs(expected), abs=tolerance), turn
        sources["host"] += got.finish.report.host_tokens
        sources["disk"] += got.finish.report.disk_tokens
        if turn % 7 == 0:
            tiered.engine.check()
            tiered.tiers.check()
            assert tiered.tiers.settle(20)
    assert sources["host"] > 0
    assert sources["disk"] > 0
