"""Run `fix` over published packages and write what became of it into docs/real-code.md.

    python benchmarks/fix_real_code.py [--keep FOLDER ...] [--packages NAME ...]
    python benchmarks/fix_real_code.py --sample 60 --seed 7 --export FILE [--keep FOLDER ...]
        [--most-per-package 4]

Works on copies. Published prompts are short, and of most values nobody can show that they vary;
so that there is enough to judge, the rewriting is tried on every prompt that `check` sees, as if
each value that nothing is known about came with the request and nobody else read the text, and
from a gain of one page (16 tokens) on. Checks for every package that each file still parses, that
a second run changes nothing, and that the text in front of the first varying value of every
rewritten template grew: both versions are rendered here, with a sentinel for each value, by code
that shares nothing with the linter (Jinja by Jinja itself). Sixty changes are drawn with a fixed
seed; their verdicts stand in benchmarks/fix_real_code_verdicts.json, written by someone who read
each diff as the maintainer would. `--export` writes the drawn changes to a file, for reading, and
leaves the report alone: package, path, applicability and diff of each, and what a maintainer sees
no more than that.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import re
import shutil
import string
import tempfile
import textwrap
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, meta
from real_code import FIX_PART as MARK
from real_code import PACKAGES, ROOT, install
from stemfirst.tiers import Tier
from stemfirst_lint.check import check_paths
from stemfirst_lint.config import Config
from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.apply import fix_paths
from stemfirst_lint.fix.changes import Done, Rewrite
from stemfirst_lint.fix.rewrite import rewrite
from stemfirst_lint.model import (
    Applicability,
    Evidence,
    Finding,
    Form,
    Kind,
    Template,
    Text,
    Verdict,
)

REPORT = ROOT / "docs" / "real-code.md"
VERDICTS = ROOT / "benchmarks" / "fix_real_code_verdicts.json"
OWN_PART = "<!-- made by benchmarks/fix_own_tests.py -->"
"""Where the part of the page begins that another script writes, behind ours."""
MORE = (
    "aider-chat", "autogen-agentchat", "browser-use", "camel-ai", "crewai", "dspy", "embedchain",
    "gpt-researcher", "graphrag", "guidance", "haystack-ai", "instructor", "langgraph-prebuilt",
    "letta", "lightrag-hku", "mem0ai", "metagpt", "open-interpreter", "pydantic-ai-slim",
    "smolagents",
)  # fmt: skip
"""Published packages besides those that `check` is tried on."""
SEED = 20261123
SAMPLE = 60
MIN_GAIN_TOKENS = 16
AS_IF = Verdict(Tier.REQUEST, Kind.PARAMETER, (Evidence("taken as varying for this trial"),))


@dataclass
class Result:
    """What one package gave."""

    package: str
    usual: Counter[str] = field(default_factory=Counter)
    files: int = 0
    seconds: float = 0.0
    done: list[Done] = field(default_factory=list)
    risky: list[Done] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    left_forms: Counter[str] = field(default_factory=Counter)
    unparsed: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    not_grown: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def examine(package: str, original: Path) -> Result:
    """Fix a copy of one package twice, and plan the risky changes too."""
    result = Result(package)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / package
        shutil.copytree(original, copy)
        prefix = f"{copy}{os.sep}"
        usual = fix_paths((str(copy),), Config(), allow=Applicability.RISKY, write=False)
        result.usual = Counter(
            done.applicability.value for rewrite in usual.changed for done in rewrite.done
        )
        result.usual["left"] = sum(len(rewrite.left) for rewrite in usual.rewrites)
        start = time.perf_counter()
        first = rewritten(copy, Applicability.REORDER, result.failures)
        daring = rewritten(copy, Applicability.RISKY, result.failures)
        result.seconds = time.perf_counter() - start
        for rewrite in first:
            if rewrite.new != rewrite.old:
                result.files += 1
                Path(rewrite.path).write_bytes(rewrite.new)
                try:
                    ast.parse(rewrite.new)
                except SyntaxError as error:
                    result.unparsed.append(f"{rewrite.path.removeprefix(prefix)}: {error}")
            for left in rewrite.left:
                reason = left.reasons[0].reason if left.reasons else "no fix is known"
                result.reasons[general(reason)] += 1
                template = left.findings[0].template
                result.left_forms[template.form.value if template else "none"] += 1
        result.done = collect(first, prefix, result.not_grown)
        again = rewritten(copy, Applicability.REORDER, result.failures)
        result.unsettled = [r.path.removeprefix(prefix) for r in again if r.new != r.old]
        result.risky = [
            done
            for done in collect(daring, prefix, result.not_grown)
            if done.applicability is Applicability.RISKY
        ]
    return result


def rewritten(copy: Path, allow: Applicability, failures: list[str]) -> list[Rewrite]:
    """Return what becomes of every prompt of a package, written nowhere."""
    by_file: dict[str, list[Finding]] = {}
    for site in check_paths((str(copy),), Config()).sites:
        if site.follows_history:
            continue  # order cannot matter there, and `check` says nothing either
        is_fixed = made_at_import(site.template)
        holes = [hole for hole in site.template.holes if hole.verdict.tier is None and not is_fixed]
        pieces = tuple(
            replace(piece, verdict=AS_IF) if piece in holes else piece
            for piece in site.template.pieces
        )
        template = replace(site.template, pieces=pieces, is_shared=False)
        if any(hole.verdict.tier for hole in template.holes):
            place = template.location
            finding = Finding("SF301", "hole-before-static", "", place, 0, template=template)
            by_file.setdefault(place.path, []).append(replace(finding, site=site))
    found: list[Rewrite] = []
    for path, findings in by_file.items():
        try:
            data = Path(path).read_bytes()
            found.append(rewrite(path, data, findings, allow=allow, min_gain=MIN_GAIN_TOKENS))
        except LintError as error:
            failures.append(str(error))
    return found


def made_at_import(template: Template) -> bool:
    """Return True if a text is put together when its module is loaded: once for all requests."""
    place = template.location
    if template.form not in (Form.FSTRING, Form.CONCAT, Form.JOIN):
        return False
    if not place.path.endswith(".py"):
        return False
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    start, end = (place.line, place.column - 1), (place.end_line, place.end_column - 1)
    return not any(
        (node.lineno, node.col_offset) <= start
        and end <= (node.end_lineno or node.lineno, node.end_col_offset or 0)
        for node in ast.walk(tree_of(place.path))
        if isinstance(node, functions)
    )


@lru_cache(maxsize=64)
def tree_of(path: str) -> ast.Module:
    """Return a module, read once."""
    return ast.parse(Path(path).read_bytes())


def collect(rewrites: list[Rewrite], prefix: str, not_grown: list[str]) -> list[Done]:
    """Return the changes, and note those whose rendered prefix did not grow."""
    found: list[Done] = []
    for made in rewrites:
        for done in made.done:
            found.append(done)
            template = done.findings[0].template
            if template is None or not done.before.characters:
                continue  # a set that is sorted
            before, after = prefixes(done, template)
            if after <= before:
                place = str(done.location).removeprefix(prefix)
                not_grown.append(f"{place}: {before} -> {after} characters")
    return found


def prefixes(done: Done, template: Template) -> tuple[int, int]:
    """Return how many characters two renderings have in common, before and after a change."""
    if template.form is not Form.JOIN:
        return stable_prefix(done.old_source, template), stable_prefix(done.new_source, template)
    lengths = []
    for version in (done.old_template, done.new_template):  # the parts change places, uncut
        assert version is not None
        texts = [
            "".join(
                piece.text
                if isinstance(piece, Text)
                else f"[{piece.name}{value if piece.verdict.tier else ''}]"
                for piece in version.pieces
            )
            for value in "12"
        ]
        lengths.append(shared(*texts))
    return lengths[0], lengths[1]


def stable_prefix(source: str, template: Template) -> int:
    """Return how many characters two renderings with other values have in common."""
    varying = {
        normal(hole.source if template.form in (Form.FSTRING, Form.CONCAT) else hole.name)
        for hole in template.holes
        if hole.verdict.tier
    }
    markers = tuple(hole.name for hole in template.holes)
    if not template.location.path.endswith(".py"):
        source = repr(source)
    texts = [render(source, template.form, varying, value, markers) for value in ("1", "2")]
    return shared(*texts)


def shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with together."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def normal(source: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.unparse(ast.parse(f"(\n{source}\n)", mode="eval"))
    except SyntaxError:
        return source


def render(source: str, form: Form, varying: set[str], value: str, markers: tuple[str, ...]) -> str:
    """Return what the source renders, each value by its expression, the varying ones marked."""

    def shown(expression: str) -> str:
        return f"[{expression}{value if expression in varying else ''}]"

    def text(node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str(constant)):
                return constant
            case ast.JoinedStr(values=values):
                return "".join(map(text, values))
            case ast.FormattedValue(value=inner):
                return shown(ast.unparse(inner))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return text(left) + text(right)
        return shown(ast.unparse(node))

    grows = re.search(r"\n([ \t]*)(\w+)[ \t]*\+=", source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form is Form.CONCAT and grows:
            head = f"if 1:\n {grows[1]}" if grows[1] else ""
            body = re.sub(rf"(?m)^{grows[1]}(?={grows[2]}\b)", f" {grows[1]}", source)
            tree = ast.parse(f"{head}{grows[2]} ={body if head else source}")
            values = [n.value for n in ast.walk(tree) if isinstance(n, ast.Assign | ast.AugAssign)]
            return "".join(map(text, values))
        node = ast.parse(f"(\n{source}\n)", mode="eval").body
    whole = text(node)
    if form is Form.REPLACE:
        for number, marker in enumerate(dict.fromkeys(markers)):
            whole = whole.replace(marker, f"\0{number}\0")
        for number, marker in enumerate(dict.fromkeys(markers)):
            whole = whole.replace(f"\0{number}\0", shown(normal(marker)))
        return whole
    if form is Form.JINJA:
        return jinja(whole, varying, value)
    if form is Form.DOLLAR:
        return string.Template(whole).substitute({m: shown(normal(m)) for m in markers})
    if form is not Form.FORMAT:
        return whole
    automatic = 0
    out = ""
    for literal, name, _, _ in string.Formatter().parse(whole):
        out += literal
        if name is not None:
            out += shown(normal(name or str(automatic)))
            automatic += not name
    return out


class Sentinel:
    """A value for Jinja that shows its name, whatever is done with it; a loop over it runs once."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __getattr__(self, name: str) -> Sentinel:
        if name.startswith("__"):
            raise AttributeError(name)
        return Sentinel(f"{self.text}.{name}")

    def __getitem__(self, key: object) -> Sentinel:
        return Sentinel(f"{self.text}.{key}")

    def __call__(self, *arguments: object, **named: object) -> Sentinel:
        """Give the same for any call."""
        return self

    def __iter__(self) -> Iterator[Sentinel]:
        return iter([self])

    def __len__(self) -> int:
        return 1


