"""A ledger in a terminal, with colours: what `rich.print(book)` shows.

Knows the package rich, which is loaded when this is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from stemfirst.ledgers import Ledger

BAR_WIDTH = 40


def ledger_view(book: Ledger) -> RenderableType:
    """Return the sums, a bar of the share that was cached, and what was read again."""
    table = Table(title=Text(book.title), title_justify="left", show_header=False, box=None)
    table.add_column("figure", style="dim")
    table.add_column("value", justify="right", style="bold")
    table.add_column("note", style="dim")
    for row in book.rows():
        table.add_row(*map(Text, row))
    parts: list[RenderableType] = [table]
    if book.hit_ratio is not None:
        bar = ProgressBar(total=1.0, completed=book.hit_ratio, width=BAR_WIDTH)
        parts.append(Columns([bar]))
    misses = book.misses()[:3]
    if misses:
        parts.append(Text("read again", style="yellow"))
        parts += [Text(f"  {item}") for item in misses]
    parts += [Text(notice, style="italic dim") for notice in sorted(book.notices())]
    return Group(*parts)
