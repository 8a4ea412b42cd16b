"""How the demo looks: on a terminal with progress, in a pipe as plain lines of 80 columns.

Knows words and layout. Does not know where the figures come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stemfirst.demo.comparison import Gain, Totals
from stemfirst.savings import money

if TYPE_CHECKING:
    from stemfirst.demo.story import Options

STEPS = 5
WIDTH = 80
DIFF_LINES = 36
MS_PER_HOUR = 3_600_000


class Display:
    """Writes the story to a console."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal or self.console.width > 100:
            self.console.width = min(100, self.console.width) if self.console.is_terminal else WIDTH
        self._step = 0

    def intro(self, app: Path) -> None:
        """Say what is about to happen."""
        self._say("[bold]stemfirst demo[/]: one app, before and after its prompts are mended.")
        self._say(f"The app: {_short(app)}, a support agent in a loop with tools and a clock.")

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._step += 1
        self._say(f"\n[bold cyan]\\[{self._step}/{STEPS}][/] [bold]{title}[/]")

    def output(self, text: str) -> None:
        """Show what a command printed, with lines that are too long folded below themselves."""
        for line in text.rstrip().splitlines():
            indent = " " * (len(line) - len(line.lstrip()) + 4)
            folded = wrap(line, self.console.width, subsequent_indent=indent) or [""]
            self.console.print(Text("\n".join(folded)), soft_wrap=True)

    def diff(self, text: str) -> None:
        """Show a diff with long lines and long runs cut, and say how much was cut."""
        lines = [line for line in text.splitlines() if line.strip() or line]
        for line in lines[:DIFF_LINES]:
            cut = line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
            self.console.print(Text(cut, style=style))
        if len(lines) > DIFF_LINES:
            self._say(f"[dim]… and {len(lines) - DIFF_LINES} more lines of diff[/]")

    def forfeited(self, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """Say what the linter predicts, before anything has run."""
        for kind, tokens in before.items():
            self._say(
                f"Predicted from source: each {kind} call forfeits {tokens:,} stable tokens "
                f"before the fix, {after.get(kind, 0):,} after it."
            )

    def served(self, url: str, model: str | None) -> None:
        """Say what runs where."""
        if model is None:
            self._say(
                f"Serving the demo model at {url}: 25 million random weights. Its words are "
                "noise, its timings are real."
            )
        else:
            self._say(f"Serving {model} at {url}.")

    @contextmanager
    def waiting(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show that something takes a while; yields a callback for its newest log line."""
        if not self.console.is_terminal:
            self._say(f"{title[:1].upper()}{title[1:]} ...")
            yield lambda _line: None
            return
        with self.console.status(title):
            yield lambda _line: None

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a bar, or in a pipe one line at the end; yields the callback for one more pair."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn("calls"),
            TimeElapsedColumn(),
        )
        done = 0
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as bar:
            task = bar.add_task(title, total=total)

            def advance() -> None:
                nonlocal done
                done += 1
                bar.advance(task)

            yield advance
        if not self.console.is_terminal:
            self._say(f"{title}: {done} calls each")

    def table(self, before: Totals, after: Totals, gpu_price_per_hour: float) -> None:
        """Show what the same traffic cost before and after."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("the same recorded traffic", no_wrap=True)
        for name in ("before", "after", "change"):
            table.add_column(name, justify="right", no_wrap=True, min_width=10)
        for label, values, change in rows(before, after, gpu_price_per_hour):
            table.add_row(label, *values, change)
        self.console.print(table)

    def gain(self, gain: Gain, measured_ms: float) -> None:
        """Hold what the server estimated against what it measured, over the same calls."""
        if gain.pairs:
            of = f"all {gain.of}" if gain.pairs == gain.of else f"{gain.pairs} of {gain.of}"
            low, high = gain.low_ms / 1000, gain.high_ms / 1000
            self._say(
                f"Prefill saved by the rewrite, over {of} calls: estimated "
                f"{gain.estimated_ms / 1000:.1f} s [{low:.1f} to {high:.1f}], "
                f"measured {gain.measured_ms / 1000:.1f} s."
            )
        if gain.pairs < gain.of:
            few = gain.of - gain.pairs
            self._say(
                f"{few} call{' has' if few == 1 else 's have'} no estimate "
                f"({'; '.join(gain.unestimated)}); measured over all {gain.of}: "
                f"{measured_ms / 1000:.1f} s."
            )

    def prediction(self, predicted: int, measured: int) -> None:
        """Hold the linter's prediction against what the server counted."""
        self._say(
            f"Forfeited tokens won back: {predicted:,} predicted by the linter from source, "
            f"{measured:,} measured by the server."
        )

    def outro(self, options: Options, kept: Path | None) -> None:
        """Say what to type next."""
        if kept is not None:
            self._say(f"The rewritten app is in {_short(kept)}.")
        self._say("\n[bold]Next, on your own code:[/]")
        for command, meaning in (
            ("stemfirst check path/to/your/app", "what your prompts forfeit"),
            ("stemfirst fix --diff path/to/your/app", "what would be rewritten"),
            ("stemfirst rule SF101", "why, and what the fix is"),
            ("stemfirst serve --model path/to/model", "a server that reports its savings"),
        ):
            self._say(f"  {command:<42}[dim]{meaning}[/]")

    def _say(self, markup: str) -> None:
        self.console.print(markup, soft_wrap=False)


Row = tuple[str, tuple[str, str], str]


def rows(before: Totals, after: Totals, gpu_price_per_hour: float) -> list[Row]:
    """Return the table's rows: a label, both values, the change."""
    pair = (before, after)

    def both(values: Callable[[Totals], str]) -> tuple[str, str]:
        return values(pair[0]), values(pair[1])

    table: list[Row] = [
        ("calls", both(lambda t: f"{t.calls:,}"), ""),
        ("prompt tokens", both(lambda t: f"{t.prompt_tokens:,}"), ""),
        ("  of them cached", both(lambda t: f"{t.cached_tokens:,}"), ""),
        ("hit ratio", both(lambda t: f"{100 * t.hit_ratio:.1f} %"), ""),
        ("TTFT p50", both(lambda t: f"{t.ttft_p50_ms:,.0f} ms"),
         times(before.ttft_p50_ms, after.ttft_p50_ms)),
        ("TTFT p95", both(lambda t: f"{t.ttft_p95_ms:,.0f} ms"),
         times(before.ttft_p95_ms, after.ttft_p95_ms)),
        ("TPOT p50", both(lambda t: "-" if t.tpot_ms is None else f"{t.tpot_ms:.1f} ms"), ""),
        ("prefill, all calls", both(lambda t: f"{t.prefill_ms / 1000:.1f} s"),
         times(before.prefill_ms, after.prefill_ms)),
        ("prefill saved, estimated", both(estimated), ""),
    ]  # fmt: skip
    label = f"prefill at {money(gpu_price_per_hour)} a GPU hour"
    costs = both(lambda t: f"${t.prefill_ms / MS_PER_HOUR * gpu_price_per_hour:.4f}")
    table.append((label, costs, times(before.prefill_ms, after.prefill_ms)))
    return table


def times(before: float, after: float) -> str:
    """Return how many times less `after` is: `3.4x less`."""
    if after <= 0 or before <= 0:
        return ""
    ratio = before / after
    return f"{ratio:.1f}x less" if ratio >= 1 else f"{1 / ratio:.1f}x more"


def seconds(saved_ms: tuple[float, float, float] | None) -> str:
    """Return an estimate in seconds, or what stands for none; the interval is said below."""
    return "-" if saved_ms is None else f"{saved_ms[0] / 1000:.1f} s"


def estimated(totals: Totals) -> str:
    """Return a version's estimate in seconds, and of how many calls it speaks if not of all."""
    text = seconds(totals.saved_ms)
    if totals.saved_ms is None or totals.estimated == totals.calls:
        return text
    return f"{text} ({totals.estimated} calls)"


def _short(path: Path) -> str:
    """Return a path as seen from here, where it lies below."""
    resolved = path.resolve()
    here = Path.cwd()
    return str(resolved.relative_to(here)) if resolved.is_relative_to(here) else str(resolved)
