"""An audit's report for people, in 80 columns.

Knows layout and words. Recorded text is shown with every control character visible.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator

from stemfirst.savings import money, shown

from stemfirst_lint.audit.divergence import printable
from stemfirst_lint.audit.report import AuditReport, code_of, is_rare
from stemfirst_lint.audit.tallies import CauseSum, TemplateSum

WIDTH = 80
_MOST_CAUSES = 5
_MOST_TEMPLATES = 20


def text_lines(report: AuditReport) -> Iterator[str]:
    """Yield the report's lines."""
    if not report.sums.requests:
        yield "No requests were found."
        yield from _end(report)
        return
    yield from _wrapped(
        f"{_many(report.sums.requests, 'request')} of "
        f"{_many(len(report.templates), 'template')}, {_tokens(report, report.sums.prompt_tokens)} "
        "prompt tokens"
    )
    yield ""
    yield from _table(report)
    for template in report.templates[:_MOST_TEMPLATES]:
        yield ""
        yield from _template(report, template)
    left = len(report.templates) - _MOST_TEMPLATES
    if left > 0:
        yield ""
        yield f"… and {_many(left, 'more template')} that lose less (--output-format json has all)"
    yield ""
    yield from _end(report)


def _table(report: AuditReport) -> Iterator[str]:
    sums = report.sums
    yield f"{'':<22}{'from the cache':>16}{'hit ratio':>12}{'cost of prompts':>18}"
    if sums.reported:
        yield _row(
            "reported",
            f"{sums.reported_cached_tokens:,}",
            _percent(sums.reported_cached_tokens, sums.reported_prompt_tokens),
            _money(sums.reported_cost, sums.reported_priced),
        )
        if sums.reported < sums.requests:
            yield _row(
                "expected of those",
                _tokens(report, sums.expected_of_reported_tokens),
                _percent(sums.expected_of_reported_tokens, sums.reported_prompt_tokens),
                _money(sums.expected_cost_of_reported, sums.reported_priced),
            )
    yield _row(
        "expected by the rules",
        _tokens(report, sums.expected_tokens),
        _percent(sums.expected_tokens, sums.prompt_tokens),
        _money(sums.expected_cost, sums.priced),
    )
    yield _row(
        "with the best order",
        _tokens(report, sums.best_tokens),
        _percent(sums.best_tokens, sums.prompt_tokens),
        _money(sums.best_cost, sums.priced),
    )


def _template(report: AuditReport, template: TemplateSum) -> Iterator[str]:
    sums = template.sums
    yield _clipped(f"T{template.number + 1}  {printable(template.title)}", WIDTH)
    names = f"{_names(template.models)} · {_names(template.apis)}"
    yield _clipped(f"    {_many(sums.requests, 'request')} · {printable(names)}", WIDTH)
    for rules in list(template.rules)[:2]:
        yield from _wrapped(rules, "    ")
    parts = [
        f"sent before {_percent(sums.shared_tokens, sums.prompt_tokens)}",
        f"expected {_percent(sums.expected_tokens, sums.prompt_tokens)}",
    ]
    if sums.reported:
        ratio = _percent(sums.reported_cached_tokens, sums.reported_prompt_tokens)
        parts.append(f"reported {ratio}")
    parts.append(f"best order {_percent(sums.best_tokens, sums.prompt_tokens)}")
    yield from _wrapped(" · ".join(parts), "    ")
    if template.reasons:
        said = ", ".join(
            f"{reason} ({times:,})" for reason, times in template.reasons.most_common()
        )
        yield from _wrapped(f"the provider's reasons: {printable(said)}", "    ")
    causes = template.by_loss
    for one in causes[:_MOST_CAUSES]:
        yield ""
        yield from _cause(report, template, one)
    if len(causes) > _MOST_CAUSES:
        rest = sum(one.lost_tokens for one in causes[_MOST_CAUSES:])
        yield ""
        yield f"    … and {len(causes) - _MOST_CAUSES} causes more, {_tokens(report, rest)} tokens"


