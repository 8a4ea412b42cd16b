"""Reads `# stemfirst: ignore[SF301] reason` comments and says which findings they silence.

A comment silences findings on its line and on the lines of the statement's text that begins or
ends there: a finding counts as silenced if a comment stands on the finding's own line, on the
first or last line of the template, or on a line of its own directly above either. Comments that
declare tiers, `# stemfirst: tier[static]`, are read here, too; what they mean is `flow`'s. In files
of prompts a comment is one that is not sent: `{# ... #}` of Jinja, and `# ...` of YAML and TOML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stemfirst_lint.model import Finding
from stemfirst_lint.places import Location, cell_at

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst.tiers import Tier

    from stemfirst_lint.config import Config
    from stemfirst_lint.places import Cell
    from stemfirst_lint.project import Project

_MARK = "stemfirst:"
_TIER_MARK = "stemfirst: tier["
_TIER = re.compile(r"#\s*stemfirst: tier\[([^\]]*)\]")
_TIERS = ("static", "tenant", "session", "request", "volatile")
_COMMENT = re.compile(r"#\s*stemfirst:\s*ignore(?:\[([^\]]*)\])?")
_JINJA_COMMENT = re.compile(r"\{#-?\s*stemfirst:\s*ignore(?:\[([^\]]*)\])?.*?#\}")
_DATA_COMMENT = re.compile(r"(?<!\S)#\s*stemfirst:\s*ignore(?:\[([^\]]*)\])?.*")


@dataclass(frozen=True, slots=True)
class Suppression:
    """One comment: the codes it names (none: all), and where it stands."""

    codes: tuple[str, ...]
    location: Location
    is_own_line: bool


def suppressions(path: str, text: str, cells: tuple[Cell, ...] = ()) -> tuple[Suppression, ...]:
    """Return the suppressing comments of a file; strings that look like one are none.

    `cells` are those of a notebook, whose code `text` is.
    """
    if _MARK not in text:
        return ()
    import io
    import tokenize

    found: list[Suppression] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type != tokenize.COMMENT:
                continue
            match = _COMMENT.search(token.string)
            if match is None:
                continue
            codes = tuple(c.strip() for c in (match.group(1) or "").split(",") if c.strip())
            line, column = token.start
            end = column + 1 + len(token.string)
            place = Location(path, line, column + 1, line, end, cell_at(cells, line))
            found.append(Suppression(codes, place, not token.line[:column].strip()))
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return tuple(found)  # the parser has said what is wrong with the file
    return tuple(found)


def suppressions_in_file(path: str) -> tuple[Suppression, ...]:
    """Return the suppressing comments of a file of prompts, none if it cannot be read any more."""
    from stemfirst_lint.errors import UnreadableFile
    from stemfirst_lint.source import decode, read_bytes

    try:
        return suppressions_in_text(path, decode(path, read_bytes(path)))
    except UnreadableFile:
        return ()


def suppressions_in_text(path: str, text: str) -> tuple[Suppression, ...]:
    """Return the suppressing comments of a file of prompts, which are not sent.

    One behind a key of YAML, whose text begins on the next line, holds for that line, too.
    """
    if _MARK not in text:
        return ()
    of_data = path.endswith((".yaml", ".yml", ".toml"))
    found: list[Suppression] = []
    for number, line in enumerate(text.split("\n"), 1):
        match = (_DATA_COMMENT if of_data else _JINJA_COMMENT).search(line)
        if match is None:
            continue
        codes = tuple(c.strip() for c in (match.group(1) or "").split(",") if c.strip())
        place = Location(path, number, match.start() + 1, number, match.end() + 1)
        rest = f"{line[: match.start()]}{'' if of_data else line[match.end() :]}".strip()
        found.append(Suppression(codes, place, not rest or (of_data and rest[-1] in "|>-+:")))
    return tuple(found)


def tier_comments(text: str) -> dict[int, Tier]:
    """Return the tiers that comments declare for what their line binds, by line.

    `# stemfirst: tier[static]` behind an assignment, a parameter, a loop or a `def`, or on its own
    line above; tiers that do not exist declare nothing.
    """
    if _TIER_MARK not in text:
        return {}
    from stemfirst.tiers import Tier

    return {
        line + is_own_line: Tier.parse(name)
        for name, line, _, is_own_line in _declarations(text)
        if name in _TIERS
    }


def about_tiers(path: str, text: str, cells: tuple[Cell, ...], config: Config) -> list[Finding]:
    """Return a finding for each comment of a file that declares a tier that does not exist."""
    if _TIER_MARK not in text or not config.wants_at("SF902", path):
        return []
    found: list[Finding] = []
    for name, line, column, _ in _declarations(text):
        if name not in _TIERS:
            told = f"`{name}` is no tier, so this comment declares nothing; tiers are "
            told += f"{', '.join(_TIERS[:-1])} and {_TIERS[-1]}"
            place = Location(path, line, column, line, column, cell_at(cells, line))
            found.append(Finding("SF902", "unknown-code", told, place))
    return found


def _declarations(text: str) -> list[tuple[str, int, int, bool]]:
    """The comments that declare: the tier's name, line, column, and whether it stands alone."""
    import io
    import tokenize

    found: list[tuple[str, int, int, bool]] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            match = _TIER.search(token.string) if token.type == tokenize.COMMENT else None
            if match is not None:
                line, column = token.start
                is_own_line = not token.line[:column].strip()
                found.append((match.group(1).strip(), line, column + 1, is_own_line))
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return found
    return found


