"""From paths to findings: reads files, finds sites, asks the rules, silences what is suppressed.

Knows the order of the stages and how a failure of one file leaves the others alone. Knows nothing
of output.
"""

from __future__ import annotations

import contextlib
import gc
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stemfirst_lint.errors import LintError, UnreadableFile
from stemfirst_lint.scan import Parsed, find_sites, parsed, scan
from stemfirst_lint.workers import in_processes, processes_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stemfirst_lint.cache import Cache
    from stemfirst_lint.config import Config
    from stemfirst_lint.footprint import Place
    from stemfirst_lint.gain import Counter
    from stemfirst_lint.model import Finding, Site
    from stemfirst_lint.project import Project
    from stemfirst_lint.scan import Candidate, OnProgress


_WORTH_PROCESSES_BYTES = 2_000_000
"""Starting processes costs as much as parsing about a tenth of this."""

_NOTEBOOK = "`fix` rewrites no notebook; reorder it by hand"

_PARSED_TOGETHER = 200
"""Files without prompts that one process parses."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found.

    Attributes:
        findings: in order of place.
        sites: every prompt that was seen, reported or not; empty if the result was cached.
        failures: files that could not be checked.
        files: how many files were looked at.
        prompts: how many prompts were seen.
    """

    findings: tuple[Finding, ...]
    sites: tuple[Site, ...]
    failures: tuple[LintError, ...]
    files: int
    prompts: int


