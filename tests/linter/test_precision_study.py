"""The blind study draws the same places again, tells raters nothing, and counts as it should."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LONG = "Answer politely and never promise what the policy does not grant. " * 16
PROMPTS = (
    "def bad(client, question):\n"
    f'    text = f"{{question}} {LONG}"\n'
    '    client.create(messages=[{"role": "user", "content": text}])\n'
    "def good(client, question):\n"
    f'    text = f"{LONG} {{question}}"\n'
    '    client.create(messages=[{"role": "user", "content": text}])\n'
    "def page(title):\n"
    f'    return f"<html>{{title}} {LONG}</html>"\n'
)


@pytest.fixture
def arithmetic(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import precision_score

    return precision_score


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two packages, one of them left out, and what was drawn from the other."""
    folder = tmp_path_factory.mktemp("study")
    for name in ("alpha", "left"):
        (folder / "packages" / name / name).mkdir(parents=True)
        (folder / "packages" / name / name / "ask.py").write_text(PROMPTS)
    (folder / "others" / "left").mkdir(parents=True)
    _run(folder, "draw", "packages", "--packets", "packets", "--leave-out", "others")
    return folder


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "precision.py"), *arguments,
         "--draw", "draw.json", "--key", "key.json"],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip


def test_each_kind_of_place_is_drawn_and_raters_learn_nothing_of_it(study: Path) -> None:
    key = json.loads((study / "key.json").read_text())
    kinds = {place["line"]: place["stratum"] for place in key["places"].values()}
    assert kinds == {2: "reported", 5: "seen", 8: "unseen"}
    told = [path.read_text() for path in (study / "packets").glob("*.json")]
    told.append((study / "draw.json").read_text())
    for text in told:
        assert not any(word in text for word in ("SF301", "stratum", "codes"))
    assert LONG not in (study / "draw.json").read_text()
    assert all("left" not in text.replace("left_out", "") for text in told)
    packets = [json.loads(path.read_text()) for path in (study / "packets").glob("rater-*.json")]
    rated = [row["id"] for rows in packets for row in rows]
    assert len(rated) == 4
    assert len(set(rated)) == 3  # a third of them twice


def test_the_same_seed_draws_the_same_places(study: Path) -> None:
    first = (study / "draw.json").read_text()
    _run(study, "draw", "packages", "--packets", "again", "--leave-out", "others")
    assert (study / "draw.json").read_text() == first


def test_ratings_become_a_page(study: Path) -> None:
    key = json.loads((study / "key.json").read_text())["places"]
    rows = [
        {"id": name, "verdict": "defect" if place["stratum"] == "reported" else "no defect",
         "why": "request data", "form": "f-string"}
        for name, place in key.items()
    ]  # fmt: skip
    (study / "one.json").write_text(json.dumps(rows))
    (study / "two.json").write_text(json.dumps(rows))
    text = _run(study, "score", "one.json", "two.json").stdout
    assert "**Precision** 100.0 % (20.7 to 100.0)" in text
    assert "**Recall** 100.0 %" in text
    assert "Two raters judged 3 places: 3 alike, Cohen's kappa 1.00." in text


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (148, 150, 0.9527, 0.9963)],
)
def test_intervals_are_wilsons(
    arithmetic: ModuleType, successes: int, total: int, low: float, high: float
) -> None:
    found = arithmetic.wilson(successes, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_recall_weighs_places_by_how_many_there_are(arithmetic: ModuleType) -> None:
    wilson = arithmetic.wilson
    parts = {"reported": wilson(90, 100), "seen": wilson(1, 50), "unseen": wilson(0, 50)}
    population = {"reported": 200, "seen": 1000, "unseen": 500}
    found = arithmetic.recall(parts, population)
    assert found.value == pytest.approx(180 / (180 + 20))
    assert found.low < 0.75 < found.value < found.high <= 1
    many = arithmetic.recall(parts, {**population, "seen": 5000})
    assert many.value == pytest.approx(180 / (180 + 100))


def test_agreement_is_cohens_kappa(arithmetic: ModuleType) -> None:
    pairs = [("defect", "defect")] * 20 + [("defect", "no defect")] * 5
    pairs += [("no defect", "defect")] * 10 + [("no defect", "no defect")] * 15
    assert arithmetic.kappa(pairs) == pytest.approx(0.4)