def jinja(template: str, varying: set[str], value: str) -> str:
    """Return what a Jinja template renders; the names of varying holes have the value in them."""
    environment = Environment(undefined=StrictUndefined)
    environment.filters = defaultdict(lambda: lambda first, *_, **__: first)
    roots = {name.partition(".")[0].partition("[")[0] for name in varying}
    names = meta.find_undeclared_variables(environment.parse(template))
    values = {name: Sentinel(f"[{name}{value if name in roots else ''}]") for name in names}
    return environment.from_string(template).render(values)


def general(reason: str) -> str:
    """Return a reason without the words of one prompt."""
    reason = re.sub(r"[“`][^”`]*[”`]", "“…”", reason)
    reason = re.sub(r"\{[^}]*\}+", "{…}", reason)
    reason = re.sub(r"\b\d+\b", "N", reason)
    return re.sub(r"^.*libcst cannot", "libcst cannot", reason)


def drawn(
    results: list[Result], count: int = SAMPLE, seed: int = SEED, most: int | None = None
) -> list[tuple[str, Done]]:
    """Return `reorder` changes, and `risky` ones where there are too few.

    With `most`, no more than that of one package, and none with the same text twice.
    """
    generator = random.Random(seed)
    if most is not None:
        results = [spread(result, most, generator) for result in results]
    chosen: list[tuple[str, Done]] = []
    for is_risky in (False, True):
        everything = sorted(
            (
                (key_of(r.package, done), done)
                for r in results
                for done in (r.risky if is_risky else r.done)
                if done.before.characters
                and (done.applicability is Applicability.RISKY) == is_risky
            ),
            key=lambda pair: pair[0],
        )
        size = min(count - len(chosen), len(everything))
        chosen += sorted(generator.sample(everything, size), key=lambda pair: pair[0])
    return chosen