def unsuppressed(
    findings: list[Finding], project: Project, config: Config, folders: tuple[str, ...]
) -> list[Finding]:
    """Return the findings that no comment silences, and those about the comments themselves."""
    from stemfirst_lint.files import is_below

    sources = {m.path: m.source for m in project.modules.values() if m is not None}
    comments = {path: suppressions(path, s.text, s.cells) for path, s in sources.items()}
    kept: list[Finding] = []
    silenced: list[tuple[Finding, Suppression]] = []
    for finding in findings:
        path = finding.location.path
        if not config.wants_at(finding.code, path):
            continue
        if path not in comments:
            comments[path] = suppressions_in_file(path)
        by = silencing(finding, comments[path])
        silenced += [(finding, comment) for comment in by]
        if not by:
            kept.append(finding)
    for path in (module.path for module in project.callers):
        # Of a file that is named by itself, the callers may not have been named.
        is_whole = any(is_below(path, folder) for folder in folders)
        kept += about_comments(comments[path], silenced, config, is_whole=is_whole)
        kept += about_tiers(path, sources[path].text, sources[path].cells, config)
    for path in sorted(comments.keys() - sources.keys()):
        kept += about_comments(comments[path], silenced, config, is_whole=False)
    return kept


def silencing(finding: Finding, comments: tuple[Suppression, ...]) -> list[Suppression]:
    """Return the comments of the finding's own file that silence it."""
    if not comments:
        return []
    lines = {finding.location.line}
    if finding.template is not None and finding.template.location.path == finding.location.path:
        lines |= {finding.template.location.line, finding.template.location.end_line}
    return [
        comment
        for comment in comments
        if (comment.location.line + comment.is_own_line in lines or comment.location.line in lines)
        and (not comment.codes or finding.code.startswith(comment.codes))
    ]


def about_comments(
    comments: tuple[Suppression, ...],
    silenced: list[tuple[Finding, Suppression]],
    config: Config,
    *,
    is_whole: bool,
) -> list[Finding]:
    """Return what is wrong with the comments of one file: codes unknown, or of no use.

    Args:
        comments: of the file.
        silenced: findings, each with a comment that silences it.
        config: codes that are not selected cannot be judged as unused.
        is_whole: True if the file was checked together with what belongs to it; only then is a
            comment that silences nothing of no use.
    """
    from stemfirst_lint.config import CODES

    found: list[Finding] = []
    for comment in comments:
        place = comment.location
        uses = [finding.code for finding, by in silenced if by == comment]
        for code in comment.codes:
            is_ours = code.startswith("SF") or not config.plugins
            if is_ours and not any(known.startswith(code) for known in CODES):
                if config.wants_at("SF902", place.path):
                    text = f"`{code}` is no rule, so this comment silences nothing by it"
                    found.append(Finding("SF902", "unknown-code", text, place))
            elif not any(use.startswith(code) for use in uses) and (
                is_whole and config.wants(code) and config.wants_at("SF901", place.path)
            ):
                text = f"`{code}` silences nothing here; remove it from the comment"
                found.append(Finding("SF901", "unused-suppression", text, place))
        is_unused = is_whole and not comment.codes and not uses and not config.select
        if is_unused and config.wants_at("SF901", place.path):
            text = "this comment silences nothing; remove it"
            found.append(Finding("SF901", "unused-suppression", text, place))
    return found
