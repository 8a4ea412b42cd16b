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
    """Return the ledger's table."""
    return f'<pre style="line-height:1.3">{escape(str(book))}</pre>'


def _table(rows: list[tuple[Tier, str, str | None, str]]) -> str:
    cells = []
    for tier, role, name, text in rows:
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
