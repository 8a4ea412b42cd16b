"""Prompts and ledgers as HTML for a notebook: readable on light and on dark.

Knows how to show them. Escapes everything: a prompt's text may hold markup.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from stemfirst.segments import Hole, Part
from stemfirst.tiers import Tier

if TYPE_CHECKING:
    from stemfirst.ledgers import Ledger
    from stemfirst.prompt import Prompt
    from stemfirst.rendered import Rendered

MOST_SHOWN = 400
"""Characters shown of a segment; the rest is counted."""

MOST_CAUSES = 5
"""Causes of misses shown, the costliest first."""

COLOURS = {
    Tier.STATIC: "#2e8b57",
    Tier.TENANT: "#2f7fb5",
    Tier.SESSION: "#8a63c9",
    Tier.REQUEST: "#c98a1b",
    Tier.VOLATILE: "#c9453b",
}
"""From what stays to what changes; mid tones, which stand out on white and on black."""


def prompt_html(prompt: Prompt) -> str:
    """Return a table of the prompt's segments."""
    rows: list[tuple[Tier, str, str | None, str]] = [
        (item.tier, "tool", item.name, item.json) for item in prompt.tools
    ]
    for message in prompt.messages:
        for segment in message.segments:
            content = segment.content
            if isinstance(content, Hole):
                text = f"{{{content.name}}}"
            else:
                text = content.json if isinstance(content, Part) else content
            rows.append((segment.tier, message.role, segment.name, text))
    return _table(rows)


def rendered_html(rendered: Rendered) -> str:
    """Return a table of the segments as they are sent."""
    roles = [message["role"] for message in rendered.messages]
    return _table(
        [
            (
                item.tier,
                "tool" if item.is_tool else roles[int(item.at[1])],
                item.name,
                item.text,
            )
            for item in rendered.segments
        ]
    )


def ledger_html(book: Ledger) -> str:
    """Return the ledger's sums as a table, and what was read again by cause."""
    left, right = 'style="text-align:left"', 'style="text-align:right"'
    rows = "".join(
        f"<tr><td {left}>{escape(label)}</td><td {right}><b>{escape(value)}</b></td>"
        f"<td {left}>{escape(note)}</td></tr>"
        for label, value, note in book.rows()
    )
    head = f'<th colspan="3" {left}>{escape(book.title)}</th>'
    ratio = book.hit_ratio
    bar = ""
    if ratio is not None:
        bar = (
            f'<div title="{ratio:.1%} of the prompt tokens came from the cache" '
            f'style="width:20em;height:.6em;background:{COLOURS[Tier.REQUEST]};margin:.3em 0">'
            f'<div style="width:{100 * ratio:.1f}%;height:100%;background:'
            f'{COLOURS[Tier.STATIC]}"></div></div>'
        )
    misses = "".join(f"<li>{escape(str(item))}</li>" for item in book.misses()[:MOST_CAUSES])
    again = f"<p>Read again:</p><ul>{misses}</ul>" if misses else ""
    notices = "".join(f"<p><i>{escape(notice)}</i></p>" for notice in sorted(book.notices()))
    return f"<div><table><thead><tr>{head}</tr></thead>{rows}</table>{bar}{again}{notices}</div>"


def _table(rows: list[tuple[Tier, str, str | None, str]]) -> str:
    cells = []
    for tier, role, name, text in rows:
        text = text.strip("\n")  # separators are no news to a reader
        shown = text[:MOST_SHOWN]
        more = f" … {len(text) - MOST_SHOWN:,} more" if len(text) > MOST_SHOWN else ""
        label = f"{role} · {name}" if name else role
        cells.append(
            f'<tr><td style="border-left:4px solid {COLOURS[tier]};text-align:left;'
            f'vertical-align:top">{tier.label}</td>'
            f'<td style="text-align:left;vertical-align:top">{escape(label)}</td>'
            f'<td style="text-align:left;white-space:pre-wrap">{escape(shown)}'
            f"<i>{more}</i></td></tr>"
        )
    return f"<table>{''.join(cells)}</table>"
