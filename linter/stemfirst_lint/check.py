"""From paths to findings: reads files, finds sites, asks the rules, silences what is suppressed.

Knows the order of the stages and how a failure of one file leaves the others alone. Knows nothing
of output.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stemfirst_lint.errors import LintError, UnreadableFile
from stemfirst_lint.files import is_below, may_hold_prompts, python_files
from stemfirst_lint.source import decode, parse, read_bytes

if TYPE_CHECKING:
    from stemfirst_lint.config import Config
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Finding, Site
    from stemfirst_lint.project import Project
    from stemfirst_lint.suppress import Suppression


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found.

    Attributes:
        findings: in order of place.
        sites: every prompt that was seen, reported or not.
        failures: files that could not be checked.
        files: how many files were looked at.
    """

    findings: tuple[Finding, ...]
    sites: tuple[Site, ...]
    failures: tuple[LintError, ...]
    files: int


def check_paths(paths: tuple[str, ...], config: Config) -> Report:
    """Return the findings in files and folders.

    Raises:
        TokenizerError: the tokenizer that the configuration names cannot be loaded.
    """
    failures: list[UnreadableFile] = []
    candidates: list[tuple[str, bytes]] = []
    files = 0
    for path, is_test in python_files(paths, config, failures):
        files += 1
        try:
            data = read_bytes(path)
        except UnreadableFile as failure:
            failures.append(failure)
            continue
        if is_test:
            continue  # tests hold prompts that nobody sends
        if may_hold_prompts(data) or b"stemfirst:" in data:
            candidates.append((path, data))
        else:
            try:  # a file without prompts is still told to be broken
                parse(path, decode(path, data))
            except UnreadableFile as failure:
                failures.append(failure)
    findings: tuple[Finding, ...] = ()
    sites: tuple[Site, ...] = ()
    if candidates or config.model is not None:
        folders = tuple(path for path in paths if os.path.isdir(path))
        findings, sites = _analyse(candidates, config, failures, folders)
    return Report(findings, sites, tuple(failures), files)


def _analyse(
    candidates: list[tuple[str, bytes]],
    config: Config,
    failures: list[UnreadableFile],
    folders: tuple[str, ...],
) -> tuple[tuple[Finding, ...], tuple[Site, ...]]:
    from stemfirst_lint.flow import Flow
    from stemfirst_lint.gain import Counter
    from stemfirst_lint.project import Project
    from stemfirst_lint.rules import RULES, Limits
    from stemfirst_lint.sites import Finder

    limits = Limits(Counter(config.model), config.min_gain)
    project = Project()
    modules: list[ModuleIndex] = []
    # Deeply nested expressions recurse once a level; other people's generated code goes far.
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10_000))
    try:
        for path, data in candidates:
            try:
                modules.append(project.add(path, data))
            except UnreadableFile as failure:
                failures.append(failure)
        sites = Finder(Flow(project, config.tiers)).sites(modules)
    finally:
        sys.setrecursionlimit(before)
    found: list[Finding] = []
    rules = [rule() for rule in RULES if config.wants(rule.code)]
    for site in sites:
        for rule in rules:
            found.extend(rule.check(site, limits))
    kept = _unsuppressed(found, project, config, folders)
    planned = [_planned(finding, config) for finding in kept]
    planned.sort(key=lambda finding: (finding.location, finding.code))
    return tuple(planned), tuple(sites)


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


def _planned(finding: Finding, config: Config) -> Finding:
    """The finding with what `fix` would do about it."""
    if finding.template is None or finding.hole is None:
        return finding
    from stemfirst_lint.fix.plan import plan_for, sort_applicability
    from stemfirst_lint.model import Applicability, Kind

    if finding.hole.verdict.kind is Kind.SET:
        return replace(finding, applicability=sort_applicability(finding.hole))
    role = finding.site.role if finding.site is not None else None
    plan = plan_for(finding.template, min_gain=config.min_gain, role=role)
    is_safe = plan.applicability is Applicability.REORDER
    remedy = str(plan.refusals[0]) if plan.refusals and not is_safe else None
    return replace(finding, applicability=plan.applicability, remedy=remedy)
