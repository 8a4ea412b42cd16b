"""An audit's pictures, as inline SVG that stretches, with labels in HTML around it.

Knows shapes. Text is kept out of the SVG, so that it stays readable at any width. Colours are
classes that the page's style gives a light and a dark value.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from stemfirst_lint.audit.tallies import Slice, TemplateSum

_LINES = (
    ("reported", "reported by the responses"),
    ("expected", "expected by the rules"),
    ("best", "with the best order"),
)


def over_time(timeline: tuple[tuple[float, Slice], ...], *, is_timed: bool) -> str:
    """Return hit ratios over time as a figure; empty where there is but one point."""
    if len(timeline) < 2:
        return ""
    first, last = timeline[0][0], timeline[-1][0]
    points: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in _LINES}
    for position, part in timeline:
        x = 1000 * (position - first) / (last - first)
        for name, share in _shares(part).items():
            points[name].append((x, 200 - 200 * share))
    drawn = [name for name, _ in _LINES if points[name]]
    grid = "".join(f'<path class="grid" d="M0 {y}H1000"/>' for y in (0, 50, 100, 150, 200))
    shapes = "".join(_line(name, points[name]) for name in reversed(drawn))
    legend = "".join(
        f'<li><i class="key {name}"></i>{label}</li>' for name, label in _LINES if name in drawn
    )
    start, end = _ends(first, last, is_timed=is_timed)
    return (
        f'<ul class="legend">{legend}</ul>'
        '<div class="plot"><div class="y"><span>100 %</span><span>50 %</span><span>0 %</span>'
        '</div><svg viewBox="-4 -4 1008 208" preserveAspectRatio="none" role="img" '
        f'aria-label="Hit ratio from {escape(start)} to {escape(end)}">{grid}{shapes}</svg></div>'
        f'<div class="x"><span>{escape(start)}</span><span>{escape(end)}</span></div>'
    )


def bars(rows: list[tuple[str, str, float]]) -> str:
    """Return rows of `(label, figure, value)` as horizontal bars; labels must be safe HTML."""
    most = max((value for _, _, value in rows), default=0.0)
    made = []
    for label, figure, value in rows:
        width = 100 * value / most if most else 0.0
        made.append(
            f'<li><span class="name">{label}</span><span class="figure">{escape(figure)}</span>'
            '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
            '<rect class="track" width="100" height="10"/>'
            f'<rect class="lost" width="{max(width, 0.4):.2f}" height="10"/></svg></li>'
        )
    return f'<ul class="bars">{"".join(made)}</ul>'


def strip(template: TemplateSum) -> str:
    """Return where one template's requests left earlier ones: a histogram along the prompt."""
    most = max(template.positions, default=0)
    if not most:
        return '<p class="quiet">No request had an earlier one to be compared with.</p>'
    count = len(template.positions)
    width = 1000 / count
    shapes = []
    for index, (requests, lossy) in enumerate(
        zip(template.positions, template.lossy_positions, strict=True)
    ):
        if not requests:
            continue
        # The square root keeps a single request visible beside thousands.
        height = 60 * (requests / most) ** 0.5
        low = height * lossy / requests
        x, bar = index * width + 1, width - 2
        said = f"{requests:,} requests, {lossy:,} of them forfeiting"
        shapes.append(
            f"<g><title>{said}, at {100 * index // count} % of the prompt</title>"
            f'<rect class="fresh" x="{x:.1f}" y="{60 - height:.1f}" width="{bar:.1f}" '
            f'height="{height - low:.1f}"/>'
            f'<rect class="lost" x="{x:.1f}" y="{60 - low:.1f}" width="{bar:.1f}" '
            f'height="{low:.1f}"/></g>'
        )
    label = f"Where {sum(template.positions):,} prompts leave earlier ones"
    return (
        f'<svg class="strip" viewBox="0 0 1000 62" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{"".join(shapes)}<path class="axis" d="M0 61H1000"/></svg>'
        '<div class="x"><span>start of the prompt</span><span>end</span></div>'
    )


def _shares(part: Slice) -> dict[str, float]:
    shares = {}
    if part.reported_prompt_tokens:
        shares["reported"] = part.reported_cached_tokens / part.reported_prompt_tokens
    if part.prompt_tokens:
        shares["expected"] = part.expected_tokens / part.prompt_tokens
        shares["best"] = part.best_tokens / part.prompt_tokens
    return {name: min(1.0, share) for name, share in shares.items()}


def _line(name: str, points: list[tuple[float, float]]) -> str:
    if len(points) == 1:
        points = [points[0], (points[0][0] + 1, points[0][1])]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="line {name}" d="M{path}"/>'


def _ends(first: float, last: float, *, is_timed: bool) -> tuple[str, str]:
    if not is_timed:
        return f"request {first:,.0f}", f"request {last:,.0f}"
    start, end = (datetime.fromtimestamp(moment, UTC) for moment in (first, last))
    form = "%Y-%m-%d %H:%M" if start.date() != end.date() else "%H:%M:%S"
    day = "" if start.date() != end.date() else f"{start:%Y-%m-%d} "
    return f"{day}{start.strftime(form)}", f"{end.strftime(form)} UTC"
