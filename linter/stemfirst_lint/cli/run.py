"""One run of `stemfirst check`: what is read, what is reported, what is written.

Knows the order of the steps: check, fix, leave out what did not change and what is known.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields, replace

from stemfirst_lint.check import Report, check_paths
from stemfirst_lint.config import OPT_IN, Config, config_for, read_config
from stemfirst_lint.errors import ConfigError
from stemfirst_lint.files import python_files
from stemfirst_lint.source import OVERLAY

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; see `stemfirst check --help`."""

    paths: tuple[str, ...] = ()
    is_fix: bool = False
    add_ignore: str | None = None
    select: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_file_ignores: tuple[str, ...] = ()
    min_gain: int | None = None
    model: str | None = None
    config_path: str | None = None
    respect_gitignore: bool | None = None
    force_exclude: bool | None = None
    stdin_filename: str | None = None
    since: str | None = None
    baseline: str | None = None
    write_baseline: str | None = None
    output_format: str = "full"
    output_file: str | None = None
    is_explained: bool = False
    statistics: bool = False
    exit_zero: bool = False
    show_files: bool = False
    show_settings: bool = False
    is_watch: bool = False
    no_cache: bool = False
    cache_dir: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave.

    Attributes:
        report: what is left to report.
        fixed: findings that `--fix` mended.
        notes: lines for the person who waits, not for the program that reads.
        rewritten: what standard input became, with `--fix`; None where files were read.
    """

    report: Report
    fixed: int = 0
    notes: tuple[str, ...] = ()
    rewritten: bytes | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What to check, with which settings; `stdin` is the name that standard input goes by."""

    options: Options
    paths: tuple[str, ...]
    config: Config
    stdin: str | None = None

    @classmethod
    def of(cls, options: Options) -> Request:
        """Return the request that options make; standard input is read here.

        Raises:
            ConfigError: options or settings contradict each other or have a wrong value.
        """
        paths = options.paths or (".",)
        stdin: str | None = None
        if "-" in paths:
            if len(paths) > 1:
                raise ConfigError("- is standard input and stands alone; name files without it")
            if options.is_watch or options.add_ignore is not None:
                raise ConfigError("standard input has no file to watch or to write to")
            stdin = options.stdin_filename or "-"
            paths = (stdin,)
        elif options.stdin_filename is not None:
            raise ConfigError("--stdin-filename is for standard input: give - as the path")
        chosen = options.config_path
        config = (read_config(chosen) if chosen else config_for(paths)).with_options(
            select=_split(options.select),
            extend_select=_split(options.extend_select),
            ignore=_split(options.ignore),
            per_file_ignores=_per_file(options.per_file_ignores),
            min_gain=options.min_gain,
            model=options.model,
            respects_gitignore=options.respect_gitignore,
            forces_exclude=options.force_exclude,
            baseline=options.baseline,
        )
        if stdin is not None:
            OVERLAY[os.path.realpath(stdin)] = sys.stdin.buffer.read()
        return cls(options, paths, config, stdin)

    def files(self) -> list[str]:
        """Return the files that would be checked."""
        return [path for path, is_test in python_files(self.paths, self.config, []) if not is_test]

    def settings_lines(self) -> Iterator[str]:
        """Yield the settings as lines of TOML."""
        import json

        yield f"# settings from {self.config.source or 'no pyproject.toml: these are defaults'}"
        yield "[tool.stemfirst]"
        for setting in fields(self.config):
            value = getattr(self.config, setting.name)
            if setting.name in _IN_TABLES or value is None:
                continue
            key = _KEY_OF.get(setting.name, setting.name.replace("_", "-"))
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
        off = [code for code in sorted(OPT_IN) if not self.config.wants(code)]
        if off:
            yield f"# off unless select or extend-select names them in full: {', '.join(off)}"
        tables: dict[str, dict[str, object]] = {
            "per-file-ignores": {name: list(codes) for name, codes in self.config.per_file_ignores},
            "tiers": {name: tier.label for name, tier in self.config.tiers.items()},
            "fix": {"clock": self.config.clock},
        }
        for key, table in tables.items():
            if table:
                yield f"\n[tool.stemfirst.{key}]"
                for name, value in table.items():
                    yield f"{json.dumps(name)} = {json.dumps(value)}"

    def run(self) -> Outcome:
        """Check, and do what else was asked for.

        Raises:
            LintError: something that was asked for cannot be done.
        """
        outcome = Outcome(self._checked())
        if self.options.is_fix:
            outcome = _fixed(outcome.report, self)
        if self.options.add_ignore is not None:
            from stemfirst_lint.add_ignore import add_ignores

            notes = add_ignores(outcome.report, self.options.add_ignore)
            left = check_paths(self.paths, self.config)
            outcome = replace(outcome, report=left, notes=tuple(notes))
        if self.options.write_baseline is not None:
            from stemfirst_lint.baseline import write_baseline

            kept = write_baseline(self.options.write_baseline, outcome.report, self._checked_places)
            count = len(outcome.report.findings)
            note = f"wrote {count:,} known to {self.options.write_baseline}"
            note += f"; {kept:,} of files that were not checked stay" if kept else ""
            return replace(
                outcome, report=replace(outcome.report, findings=()), notes=(*outcome.notes, note)
            )
        return self._without_known(self._without_unchanged(outcome))

    @property
    def _checked_places(self) -> frozenset[str]:
        """The real paths of what was named and of the files that were looked at."""
        return frozenset(os.path.realpath(path) for path in (*self.paths, *self.files()))

    @property
    def _told_folder(self) -> str | None:
        return self.options.cache_dir or os.environ.get("STEMFIRST_CACHE_DIR")

    def is_repeatable(self, folder: str) -> bool:
        """Return True if the same command would show the same while the same files stand.

        Args:
            folder: where a record of the command would be looked for.
        """
        from stemfirst_lint.cache import FOLDER

        asked = self.options
        own = self._told_folder or os.path.join(self.config.root, FOLDER)
        return (
            os.path.abspath(own) == os.path.abspath(folder)
            and not (asked.no_cache or asked.is_fix or asked.is_watch)
            and all(
                option is None
                for option in (asked.add_ignore, asked.since, asked.output_file,
                               asked.write_baseline, self.stdin, self.config.model)
            )
            and not self.config.plugins
            and not self.config.prompts
        )  # fmt: skip

    def program(self) -> list[str]:
        """Return the files besides the source that the output hangs on."""
        from stemfirst_lint.cache import program_files

        baseline = self.config.baseline
        return [*program_files(self.config), *([baseline] if baseline is not None else [])]

    def _checked(self) -> Report:
        from stemfirst_lint.cli.progress import progress

        cache = None
        if not self.options.no_cache and not OVERLAY:
            from stemfirst_lint.cache import cache_for

            cache = cache_for(self.paths, self.config, self._told_folder)
        with progress() as show:
            return check_paths(self.paths, self.config, cache=cache, on_progress=show)

    def _without_unchanged(self, outcome: Outcome) -> Outcome:
        if self.options.since is None:
            return outcome
        from stemfirst_lint.since import changes_since

        first = self.paths[0] if os.path.isdir(self.paths[0]) else os.path.dirname(self.paths[0])
        changes = changes_since(self.options.since, first)
        kept = tuple(finding for finding in outcome.report.findings if changes.touch(finding))
        return replace(outcome, report=replace(outcome.report, findings=kept))

    def _without_known(self, outcome: Outcome) -> Outcome:
        if self.config.baseline is None:
            return outcome
        from stemfirst_lint.baseline import without_known

        compared = without_known(self.config.baseline, outcome.report, self._checked_places)
        notes = [*outcome.notes]
        if compared.known:
            notes.append(f"not reported: {compared.known:,} known to {self.config.baseline}")
        if compared.gone and self.options.since is None:
            notes.append(
                f"{compared.gone:,} in {self.config.baseline} are not found any more: write it "
                "anew with --write-baseline"
            )
        return replace(outcome, report=compared.report, notes=tuple(notes))


