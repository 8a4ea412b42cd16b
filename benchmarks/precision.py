"""A blind study of `stemfirst check`: how often it is right, and how much of all it finds.

    python benchmarks/precision.py draw FOLDER --packets DIR --key FILE [--leave-out FOLDER ...]
    python benchmarks/precision.py score RATINGS.json ... --key FILE [--write]

`draw` judges every package below FOLDER (one folder a package, as `pip install --target` makes
them) and draws places of three kinds: prompts that the linter reported, prompts that it saw and did
not report, and text that looks like a prompt to a scan of its own (`precision_scan`) and was seen
by nobody. The draw file, docs/precision-draw.json, is to be committed before anybody judges a
place: it holds package, version, path, lines and the digest of the key, and neither source text nor
what the linter said. The raters' packets go to DIR and the key, which no rater may see, to FILE,
both outside the repository. A third of the places goes to two raters.

`score` joins the ratings with the key. What raters judge, and how, is docs/precision-study.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import sys
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import distributions
from multiprocessing import get_context
from pathlib import Path

from precision_scan import Span, prompt_like
from precision_score import STRATA, page, read_ratings
from real_code import FIX_PART, STUDY_PART

ROOT = Path(__file__).parent.parent
DRAW = ROOT / "docs" / "precision-draw.json"
SHEET = ROOT / "docs" / "precision-study.md"
REPORT = ROOT / "docs" / "real-code.md"
CONTEXT_LINES = 60
MAX_LINES = 600
SEED = 20261123


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Some lines of a package's file, and why they may be drawn; `codes`: what was reported."""

    package: str
    version: str
    path: str
    line: int
    end_line: int
    stratum: str
    codes: tuple[str, ...] = ()
    is_info: bool = False


def version_of(folder: Path) -> str:
    wanted = re.sub(r"[-_.]+", "-", folder.name).lower()
    for distribution in distributions(path=[str(folder)]):
        if re.sub(r"[-_.]+", "-", distribution.name).lower() == wanted:
            return distribution.version
    try:  # a snapshot of a repository names its commit
        return (folder / ".revision").read_text("utf-8").strip()[:12]
    except OSError:
        return "?"


def places_of(folder: Path) -> list[Place]:
    """Return every place of a package that may be drawn, each line in one of them at most."""
    from stemfirst_lint.check import check_paths
    from stemfirst_lint.config import Config
    from stemfirst_lint.model import Severity

    warnings.simplefilter("ignore")
    os.chdir(folder)
    report = check_paths((".",), Config(root=".", respects_gitignore=False))
    version = version_of(folder)
    reported: dict[tuple[str, int, int], list[tuple[str, bool]]] = {}
    for finding in report.findings:
        if not finding.code.startswith("SF9"):
            at = finding.template.location if finding.template else finding.location
            # A prompt that `+=` puts together reaches down to the hole that is spoken of.
            hole = finding.location
            is_below = hole.path == at.path and at.end_line < hole.end_line < at.line + MAX_LINES
            end_line = hole.end_line if is_below else at.end_line
            key = (os.path.normpath(at.path), at.line, end_line)
            reported.setdefault(key, []).append((finding.code, finding.severity is Severity.INFO))
    found = [
        Place(folder.name, version, *key, "reported", tuple(sorted({code for code, _ in said})),
              all(is_info for _, is_info in said))
        for key, said in reported.items()
    ]  # fmt: skip
    starts = {(path, line) for path, line, _ in reported}
    known: dict[str, list[tuple[int, int]]] = {}
    for site in report.sites:
        at = site.template.location
        key = (os.path.normpath(at.path), at.line, at.end_line)
        for piece in (site.template, *site.template.pieces):
            path = os.path.normpath(piece.location.path)
            known.setdefault(path, []).append((piece.location.line, piece.location.end_line))
        if key[:2] not in starts and site.template.holes:
            found.append(Place(folder.name, version, *key, "seen"))
    for path, line, end_line in reported:
        known.setdefault(path, []).append((line, end_line))
    for path, span in unseen(known):
        found.append(Place(folder.name, version, path, span.line, span.end_line, "unseen"))
    return sorted(set(found))


def unseen(known: dict[str, list[tuple[int, int]]]) -> Iterable[tuple[str, Span]]:
    """Yield prompt-like text below the current folder that touches no known prompt."""
    for path in sorted(Path().rglob("*.py")):
        spans = known.get(str(path), [])
        for span in prompt_like(path):
            if not any(span.line <= end and start <= span.end_line for start, end in spans):
                yield str(path), span


def packages_below(folder: Path, left_out: list[Path]) -> list[Path]:
    names = {path.name.lower() for other in left_out for path in other.iterdir()}
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and path.name.lower() not in names
    )


def drawn(places: list[Place], counts: dict[str, int], seed: int) -> list[Place]:
    """Return places drawn at random from each stratum, all of it if it is small, then shuffled."""
    random_ = random.Random(seed)
    found: list[Place] = []
    for stratum in STRATA:
        of_stratum = sorted(place for place in places if place.stratum == stratum)
        found += random_.sample(of_stratum, min(counts[stratum], len(of_stratum)))
    random_.shuffle(found)
    return found