def check_paths(
    paths: tuple[str, ...],
    config: Config,
    *,
    cache: Cache | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Return the findings in files and folders.

    Args:
        paths: files and folders.
        config: what to look for.
        cache: results of earlier runs. A cached finding's template has no pieces: enough to show
            it, not to fix it.
        on_progress: told about the work.

    Raises:
        TokenizerError: the tokenizer that the configuration names cannot be loaded.
        PluginError: a plugin that the configuration names cannot be loaded.
    """
    with _without_collection():
        return _checked(paths, config, cache, on_progress)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Let no cycles be collected meanwhile: syntax trees are many objects, and in use."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _checked(
    paths: tuple[str, ...], config: Config, cache: Cache | None, on_progress: OnProgress | None
) -> Report:
    failures: list[UnreadableFile] = []
    if config.prompts:
        cache = None  # its keys are made of source alone
    scanned = scan(paths, config, failures, cache=cache, on_progress=on_progress)
    if config.model is not None and not scanned.islands:
        from stemfirst_lint.gain import Counter

        Counter(config.model)  # a wrong name is told even where nothing is counted
    folders = tuple(path for path in paths if os.path.isdir(path))
    judged: list[Judged] = []
    jobs: list[tuple[int, _Island | _Parsing]] = []
    for island in scanned.islands:
        stored = cache.result(island) if cache is not None else None
        if stored is not None:
            judged.append(stored)
        else:
            size_bytes = sum(candidate.size_bytes for candidate in island)
            is_noted = cache is not None
            job = _Island(island, scanned.prompts, config, folders, is_noted, on_progress)
            jobs.append((size_bytes, job))
    jobs.sort(key=lambda sized: -sized[0])
    for start in range(0, len(scanned.others), _PARSED_TOGETHER):
        chunk = scanned.others[start : start + _PARSED_TOGETHER]
        jobs.append((sum(file.size_bytes for file in chunk), _Parsing(chunk)))
    todo: list[Callable[[], Judged | list[Parsed]]] = [job for _, job in jobs]
    processes = processes_for(sum(size for size, _ in jobs), _WORTH_PROCESSES_BYTES)
    if processes > 1 and any(isinstance(job, _Island) for _, job in jobs):
        _load_analysis()
    held = [size if isinstance(job, _Island) else 0 for size, job in jobs]
    for done, (number, result) in enumerate(in_processes(todo, processes, held)):
        if on_progress is not None:
            on_progress("check", done, len(todo))
        done_job = jobs[number][1]
        if isinstance(done_job, _Parsing):
            assert isinstance(result, list)
            for file, told in zip(done_job.files, result, strict=True):
                if told.reason is not None:
                    failures.append(UnreadableFile(file.path, told.reason))
                elif cache is not None and file.digest is not None and told.is_of(file):
                    cache.note(file, None)
        else:
            assert isinstance(result, Judged)
            judged.append(result)
            if cache is not None:
                cache.keep(done_job.candidates, result)
    if cache is not None:
        cache.save()
        cache.tell(judged)
    failures += [UnreadableFile(*failed) for part in judged for failed in part.failures]
    failures.sort(key=lambda failure: (failure.path, failure.reason))  # not as jobs happen to end
    findings = [finding for part in judged for finding in part.findings]
    findings += _of_target(config)
    findings.sort(key=lambda finding: (finding.location, finding.code))
    sites = sorted(
        (site for part in judged for site in part.sites), key=lambda s: s.template.location
    )
    prompts = sum(part.prompts for part in judged)
    return Report(tuple(findings), tuple(sites), tuple(failures), scanned.files, prompts)


def _load_analysis() -> None:
    """Import what each process would import for itself."""
    import stemfirst_lint.chat_templates
    import stemfirst_lint.conditions
    import stemfirst_lint.fix.plan
    import stemfirst_lint.fix.surroundings
    import stemfirst_lint.gain
    import stemfirst_lint.requests
    import stemfirst_lint.rules
    import stemfirst_lint.sites
    import stemfirst_lint.suppress  # noqa: F401


def _of_target(config: Config) -> list[Finding]:
    """What is to be said of the target's chat template, once a run."""
    if config.model is None or not os.path.exists(config.model):
        return []
    from stemfirst_lint.chat_templates import of_model
    from stemfirst_lint.plugins import rules_of

    template = of_model(config.model)
    if template is None:
        return []
    wanted = [rule() for rule in rules_of(config) if config.wants(rule.code)]
    return [finding for rule in wanted for finding in rule.check_template(template)]


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found in files that can know of each other, and what that hangs on.

    Attributes:
        findings: in order of place.
        sites: every prompt; empty if the result was cached.
        failures: path and reason of each file that could not be checked.
        prompts: how many prompts were seen.
        modules: digests of the files that were read on the way, by path; None: not readable.
        folders: those that names were looked for in; None if one changed meanwhile.
    """

    findings: tuple[Finding, ...]
    sites: tuple[Site, ...]
    failures: tuple[tuple[str, str], ...]
    prompts: int
    modules: dict[str, str | None]
    folders: dict[str, Place] | None


@dataclass(frozen=True, slots=True)
class _Parsing:
    """The job to parse files without prompts."""

    files: tuple[Candidate, ...]

    def __call__(self) -> list[Parsed]:
        return parsed(self.files)


@dataclass(frozen=True, slots=True)
class _Island:
    """The job to judge files that can know of each other."""

    candidates: tuple[Candidate, ...]
    prompts: tuple[str, ...]
    config: Config
    folders: tuple[str, ...]
    is_noted: bool
    on_progress: OnProgress | None

    def __call__(self) -> Judged:
        modules: dict[str, str | None] = {}
        probes: dict[str, bool] = {}
        failures: list[UnreadableFile] = []
        noted: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self.is_noted:
            from stemfirst_lint.cache import noting

            noted = noting(modules, probes)
        with noted:
            project, sites = find_sites(
                self.candidates,
                self.config,
                failures,
                prompts=self.prompts,
                on_progress=self.on_progress,
            )
            findings = _judged(sites, project, self.config, self.folders)
        folders: dict[str, Place] | None = {}
        if self.is_noted:
            from stemfirst_lint.cache import places_of

            folders = places_of(probes)
        return Judged(
            findings,
            tuple(sites),
            tuple((failure.path, failure.reason) for failure in failures),
            len(sites),
            modules,
            folders,
        )


def _judged(
    sites: list[Site], project: Project, config: Config, folders: tuple[str, ...]
) -> tuple[Finding, ...]:
    from stemfirst_lint.chat_templates import in_modules
    from stemfirst_lint.conditions import conditional_requests
    from stemfirst_lint.flow import Flow
    from stemfirst_lint.gain import Counter
    from stemfirst_lint.plugins import rules_of
    from stemfirst_lint.requests import RequestFinder
    from stemfirst_lint.rules import Limits
    from stemfirst_lint.rules.rule import in_target_order
    from stemfirst_lint.suppress import unsuppressed

    limits = Limits(Counter(config.model), config.min_gain)
    rules = [rule() for rule in rules_of(config) if config.wants(rule.code)]
    found = [
        finding
        for site in in_target_order(sites, limits.counter)
        for rule in rules
        for finding in rule.check(site, limits)
    ]
    flow = Flow(project, config.tiers)
    requests = RequestFinder(flow).requests(project.callers)
    if config.wants("SF303"):
        requests += conditional_requests(flow, sites)
    found += [
        finding
        for request in requests
        for rule in rules
        for finding in rule.check_request(request, limits)
    ]
    found += [
        finding
        for template in in_modules(project.callers)
        for rule in rules
        for finding in rule.check_template(template)
    ]
    kept = unsuppressed(found, project, config, folders)
    planned = [
        _priced(_planned(finding, config, limits.counter, project), limits.counter)
        for finding in kept
    ]
    planned.sort(key=lambda finding: (finding.location, finding.code))
    return tuple(planned)


def _planned(finding: Finding, config: Config, counter: Counter, project: Project) -> Finding:
    """The finding with what `fix` would do about it."""
    places = (finding.location, finding.template.location if finding.template else None)
    if any(place is not None and place.cell is not None for place in places):
        return replace(finding, applicability=None, remedy=_NOTEBOOK)
    if finding.code in ("SF203", "SF401", "SF503"):
        from stemfirst_lint.fix.calls import applicability_of

        return replace(finding, applicability=applicability_of(finding))
    if finding.template is None or finding.hole is None:
        return finding
    from stemfirst_lint.fix.plan import plan_for, sort_applicability
    from stemfirst_lint.fix.surroundings import doubts_of_surroundings
    from stemfirst_lint.model import Applicability, Kind

    if finding.hole.verdict.kind in (Kind.SET, Kind.LISTING):
        return replace(finding, applicability=sort_applicability(finding.hole))
    role = finding.site.role if finding.site is not None else None
    path = finding.template.location.path
    module = project.at(path) if path.endswith(".py") else None
    around = module.source.text if module is not None else ""
    plan = plan_for(
        finding.template,
        min_gain=config.min_gain,
        role=role,
        counter=counter,
        doubts=tuple(doubts_of_surroundings(finding.template, around)),
    )
    is_safe = plan.applicability is Applicability.REORDER
    remedy = str(plan.refusals[0]) if plan.refusals and not is_safe else None
    if plan.applicability is not None and not path.endswith((".py", ".pyi", ".ipynb")):
        return _tried(finding, config, counter)
    return replace(finding, applicability=plan.applicability, remedy=remedy)


def _tried(finding: Finding, config: Config, counter: Counter) -> Finding:
    """The finding in a file that is no source: how it is written decides, so it is tried."""
    from stemfirst_lint.fix.rewrite import rewrite
    from stemfirst_lint.model import Applicability
    from stemfirst_lint.source import read_bytes

    assert finding.template is not None
    path = finding.template.location.path
    try:
        data = read_bytes(path)
        made = rewrite(
            path,
            data,
            [finding],
            allow=Applicability.RISKY,
            min_gain=config.min_gain,
            counter=counter,
        )
    except LintError as error:
        return replace(finding, applicability=None, remedy=str(error))
    reasons = [reason for left in made.left for reason in left.reasons]
    reasons += [note for done in made.done for note in done.notes]
    remedy = str(reasons[0]) if reasons else None
    applicability = made.done[0].applicability if made.done else None
    return replace(finding, applicability=applicability, remedy=remedy)


def _priced(finding: Finding, counter: Counter) -> Finding:
    """The finding with what it costs, if the target is a hosted model."""
    if counter.hosted is None or not finding.forfeited_tokens:
        return finding
    from stemfirst_lint.hosted import stable_texts

    stable = counter.count(*stable_texts(finding)).tokens
    return replace(finding, money=counter.hosted.money(finding.forfeited_tokens, stable))