def _cause(report: AuditReport, template: TemplateSum, one: CauseSum) -> Iterator[str]:
    code = code_of(one)
    codes = code if code == one.cause.code else f"{code} {one.cause.code}"
    lost = f"lost {_tokens(report, one.lost_tokens)} tokens"
    if one.priced:
        lost += f", {money(one.lost_money)}"
    yield from _wrapped(
        f"{codes} {one.cause.name}: {_many(one.requests, 'request')} {lost}", "    "
    )
    yield from _wrapped(place_of(one), "      ")
    example = one.example
    if example is not None and example.window is not None:
        window = example.window
        yield f"        was  {window.was}"
        yield f"        now  {window.now}"
        yield f"             {' ' * _columns(window.now[: window.caret])}^"
    if example is not None:
        if one.further:
            yield from _wrapped(further_of(one), "      ")
        after = f", compared with {example.earlier}" if example.earlier else ""
        yield from _wrapped(f"{example.place}{after}", "      ")
    yield from _wrapped(remedy_of(template, one), "      ")


def place_of(one: CauseSum) -> str:
    """Return what varies and where, in one sentence part."""
    said = one.cause.what
    if one.at:
        said += f" in {one.at}"
    if one.label:
        said += f' behind "{printable(one.label)}"'
    if one.example is not None and one.at:
        said += f", from token {one.example.token:,} on"
    if one.segment:
        said += f", {printable(one.segment)}"
    if one.origin is not None:
        said += f" ({printable(shown(one.origin))})"
    return said


def remedy_of(template: TemplateSum, one: CauseSum) -> str:
    """Return what to do, or why nothing."""
    if is_rare(template, one):
        return "no fault: seen once, as when a template is changed"
    return f"remedy: {one.cause.remedy}"


def further_of(one: CauseSum) -> str:
    """Return what else varies behind a divergence."""
    labels = ", ".join(f'"{printable(label)}"' for label in one.further)
    return f"behind it also varies what follows {labels}"


def _end(report: AuditReport) -> Iterator[str]:
    if report.is_writing_in_vain:
        yield from _wrapped(
            f"SF603 write-never-read: {_tokens(report, report.unread_tokens)} of "
            f"{_tokens(report, report.sums.written_tokens)} tokens written to a cache were "
            "never read"
        )
    if report.is_estimate:
        yield from _wrapped(
            "note: ~ marks counts estimated from bytes; tiktoken's o200k_base was not found"
        )
    for note in report.notes:
        yield from _wrapped(f"note: {printable(note)}", "", "      ")
    sums = report.sums
    gain = sums.best_tokens - sums.expected_tokens
    if sums.requests:
        saved = sums.expected_cost - sums.best_cost
        with_money = f" and {money(saved)}" if sums.priced and saved >= 0.005 else ""
        if gain >= report.min_gain:
            yield from _wrapped(
                f"The best order would have read {_tokens(report, gain)} tokens more from the "
                f"cache{with_money and f', saving{with_money[4:]}'}."
            )
        else:
            yield "Nothing is lost by the order of the text."


def _row(name: str, tokens: str, ratio: str, cost: str) -> str:
    return f"{name:<22}{tokens:>16}{ratio:>12}{cost:>18}"


def _tokens(report: AuditReport, tokens: float) -> str:
    return f"{'~' if report.is_estimate else ''}{round(tokens):,}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _money(dollars: float, requests: int) -> str:
    return money(dollars) if requests else "-"


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _names(names: dict[str, int]) -> str:
    return ", ".join(sorted(names, key=lambda name: (-names[name], name)))


def _clipped(text: str, width: int) -> str:
    while _columns(text) > width:
        text = text[: -2 - (_columns(text) - width) // 2] + "…"
    return text


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _wrapped(text: str, indent: str = "", hanging: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  " if hanging is None else hanging,
        break_long_words=True,
        break_on_hyphens=False,
    )
