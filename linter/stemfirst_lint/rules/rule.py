"""What a rule is: a code, a name, a page, cases, and a judgement of one site.

Knows the measure of a finding, its forfeited tokens. Knows no syntax trees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from stemfirst.tiers import Tier

from stemfirst_lint.gain import Count, Counter
from stemfirst_lint.model import (
    Argument,
    Evidence,
    Finding,
    Hole,
    Kind,
    Location,
    Request,
    Resolution,
    Severity,
    Site,
    Template,
    Text,
)

if TYPE_CHECKING:
    from stemfirst_lint.chat_templates import ChatTemplate


@dataclass(frozen=True, slots=True)
class Case:
    """An example of a rule: what it shows, the source of a module, how often the rule speaks.

    `chat_template` is the target's, for the rules that are about it.
    """

    title: str
    source: str
    finds: int = 0
    chat_template: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How rules measure: the target's tokenizer and the least gain, in tokens, worth a word."""

    counter: Counter
    min_gain_tokens: int


class Rule:
    """One fault. Subclasses say what, why and how to mend it in their docstring."""

    code: ClassVar[str]
    name: ClassVar[str]
    cases: ClassVar[tuple[Case, ...]] = ()
    severity: ClassVar[Severity] = Severity.WARNING
    is_opt_in: ClassVar[bool] = False
    """Spoken of only where `select` or `extend-select` gives the whole code."""

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield the findings of this rule at a site."""
        yield from ()

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield the findings of this rule at a call that sends messages."""
        yield from ()

    def check_template(self, template: ChatTemplate) -> Iterator[Finding]:
        """Yield the findings of this rule in a chat template."""
        yield from ()

    def finding_at(
        self,
        location: Location,
        message: str,
        remedy: str,
        about: Argument | None = None,
        *,
        site: Site | None = None,
        count: Count | None = None,
    ) -> Finding:
        """Return a finding of this rule that no rewriting of a text can mend.

        Args:
            location: where.
            message: what varies, and what it costs.
            remedy: what a person can do.
            about: the value whose evidence is shown.
            site: the prompt that it belongs to, if it belongs to one.
            count: what is forfeited, if that can be told.
        """
        return Finding(
            code=self.code,
            name=self.name,
            message=message,
            location=location,
            forfeited_tokens=count.tokens if count is not None else 0,
            forfeited_is_estimate=count is not None and count.is_estimate,
            evidence=(
                *(about.verdict.evidence if about is not None else ()),
                *(repeated(site, count) if site is not None else ()),
            ),
            template=site.template if site is not None else None,
            site=site,
            remedy=remedy,
            severity=self.severity,
        )

    def finding(self, site: Site, hole: Hole, message: str, count: Count) -> Finding:
        """Return a finding of this rule at a hole."""
        return Finding(
            code=self.code,
            name=self.name,
            message=message,
            location=hole.location,
            forfeited_tokens=count.tokens,
            forfeited_is_estimate=count.is_estimate,
            evidence=(*hole.verdict.evidence, *repeated(site, count)),
            template=site.template,
            hole=hole,
            site=site,
            severity=self.severity,
        )

    def holes_of(
        self, site: Site, limits: Limits, kinds: tuple[Kind, ...], *, always: bool
    ) -> Iterator[tuple[Hole, Count]]:
        """Yield the holes of some kinds that stand before stable text worth the least gain.

        Args:
            site: where the template is sent.
            limits: how to measure.
            kinds: the kinds that the rule is about.
            always: report a system message before tools or a history whatever the count.
        """
        if site.follows_history:
            return
        for hole in site.template.holes:
            if hole.verdict.kind not in kinds:
                is_daily = hole.verdict.resolution is Resolution.DAY
                if (hole.verdict.tier or Tier.STATIC) >= Tier.REQUEST and not is_daily:
                    return  # what follows is read again already
                continue
            texts = stable_in_request(site, hole, limits)
            is_always = always and precedes_conversation(site)
            if not is_always and limits.counter.is_surely_below(texts, limits.min_gain_tokens):
                continue
            count = limits.counter.count(*texts)
            if is_always or count.tokens >= limits.min_gain_tokens:
                yield hole, count


def repeated(site: Site, count: Count | None) -> tuple[Evidence, ...]:
    """Return the step of evidence that tells of the loop in which a prompt is sent."""
    if site.loop is None:
        return ()
    if site.rounds and count is not None and count.tokens:
        whole = Count(count.tokens * site.rounds, is_estimate=count.is_estimate)
        told = f"it is sent in a loop of {site.rounds:,} rounds, which read {whole} tokens again"
        return (Evidence(told, site.loop),)
    return (Evidence("it is sent in a loop, and each round reads it again", site.loop),)


def stable_behind(site: Site, hole: Hole) -> tuple[str, ...]:
    """Return the stable texts behind a hole in its own template."""
    pieces = site.template.pieces
    at = next(index for index, piece in enumerate(pieces) if piece is hole)
    found: list[str] = list(hole.tail_texts)
    margin = _margin(site.template) if site.template.is_dedented else ""
    for piece in pieces[at + 1 :]:
        if isinstance(piece, Text):
            found.append(piece.text.replace(f"\n{margin}", "\n"))
        elif piece.constant_text is not None:
            found.append(piece.constant_text)
        else:
            found.extend(piece.inner_texts)
    return tuple(found)


def _margin(template: Template) -> str:
    """Return the indentation that all lines of a template have in common."""
    lines = [""] if isinstance(template.pieces[0], Hole) else []
    for number, piece in enumerate(template.pieces):
        if isinstance(piece, Text):
            first, *rest = piece.text.split("\n")
            is_last = number == len(template.pieces) - 1
            starts = [first, *rest] if number == 0 else rest
            lines += [s for s in starts[:-1] if s.strip()]
            if starts and (starts[-1].strip() or not is_last):
                lines.append(starts[-1])
    margins = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines]
    return min(margins, key=len, default="")


def stable_in_request(site: Site, hole: Hole, limits: Limits) -> tuple[str, ...]:
    """Return the stable texts behind a hole in the whole request, in the target's order."""
    texts = [*stable_behind(site, hole), *site.following.texts]
    tools = site.following.tools
    if tools is not None and has_tools_behind(site):
        texts.append(tools)
    return tuple(texts)


def precedes_conversation(site: Site) -> bool:
    """Return True if tools or earlier turns stand behind this system message in every request."""
    return site.role == "system" and (site.following.has_history or has_tools_behind(site))


def has_tools_behind(site: Site) -> bool:
    """Return True if tools stand behind this system message, in the order of the target."""
    following = site.following
    return site.role == "system" and following.has_tools and not following.are_tools_first


def in_target_order(sites: Sequence[Site], counter: Counter) -> list[Site]:
    """Return sites that know whether the target puts the tools before the system message."""
    if not any(map(has_tools_behind, sites)) or not counter.tools_come_first():
        return list(sites)
    return [
        replace(site, following=replace(site.following, are_tools_first=True)) for site in sites
    ]


def forfeits(count: Count, site: Site) -> str:
    """Return the end of a message: what each call reads again."""
    parts = [f"{count} stable tokens"] if count.tokens else []
    if has_tools_behind(site) and site.following.tools is None:
        parts.append("the tools")
    if site.role == "system" and site.following.has_history:
        parts.append("the conversation")
    if not parts:
        return ""
    verb = "is" if parts == ["the conversation"] else "are"
    return f"; {' and '.join(parts)} behind it {verb} read again"
