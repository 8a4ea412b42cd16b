"""An audit's report as one HTML page that needs nothing else: no script, no other file.

Knows layout and style. What was recorded is hostile: it is shown as text only, with control
characters visible, and the page's policy forbids scripts and every outside resource.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from stemfirst.savings import money

from stemfirst_lint.audit.divergence import Window, common_length, printable
from stemfirst_lint.audit.pictures import bars, over_time, strip
from stemfirst_lint.audit.report import AuditReport, code_of
from stemfirst_lint.audit.tallies import CauseSum, Sums, TemplateSum
from stemfirst_lint.audit.text import further_of, place_of, remedy_of

_MOST_TEMPLATES = 30
_MOST_BARS = 12

_STYLE = """
:root{color-scheme:light dark;--bg:#fbfaf7;--card:#fff;--ink:#22252a;--soft:#626872;
--rule:#dddad2;--track:#eeebe4;--reported:#1f5fbf;--expected:#a8590a;--best:#1b7a4b;
--lost:#c2412d;--fresh:#b9bec6;--mark:#fbe3b3}
@media(prefers-color-scheme:dark){:root{--bg:#15171a;--card:#1d2024;--ink:#e6e7e9;
--soft:#9aa1ab;--rule:#34383e;--track:#2a2e33;--reported:#7db1ff;--expected:#eba45c;
--best:#63cf98;--lost:#f0806c;--fresh:#596069;--mark:#5c4413}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;overflow-wrap:anywhere}
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem}
h2{font-size:1.15rem;margin:2.5rem 0 .5rem}
h3{font-size:1rem;margin:0}
p{margin:.25rem 0 .75rem}
.quiet,.x,.y,.legend{color:var(--soft);font-size:.85rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.75rem;
margin:1.25rem 0 0;padding:0;list-style:none}
.facts li,article{background:var(--card);border:1px solid var(--rule);border-radius:.5rem;
padding:.9rem 1rem}
.facts b{display:block;font-size:1.7rem;line-height:1.2;font-weight:650;
font-variant-numeric:tabular-nums}
.facts li.reported b{color:var(--reported)}.facts li.expected b{color:var(--expected)}
.facts li.best b{color:var(--best)}
article{margin:0 0 1rem}
svg{display:block;width:100%}
.plot{display:flex;gap:.5rem;height:14rem}.plot svg{flex:1;height:100%;min-width:0}
.y{display:flex;flex-direction:column;justify-content:space-between;text-align:right;
width:3rem;margin:-.6rem 0}
.x{display:flex;justify-content:space-between;gap:1rem}.plot+.x{padding-left:3.5rem}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;padding:0;margin:0 0 .75rem}
.key{display:inline-block;width:1.5rem;vertical-align:middle;margin-right:.4rem;
border-top:3px solid var(--reported)}
.key.expected{border-top:3px dashed var(--expected)}.key.best{border-top:3px dotted var(--best)}
.key.box{height:.8rem;width:.8rem;border:0;background:var(--lost)}
.key.box.new{background:var(--fresh)}
.line{fill:none;stroke-width:2.5;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.line.reported{stroke:var(--reported)}
.line.expected{stroke:var(--expected);stroke-dasharray:7 4}
.line.best{stroke:var(--best);stroke-dasharray:2 4;stroke-linecap:round}
.grid,.axis{stroke:var(--rule);vector-effect:non-scaling-stroke;fill:none}
.lost{fill:var(--lost)}.fresh{fill:var(--fresh)}.track{fill:var(--track)}
.strip{height:4.5rem;margin-top:.75rem}
.bars{list-style:none;margin:0;padding:0}
.bars li{display:grid;grid-template-columns:1fr auto;gap:0 1rem;margin:0 0 .7rem}
.bars svg{grid-column:1/-1;height:.7rem;border-radius:.2rem}
.figure{font-variant-numeric:tabular-nums;color:var(--soft)}
.cause{border-top:1px solid var(--rule);margin-top:.9rem;padding-top:.8rem}
.cause p{margin:.15rem 0}
.code{font-weight:650}
pre{background:var(--bg);border:1px solid var(--rule);border-radius:.35rem;padding:.6rem .75rem;
margin:.5rem 0;overflow-x:auto;font:.82rem/1.6 ui-monospace,"SF Mono",Menlo,Consolas,monospace}
mark{background:var(--mark);color:inherit;border-radius:.15rem}
.key-word{color:var(--soft);user-select:none}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{text-align:right;padding:.35rem .5rem;border-bottom:1px solid var(--rule)}
th:first-child,td:first-child{text-align:left;padding-left:0}
th{font-weight:600;color:var(--soft)}
th,td{overflow-wrap:normal}
"""


def page(report: AuditReport) -> str:
    """Return the report as an HTML document."""
    return "".join(_parts(report))


def _parts(report: AuditReport) -> Iterator[str]:
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>Prefix-cache audit</title><style>{_STYLE}</style></head><body><main>"
    )
    yield from _head(report)
    if report.sums.requests:
        chart = over_time(report.timeline, is_timed=report.is_timed)
        if chart:
            yield f"<section><h2>Hit ratio over time</h2>{chart}</section>"
        yield from _losses(report)
        yield from _templates(report)
    yield from _foot(report)
    yield "</main></body></html>\n"


def _head(report: AuditReport) -> Iterator[str]:
    sums = report.sums
    files = ", ".join(_safe(path) for path in report.paths[:4])
    if len(report.paths) > 4:
        files += f" and {len(report.paths) - 4} more"
    yield (
        f"<h1>What {sums.requests:,} recorded request{'s' * (sums.requests != 1)} lost to the "
        f'order of their text</h1><p class="quiet">{files}</p>'
    )
    if not sums.requests:
        yield "<p>No requests were found.</p>"
        return
    facts = []
    if sums.reported:
        facts.append(
            _fact(
                "reported",
                _percent(sums.reported_cached_tokens, sums.reported_prompt_tokens),
                "of prompt tokens came from the cache, as reported",
                _money(sums.reported_cost, sums.reported_priced),
            )
        )
    facts.append(
        _fact(
            "expected",
            _percent(sums.expected_tokens, sums.prompt_tokens),
            "expected by the provider's rules",
            _money(sums.expected_cost, sums.priced),
        )
    )
    facts.append(
        _fact(
            "best",
            _percent(sums.best_tokens, sums.prompt_tokens),
            "with the best order",
            _money(sums.best_cost, sums.priced),
        )
    )
    yield f'<ul class="facts">{"".join(facts)}</ul>'


def _losses(report: AuditReport) -> Iterator[str]:
    lost = report.lost_by_cause
    yield "<section><h2>Tokens lost by cause</h2>"
    if lost:
        rows = [
            (f"{cause.code} {escape(cause.name)}: {escape(cause.what)}", _tokens(report, n), n)
            for cause, n in lost[:_MOST_BARS]
        ]
        yield bars(rows)
    else:
        yield "<p>Nothing is lost by the order of the text.</p>"
    yield "</section>"


def _templates(report: AuditReport) -> Iterator[str]:
    yield (
        "<section><h2>Where prompts diverge, template by template</h2>"
        '<ul class="legend"><li><i class="key box"></i>left an earlier prompt and read stable '
        'text again</li><li><i class="key box new"></i>left it for text of its own</li></ul>'
    )
    for template in report.templates[:_MOST_TEMPLATES]:
        yield from _template(report, template)
    left = len(report.templates) - _MOST_TEMPLATES
    if left > 0:
        yield f"<p>… and {left:,} templates more that lose less.</p>"
    yield "</section>"


def _template(report: AuditReport, template: TemplateSum) -> Iterator[str]:
    sums = template.sums
    about = ", ".join([*template.models, *template.apis])
    yield (
        f"<article><h3>T{template.number + 1} · <bdi>{_safe(template.title)}</bdi></h3>"
        f'<p class="quiet">{sums.requests:,} requests · {_safe(about)}</p>'
        f'<p class="quiet">{_safe("; ".join(template.rules))}</p>'
        f"{strip(template)}{_table(report, sums)}"
    )
    for one in template.by_loss:
        yield from _cause(report, template, one)
    yield "</article>"


def _table(report: AuditReport, sums: Sums) -> str:
    rows: list[tuple[str, str, str, str]] = []
    if sums.reported:
        ratio = _percent(sums.reported_cached_tokens, sums.reported_prompt_tokens)
        cost = _money(sums.reported_cost, sums.reported_priced)
        rows.append(("reported", f"{sums.reported_cached_tokens:,}", ratio, cost))
    for name, tokens, dollars in (
        ("expected by the rules", sums.expected_tokens, sums.expected_cost),
        ("with the best order", sums.best_tokens, sums.best_cost),
    ):
        ratio, cost = _percent(tokens, sums.prompt_tokens), _money(dollars, sums.priced)
        rows.append((name, _tokens(report, tokens), ratio, cost))
    body = "".join(
        f"<tr><td>{name}</td><td>{tokens}</td><td>{ratio}</td><td>{cost or '-'}</td></tr>"
        for name, tokens, ratio, cost in rows
    )
    return (
        '<div class="wide"><table><thead><tr><th></th><th>from the cache</th><th>hit ratio</th>'
        f"<th>cost of prompts</th></tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cause(report: AuditReport, template: TemplateSum, one: CauseSum) -> Iterator[str]:
    code = code_of(one)
    codes = code if code == one.cause.code else f"{code} {one.cause.code}"
    lost = f"{one.requests:,} request{'s' * (one.requests != 1)} lost "
    lost += f"{_tokens(report, one.lost_tokens)} tokens"
    if one.priced:
        lost += f", {money(one.lost_money)}"
    yield (
        f'<div class="cause"><p><span class="code">{codes} {one.cause.name}</span>: {lost}</p>'
        f"<p>{_safe(place_of(one))}</p>"
    )
    if one.example is not None:
        if one.example.window is not None:
            yield _window(one.example.window)
        if one.further:
            further = further_of(one)
            yield f"<p>{_safe(further[:1].upper() + further[1:])}.</p>"
        after = f", compared with {one.example.earlier}" if one.example.earlier else ""
        yield f'<p class="quiet">{_safe(f"{one.example.place}{after}")}</p>'
    remedy = remedy_of(template, one)
    yield f"<p>{escape(remedy[:1].upper() + remedy[1:])}.</p></div>"


def _window(window: Window) -> str:
    was, now = window.was[window.caret :], window.now[window.caret :]
    alike = common_length(was[::-1], now[::-1])
    lines = []
    for name, text in (("was", was), ("now", now)):
        same, differs, rest = (
            escape(part)
            for part in (
                window.now[: window.caret],
                text[: len(text) - alike],
                text[len(text) - alike :],
            )
        )
        lines.append(
            f'<span class="key-word">{name}  </span>{same}<mark>{differs or "&#8203;"}</mark>{rest}'
        )
    return f'<pre dir="ltr">{chr(10).join(lines)}</pre>'


def _foot(report: AuditReport) -> Iterator[str]:
    notes = [_safe(note) for note in report.notes]
    if report.is_estimate:
        notes.insert(0, "Counts with ~ were estimated from bytes.")
    if report.is_writing_in_vain:
        notes.append(
            f"SF603: {_tokens(report, report.unread_tokens)} of "
            f"{_tokens(report, report.sums.written_tokens)} tokens written were never read."
        )
    if notes:
        yield f"<section><h2>Notes</h2><ul>{''.join(f'<li>{n}</li>' for n in notes)}</ul></section>"
    if report.problem_count:
        listed = "".join(f"<li>{_safe(str(problem))}</li>" for problem in report.problems[:50])
        yield (
            f"<section><h2>{report.problem_count:,} lines could not be read</h2>"
            f"<ul>{listed}</ul></section>"
        )


def _fact(name: str, figure: str, label: str, cost: str) -> str:
    paid = f" · {cost} for prompts" if cost else ""
    return f'<li class="{name}"><b>{figure}</b>{label}{paid}</li>'


def _safe(text: str) -> str:
    """Return recorded text as HTML that shows it and does nothing."""
    return escape(printable(text))


def _tokens(report: AuditReport, tokens: float) -> str:
    return f"{'~' if report.is_estimate else ''}{round(tokens):,}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _money(dollars: float, requests: int) -> str:
    return money(dollars) if requests else ""
