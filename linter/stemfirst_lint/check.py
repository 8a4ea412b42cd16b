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
from stemfirst_lint.files import is_below
from stemfirst_lint.scan import find_sites, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemfirst_lint.cache import Cache
    from stemfirst_lint.config import Config
    from stemfirst_lint.gain import Counter
    from stemfirst_lint.model import Finding, Site
    from stemfirst_lint.project import Project
    from stemfirst_lint.scan import OnProgress
    from stemfirst_lint.suppress import Suppression


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
    if not scanned.candidates and not scanned.prompts and config.model is None:
        if cache is not None:
            cache.save()
        return Report((), (), tuple(failures), scanned.files, 0)
    stored = cache.result(scanned.candidates) if cache is not None else None
    if stored is not None:
        return Report(
            stored.findings, (), (*failures, *stored.failures), scanned.files, stored.prompts
        )
    of_sites: list[UnreadableFile] = []
    folders = tuple(path for path in paths if os.path.isdir(path))
    with cache.listening() if cache is not None else contextlib.nullcontext():
        project, sites = find_sites(scanned, config, of_sites, on_progress=on_progress)
        findings = _judged(sites, project, config, folders)
    if cache is not None:
        cache.keep(scanned.candidates, project, findings, tuple(of_sites), len(sites))
        cache.save()
    return Report(findings, tuple(sites), (*failures, *of_sites), scanned.files, len(sites))


def _judged(
    sites: list[Site], project: Project, config: Config, folders: tuple[str, ...]
) -> tuple[Finding, ...]:
    from stemfirst_lint.flow import Flow
    from stemfirst_lint.gain import Counter
    from stemfirst_lint.plugins import rules_of
    from stemfirst_lint.requests import RequestFinder
    from stemfirst_lint.rules import Limits

    limits = Limits(Counter(config.model), config.min_gain)
    rules = [rule() for rule in rules_of(config) if config.wants(rule.code)]
    found = [finding for site in sites for rule in rules for finding in rule.check(site, limits)]
    found += [
        finding
        for request in RequestFinder(Flow(project, config.tiers)).requests(project.callers)
        for rule in rules
        for finding in rule.check_request(request, limits)
    ]
    kept = _unsuppressed(found, project, config, folders)
    planned = [
        _priced(_planned(finding, config, limits.counter), limits.counter) for finding in kept
    ]
    planned.sort(key=lambda finding: (finding.location, finding.code))
    return tuple(planned)


def _unsuppressed(
    findings: list[Finding], project: Project, config: Config, folders: tuple[str, ...]
) -> list[Finding]:
    """The findings that no comment silences, and those about the comments themselves."""
    from stemfirst_lint.suppress import about_comments, silencing, suppressions

    texts = {m.path: m.source.text for m in project.modules.values() if m is not None}
    comments = {path: suppressions(path, text) for path, text in texts.items()}
    kept: list[Finding] = []
    silenced: list[tuple[Finding, Suppression]] = []
    for finding in findings:
        path = finding.location.path
        if not config.wants_at(finding.code, path):
            continue
        by = silencing(finding, comments.get(path, ()))
        silenced += [(finding, comment) for comment in by]
        if not by:
            kept.append(finding)
    for path in (module.path for module in project.callers):
        # Of a file that is named by itself, the callers may not have been named.
        is_whole = any(is_below(path, folder) for folder in folders)
        kept += about_comments(comments[path], silenced, config, is_whole=is_whole)
    return kept


def _planned(finding: Finding, config: Config, counter: Counter) -> Finding:
    """The finding with what `fix` would do about it."""
    if finding.template is None or finding.hole is None:
        return finding
    from stemfirst_lint.fix.plan import plan_for, sort_applicability
    from stemfirst_lint.model import Applicability, Kind

    if finding.hole.verdict.kind in (Kind.SET, Kind.LISTING):
        return replace(finding, applicability=sort_applicability(finding.hole))
    role = finding.site.role if finding.site is not None else None
    plan = plan_for(finding.template, min_gain=config.min_gain, role=role, counter=counter)
    is_safe = plan.applicability is Applicability.REORDER
    remedy = str(plan.refusals[0]) if plan.refusals and not is_safe else None
    return replace(finding, applicability=plan.applicability, remedy=remedy)


def _priced(finding: Finding, counter: Counter) -> Finding:
    """The finding with what it costs, if the target is a hosted model."""
    if counter.hosted is None or not finding.forfeited_tokens:
        return finding
    from stemfirst_lint.hosted import stable_texts

    stable = counter.count(*stable_texts(finding)).tokens
    return replace(finding, money=counter.hosted.money(finding.forfeited_tokens, stable))