_IN_TABLES = ("root", "source", "tiers", "per_file_ignores", "clock")
_KEY_OF = {"respects_gitignore": "respect-gitignore", "forces_exclude": "force-exclude"}


def _split(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Both `--select SF101,SF103` and a repeated option."""
    return tuple(code.strip() for given in codes for code in given.split(",") if code.strip())


def _per_file(given: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: list[tuple[str, tuple[str, ...]]] = []
    for each in given:
        pattern, colon, codes = each.rpartition(":")
        if not colon or not pattern or not codes.strip():
            raise ConfigError(f"--per-file-ignores takes PATTERN:CODES, got {each!r}")
        found.append((pattern, _split((codes,))))
    return tuple(found)


def _fixed(report: Report, request: Request) -> Outcome:
    """Mend what leaves the text as it is; return what is left, and how much was mended."""
    from stemfirst_lint.model import Applicability

    rewritten = OVERLAY.get(os.path.realpath(request.stdin)) if request.stdin else None
    if not any(finding.applicability is Applicability.IDENTICAL for finding in report.findings):
        return Outcome(report, rewritten=rewritten)
    from stemfirst_lint.fix.apply import fix_paths

    outcome = fix_paths(
        request.paths, request.config, allow=Applicability.IDENTICAL, write=request.stdin is None
    )
    mended = sum(len(done.findings) for rewrite in outcome.rewrites for done in rewrite.done)
    if request.stdin is not None:
        new = {os.path.realpath(rewrite.path): rewrite.new for rewrite in outcome.changed}
        rewritten = new.get(os.path.realpath(request.stdin), rewritten)
        assert rewritten is not None
        OVERLAY[os.path.realpath(request.stdin)] = rewritten
    left = check_paths(request.paths, request.config)
    told = {str(failure) for failure in left.failures}
    unwritten = tuple(f for f in outcome.failures if str(f) not in told)
    left = replace(left, failures=(*left.failures, *unwritten))
    return Outcome(left, fixed=mended, rewritten=rewritten)