def spread(result: Result, most: int, generator: random.Random) -> Result:
    """Return a result with at most `most` changes of each kind, each text once."""

    def some(changes: list[Done]) -> list[Done]:
        alone = list({" ".join(done.old_source.split()): done for done in changes}.values())
        return generator.sample(alone, min(most, len(alone)))

    return replace(result, done=some(result.done), risky=some(result.risky))


def key_of(package: str, done: Done) -> str:
    """Return what a verdict is filed under: the package, its file and the line."""
    path = done.location.path.split(f"{os.sep}{package}{os.sep}", 1)[-1]
    return f"{package} {path}:{done.location.line}"


def page(results: list[Result]) -> str:
    """Return the part of the page that is about `fix`."""
    verdicts = json.loads(VERDICTS.read_text("utf-8")) if VERDICTS.exists() else {}
    out = [
        MARK,
        "",
        "## What `fix` does",
        "",
        f"Made by `benchmarks/fix_real_code.py` on {date.today().isoformat()} on copies of "
        f"{len(results)} published packages. *As installed*: `fix` and `fix --risky` as they are. "
        "The other columns are a trial of the rewriting on every prompt that was seen, as if each "
        "value that nothing is known about came with the request and nobody else read the text, "
        f"from a gain of {MIN_GAIN_TOKENS} tokens on. *Settled*: a second run changed nothing. "
        "*Grew*: rendered with sentinel values, the text in front of the first varying value is "
        "longer than before.",
        "",
        "| package | as installed: changed, `risky`, left | trial: changed | files | parse | "
        "settled | grew | `risky` | left |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    rows = [*results, total(results)]
    for r in rows:
        name = f"**{r.package}**" if r is rows[-1] else r.package
        moved = sum(done.before.characters > 0 for done in [*r.done, *r.risky])
        usual = r.usual["reorder"] + r.usual["identical"]
        out.append(
            f"| {name} | {usual}, {r.usual['risky']}, {r.usual['left']} | {len(r.done)} | "
            f"{r.files} | {r.files - len(r.unparsed)} of {r.files} | "
            f"{r.files - len(r.unsettled)} of {r.files} | {moved - len(r.not_grown)} of {moved} | "
            f"{len(r.risky)} | {sum(r.reasons.values())} |"
        )
    everything = rows[-1]
    out += ["", "| form | changed | `risky` | left |", "|---|--:|--:|--:|"]
    changed, risky = by_form(everything.done), by_form(everything.risky)
    for name in sorted({*changed, *risky, *everything.left_forms}):
        out.append(f"| {name} | {changed[name]} | {risky[name]} | {everything.left_forms[name]} |")
    out += ["", "| why it was left | places |", "|---|--:|"]
    out += [
        f"| {reason.replace('|', '&#124;')} | {count} |"
        for reason, count in everything.reasons.most_common()
    ]
    faults = [
        *everything.unparsed, *everything.unsettled, *everything.not_grown, *everything.failures
    ]  # fmt: skip
    if faults:
        out += ["", "What went wrong:", "", *(f"- {fault}" for fault in faults)]
    chosen = drawn(results)
    out += ["", f"### {len(chosen)} changes drawn at random (seed {SEED})", ""]
    out.append("Would a careful maintainer merge it?")
    for kind in (Applicability.REORDER, Applicability.RISKY):
        judged = [
            verdicts[key] for key, done in chosen if done.applicability is kind and key in verdicts
        ]
        right = sum(verdict["right"] for verdict in judged)
        out.append(f"`{kind.value}`: {right} of {len(judged)} judged.")
    out += ["", "| change | | verdict |", "|---|---|---|"]
    for key, done in chosen:
        verdict = verdicts.get(key)
        said = "not yet judged"
        if verdict:
            said = f"**{'merge' if verdict['right'] else 'do not merge'}**: {verdict['why']}"
        package, _, place = key.partition(" ")
        out.append(f"| {package} `{place}` | `{done.applicability.value}` | {said} |")
    return "\n".join(out) + "\n"


def by_form(done: list[Done]) -> Counter[str]:
    templates = (change.findings[0].template for change in done)
    return Counter(template.form.value if template else "none" for template in templates)


def total(results: list[Result]) -> Result:
    """Return the sum of all packages."""
    whole = Result("all")
    for r in results:
        whole.files += r.files
        whole.usual += r.usual
        whole.done += r.done
        whole.risky += r.risky
        whole.reasons += r.reasons
        whole.left_forms += r.left_forms
        for name in ("unparsed", "unsettled", "not_grown", "failures"):
            getattr(whole, name).extend(f"{r.package}: {fault}" for fault in getattr(r, name))
    return whole


def write_sample(path: Path, chosen: list[tuple[str, Done]]) -> None:
    """Write changes as diffs of their source, to be read by somebody else."""
    parts = []
    for number, (key, done) in enumerate(chosen, 1):
        package, _, place = key.partition(" ")
        sources = (textwrap.dedent(s).splitlines() for s in (done.old_source, done.new_source))
        diff = "\n".join(difflib.unified_diff(*sources, "before", "after", n=1000, lineterm=""))
        notes = "; ".join(note.reason for note in done.notes)
        role = done.findings[0].site.role if done.findings[0].site else None
        parts.append(
            f"{'=' * 100}\n{number}. {package} {place}\n{done.applicability.value}"
            f"{': ' + notes if notes else ''}; message: {role or 'unknown'}\n{diff}\n"
        )
    path.write_text("\n".join(parts), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, nargs="+", default=[])
    parser.add_argument("--packages", nargs="+", default=[*PACKAGES, *MORE])
    parser.add_argument("--sample", type=int, default=SAMPLE)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--most-per-package", type=int)
    parser.add_argument("--export", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folders = options.keep or [Path(scratch)]
        results = []
        for package in options.packages:
            folder = next((f for f in folders if (f / package).exists()), folders[0])
            install(package, folder)
            result = examine(package, folder / package)
            results.append(result)
            left = sum(result.reasons.values())
            counts = f"{len(result.done)} changed, {len(result.risky)} risky, {left} left"
            print(f"{package}: {counts}, {result.seconds:.0f} s", flush=True)
            if options.export:
                limits = (options.sample, options.seed, options.most_per_package)
                write_sample(options.export, drawn(results, *limits))
                continue
            text = REPORT.read_text("utf-8") if REPORT.exists() else "# Real code\n\n"
            head, _, ours = text.partition(MARK)
            own = ours[ours.find(OWN_PART) :] if OWN_PART in ours else ""
            parts = [head.rstrip(), page(results).rstrip(), own.rstrip()]
            REPORT.write_text("\n\n".join(filter(None, parts)) + "\n", "utf-8")
    print(f"wrote {options.export or REPORT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