def shared_out(ids: list[str], raters: int, seed: int) -> list[list[str]]:
    """Return the ids of each rater; every third place goes to two of them."""
    packets: list[list[str]] = [[] for _ in range(raters)]
    for index, name in enumerate(ids):
        packets[index % raters].append(name)
    for turn, name in enumerate(ids[::3]):
        first = next(number for number, packet in enumerate(packets) if name in packet)
        second = (first + 1 + turn % (raters - 1)) % raters
        packets[second].append(name)
    for number, packet in enumerate(packets):
        random.Random(seed + number).shuffle(packet)
    return packets


def excerpt(folder: Path, place: Place) -> str:
    """Return the lines around a place with their numbers; `>` marks the place itself."""
    lines = (folder / place.package / place.path).read_text("utf-8", "replace").splitlines()
    first = max(place.line - CONTEXT_LINES, 1)
    last = min(place.end_line + CONTEXT_LINES, len(lines), first + MAX_LINES)
    return "\n".join(
        f"{'>' if place.line <= number <= place.end_line else ' '}{number:5} {lines[number - 1]}"
        for number in range(first, last + 1)
    )


def draw(options: argparse.Namespace) -> None:
    folders = packages_below(options.folder, options.leave_out)
    places: list[Place] = []
    failed: list[str] = []
    # A process a package: syntax trees of one do not stay while the next is judged.
    with ProcessPoolExecutor(options.workers, get_context("spawn"), max_tasks_per_child=1) as pool:
        pending = [(folder, pool.submit(places_of, folder.resolve())) for folder in folders]
        for folder, future in pending:
            try:
                found = future.result()
            except Exception as error:  # noqa: BLE001 one package must not end the draw
                failed.append(folder.name)
                print(f"{folder.name}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            places += found
            print(f"{folder.name}: {len(found):,} places", file=sys.stderr)
    counts = {"reported": options.findings, "seen": options.seen, "unseen": options.unseen}
    chosen = drawn(places, counts, options.seed)
    ids = [f"p{number:03}" for number in range(1, len(chosen) + 1)]
    population = {s: sum(place.stratum == s for place in places) for s in STRATA}
    key = {
        "population": population,
        "places": {name: asdict(place) for name, place in zip(ids, chosen, strict=True)},
    }
    options.packets.mkdir(parents=True, exist_ok=True)
    text = json.dumps(key, indent=1, sort_keys=True)
    options.key.write_text(text, "utf-8")
    versions = {place.package: place.version for place in places}
    public = {
        "date": date.today().isoformat(),
        "seed": options.seed,
        "packages": dict(sorted(versions.items())),
        "failed": failed,
        "population": population,
        "key_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "places": {
            name: {"package": p.package, "version": p.version, "path": p.path, "line": p.line,
                   "end_line": p.end_line}
            for name, p in zip(ids, chosen, strict=True)
        },
    }  # fmt: skip
    options.draw.write_text(json.dumps(public, indent=1) + "\n", "utf-8")
    of_id = dict(zip(ids, chosen, strict=True))
    for number, packet in enumerate(shared_out(ids, options.raters, options.seed), 1):
        rows = [
            {"id": name, "file": f"{of_id[name].package}/{of_id[name].path}",
             "line": of_id[name].line, "end_line": of_id[name].end_line,
             "code": excerpt(options.folder, of_id[name])}
            for name in packet
        ]  # fmt: skip
        target = options.packets / f"rater-{number}.json"
        target.write_text(json.dumps(rows, indent=1, ensure_ascii=False), "utf-8")
        print(f"rater {number}: {len(rows)} places in {target}")
    (options.packets / "instructions.md").write_text(SHEET.read_text("utf-8"), "utf-8")
    print(json.dumps({"population": population, "drawn": len(chosen), "packages": len(versions)}))


def score(options: argparse.Namespace) -> None:
    text = options.key.read_text("utf-8")
    public = json.loads(options.draw.read_text("utf-8"))
    if hashlib.sha256(text.encode()).hexdigest() != public["key_sha256"]:
        sys.exit(f"{options.key} is not the key of {options.draw}: draw anew")
    part = page(json.loads(text), read_ratings(options.ratings), public)
    print(part)
    if options.write:
        before = REPORT.read_text("utf-8")
        fix = before.partition(FIX_PART)
        head = fix[0].partition(STUDY_PART)[0].rstrip()
        REPORT.write_text(f"{head}\n\n{STUDY_PART}\n\n{part}\n\n{fix[1]}{fix[2]}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw")
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("--packets", type=Path, required=True)
    drawing.add_argument("--leave-out", type=Path, nargs="*", default=[])
    drawing.add_argument("--seed", type=int, default=SEED)
    drawing.add_argument("--findings", type=int, default=150)
    drawing.add_argument("--seen", type=int, default=90)
    drawing.add_argument("--unseen", type=int, default=60)
    drawing.add_argument("--raters", type=int, default=4)
    drawing.add_argument("--workers", type=int, default=2)
    scoring = commands.add_parser("score")
    scoring.add_argument("ratings", type=Path, nargs="+")
    scoring.add_argument("--write", action="store_true", help="into docs/real-code.md")
    for each in (drawing, scoring):
        each.add_argument("--draw", type=Path, default=DRAW)
        each.add_argument("--key", type=Path, required=True)
    options = parser.parse_args()
    (draw if options.command == "draw" else score)(options)


if __name__ == "__main__":
    main()
