"""Where two prompts part: the first difference, its segment, and a window of both texts.

Knows rendered prompts and request bodies as runs of text in the order in which they are read:
tools, then messages. Does not know why they differ, or what a cache made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stemfirst.rendered import Rendered
from stemfirst.segments import Origin, Path
from stemfirst.tiers import Tier

WINDOW = 32
"""Characters shown on either side of a difference."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first character in which two texts differ; one may end there."""

    index: int
    before: str
    after: str

    @property
    def byte(self) -> int:
        """The first differing byte in UTF-8."""
        return len(self.before[: self.index].encode("utf-8", "surrogatepass"))

    def window(self, names: tuple[str, str] = ("before", "after"), width: int = WINDOW) -> str:
        """Return three lines: both texts around the difference, and a caret below it."""
        start = max(0, self.index - width)
        head = "…" if start else ""
        lines = []
        label = max(map(len, names))
        for name, text in zip(names, (self.before, self.after), strict=True):
            cut = text[start : self.index + width]
            tail = "…" if len(text) > self.index + width else "⏹" if not cut[width:] else ""
            lines.append(f"  {name:<{label}}  {head}{visible(cut)}{tail}")
        offset = len(f"  {'':<{label}}  {head}") + len(visible(self.before[start : self.index]))
        return "\n".join([*lines, " " * offset + "^"])


@dataclass(frozen=True, slots=True)
class Run:
    """A run of text at its place; runs of one place follow one another without gaps."""

    at: Path
    text: str
    label: str
    tier: Tier | None = None
    origin: Origin | None = None
    hole: str | None = None
    """The hole that it fills."""
    has_name: bool = False
    """Whether the label is a name that somebody gave it."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where a prompt leaves another one.

    `run` is the one of the newer prompt; None where the newer prompt ends first. `char` and
    `byte` count within the string at `at`.
    """

    at: Path
    char: int
    byte: int
    run: Run | None
    difference: Difference
    shared_bytes: int
    """Bytes of the prompt's text that both have before the difference."""
    lost_bytes: int
    """Bytes of the newer prompt's text behind it that the older one had too: static and tenant
    runs of the same text."""
    rest_bytes: int = 0
    """Bytes at the end of `run` that end the older prompt's run there, too: what stands behind a
    clock in a static text. None of a value that fills a hole."""

    def __str__(self) -> str:
        """Say where, and show both texts."""
        place = ".".join(map(str, self.at)) or "the end"
        what = ""
        if self.run is not None:
            where = f", built at {self.run.origin}" if self.run.origin else ""
            what = f" in {self.run.label}{where}"
        return f"{place}, byte {self.byte:,}{what}\n{self.difference.window()}"


def first_difference(before: str, after: str) -> Difference | None:
    """Return the first place where two texts differ, or None for equal ones."""
    if before == after:
        return None
    low, high = 0, min(len(before), len(after))
    while low < high:  # comparing halves at memory speed
        middle = (low + high + 1) // 2
        if before[low:middle] == after[low:middle]:
            low = middle
        else:
            high = middle - 1
    return Difference(low, before, after)


def runs_of(rendered: Rendered) -> tuple[Run, ...]:
    """Return a rendered prompt's runs in the order in which they are read."""
    return tuple(
        Run(
            item.at,
            item.text,
            item.label,
            item.tier,
            item.origin,
            item.hole,
            item.name is not None,
        )
        for item in rendered.segments
    )


def diverge(before: Sequence[Run], after: Sequence[Run]) -> Divergence | None:
    """Return where `after` leaves `before`; None where `before` is a prefix of it, or equal.

    A prompt that only goes on (a longer conversation) has not diverged: all that was cached
    serves it.
    """
    olds, news = _strings(before), _strings(after)
    shared = 0
    for index, (at, text) in enumerate(olds):
        if index >= len(news):
            return _divergence((), 0, None, Difference(0, text, ""), shared, before, after)
        new_at, new_text = news[index]
        if at != new_at:
            difference = Difference(0, text, new_text)
            return _divergence(new_at, 0, None, difference, shared, before, after)
        is_last = index + 1 == len(olds)
        if text != new_text and not (is_last and new_text.startswith(text)):
            found = first_difference(text, new_text)
            assert found is not None
            return _divergence(at, found.index, None, found, shared + found.byte, before, after)
        shared += len(text.encode("utf-8", "surrogatepass"))
    return None


def _strings(runs: Iterable[Run]) -> list[tuple[Path, str]]:
    """Return each place with its whole text."""
    joined: dict[Path, list[str]] = {}
    for run in runs:
        joined.setdefault(run.at, []).append(run.text)
    return [(at, "".join(texts)) for at, texts in joined.items()]


def _divergence(
    at: Path,
    char: int,
    run: Run | None,
    difference: Difference,
    shared: int,
    before: Sequence[Run],
    after: Sequence[Run],
) -> Divergence:
    position = 0
    behind: list[Run] = []
    has_passed = False
    for item in after:
        if has_passed:
            behind.append(item)
        elif item.at == at:
            if char < position + len(item.text) or item.text == "":
                run, has_passed = item, True
            position += len(item.text)
        elif run is None and position:
            has_passed = True
            behind.append(item)
    had = {item.text for item in before if _is_stable(item)}
    lost = sum(
        len(item.text.encode("utf-8", "surrogatepass"))
        for item in behind
        if _is_stable(item) and item.text in had and item.at[-1] != "role"
    )
    rest = _rest_bytes(at, char, run, before, after) if run is not None else 0
    return Divergence(at, char, difference.byte, run, difference, shared, lost, rest)


def _rest_bytes(at: Path, char: int, run: Run, before: Sequence[Run], after: Sequence[Run]) -> int:
    """Return the bytes that end both runs behind a place, where they are text of the source."""
    old = _run_at(at, char, before)
    if old is None or run.hole is not None or not _is_stable(run):
        return 0
    texts = [
        text.text[max(0, char - start) :]
        for text, start in (old, _run_at(at, char, after) or (run, char))
    ]
    low, high = 0, min(map(len, texts))
    while low < high:
        middle = (low + high + 1) // 2
        if texts[0][-middle:] == texts[1][-middle:]:
            low = middle
        else:
            high = middle - 1
    return len(texts[1][len(texts[1]) - low :].encode("utf-8", "surrogatepass"))


def _run_at(at: Path, char: int, runs: Sequence[Run]) -> tuple[Run, int] | None:
    """Return the run that holds a character of the string at a place, and where it begins."""
    start = 0
    for run in runs:
        if run.at == at:
            if char < start + len(run.text):
                return run, start
            start += len(run.text)
    return None


def run_at(at: Path, char: int, runs: Sequence[Run]) -> Run | None:
    """Return the run that holds a character of the string at a place."""
    found = _run_at(at, char, runs)
    return found[0] if found else None


def _is_stable(run: Run) -> bool:
    return run.tier is None or run.tier <= Tier.TENANT


def visible(text: str) -> str:
    """Return a text on one line, each character one column wide as far as that can be known."""
    shown = text.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍")
    return "".join(c if c.isprintable() else "·" for c in shown)
