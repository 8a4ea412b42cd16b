"""Which requests come from one template: by the stable lines of what an app always sends.

Knows lines and how to tell an app's fixed text from what fills it. Does not know caches. A
template is known by its features: tool names, and lines of the system text (of the first user
message where there is none), numbers and ids blanked out. Bounded in templates and features.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import xxhash

from stemfirst_lint.audit.bounded import RecentMap
from stemfirst_lint.audit.records import Block, Request

MAX_TEMPLATES = 256
"""Templates kept apart; requests of further ones are gathered in one more."""

MAX_FEATURES = 2_048
_LONGEST_TITLE = 160
_MIN_OVERLAP = 0.4
"""Weight that a request's features must share with a template's stable ones to belong to it."""

_SENTENCES = re.compile(r"(?<=[.!?;]) +")
_LONG_LINE = 200
_COMPARED_CHARACTERS = 512
"""Of a longer line only so much is looked at: it tells lines apart well enough."""

_VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{12,}\b|\b\w*\d\w*\b", re.IGNORECASE)


def lines_of_text(text: str) -> list[str]:
    """Return a text's lines, long ones cut into sentences; stripped, none empty."""
    lines: list[str] = []
    for line in text.split("\n"):
        if len(line) > _LONG_LINE:
            lines += [part for part in map(str.strip, _SENTENCES.split(line)) if part]
        elif stripped := line.strip():
            lines.append(stripped)
    return lines


def masked(line: str) -> str:
    """Return a line with every word that holds a digit, and every id, blanked out."""
    return _VARYING.sub("#", line)


@dataclass(slots=True)
class Template:
    """One template, known by its features; `seen` counts in how many requests each stood."""

    number: int
    title: str
    requests: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    weights: dict[int, int] = field(default_factory=dict)
    is_overflow: bool = False

    def is_stable(self, line: str) -> bool:
        """Whether a line stood in at least half of the template's requests."""
        return 2 * self.seen.get(_feature(line), 0) >= self.requests

    def add(self, features: dict[int, int]) -> list[int]:
        """Count one more request and return the features that are new."""
        self.requests += 1
        new = []
        for feature, weight in features.items():
            if feature in self.seen:
                self.seen[feature] += 1
            elif len(self.seen) < MAX_FEATURES:
                self.seen[feature] = 1
                self.weights[feature] = weight
                new.append(feature)
        if len(self.seen) >= MAX_FEATURES:
            self._forget_rare()
        return new

    def _forget_rare(self) -> None:
        rare = sorted(self.seen, key=self.seen.__getitem__)[: MAX_FEATURES // 2]
        for feature in rare:
            del self.seen[feature], self.weights[feature]

    def overlap(self, features: dict[int, int]) -> float:
        """Return the share of weight in common with this template's stable features, 0 to 1."""
        need = max(1, self.requests // 2)
        stable = {f: w for f, w in self.weights.items() if self.seen[f] >= need}
        common = sum(weight for f, weight in features.items() if f in stable)
        least = min(sum(features.values()), sum(stable.values()))
        return common / least if least else 0.0


class Templates:
    """The templates found so far."""

    def __init__(self) -> None:
        self.all: list[Template] = []
        self._by_feature: RecentMap[int, tuple[int, ...]] = RecentMap(65_536)
        self._known: RecentMap[int, tuple[Template, dict[int, int]]] = RecentMap(1024)

    def assign(self, request: Request) -> Template:
        """Return the template that a request belongs to, a new one if it resembles none."""
        blocks = _telling(request.blocks)
        digest = xxhash.xxh3_64()
        for block in blocks:
            digest.update(block.text.encode("utf-8", "surrogatepass"))
        key = digest.intdigest()
        known = self._known.get(key)
        if known is None:
            features = _features(blocks)
            template = self._closest(features) or self._new(request, blocks)
            self._known.put(key, (template, features))
        else:
            template, features = known
        new = template.add(features)
        if not template.is_overflow:
            for feature in new:
                others = self._by_feature.get(feature) or ()
                if template.number not in others:
                    self._by_feature.put(feature, (*others, template.number))
        return template

    def _closest(self, features: dict[int, int]) -> Template | None:
        votes: dict[int, int] = {}
        for feature, weight in features.items():
            for number in self._by_feature.get(feature) or ():
                votes[number] = votes.get(number, 0) + weight
        likely = sorted(votes, key=votes.__getitem__, reverse=True)[:4]
        rated = [(self.all[number].overlap(features), number) for number in likely]
        if not rated:
            return None
        best, number = max(rated, key=lambda pair: (pair[0], -pair[1]))
        return self.all[number] if best >= _MIN_OVERLAP else None

    def _new(self, request: Request, blocks: list[Block]) -> Template:
        if len(self.all) > MAX_TEMPLATES:
            return self.all[-1]
        is_last = len(self.all) == MAX_TEMPLATES
        title = "all further templates" if is_last else _title(blocks, request)
        self.all.append(Template(len(self.all), title[:_LONGEST_TITLE], is_overflow=is_last))
        return self.all[-1]


def _telling(blocks: Iterable[Block]) -> list[Block]:
    """Return the blocks that tell templates apart."""
    head = [block for block in blocks if block.is_head]
    if any(block.role == "system" for block in head):
        return head
    for block in blocks:
        if block.role == "user":
            return [*head, block]
    return head


def _features(blocks: list[Block]) -> dict[int, int]:
    """Return feature -> weight (characters that it stands for)."""
    found: dict[int, int] = {}
    for block in blocks:
        if block.role == "tool definition":
            found[xxhash.xxh3_64_intdigest(f"tool {block.name}".encode())] = 40
            continue
        for line in lines_of_text(block.text):
            if len(line) >= 8 and len(found) < MAX_FEATURES // 2:
                found[_feature(line)] = min(len(line), 400)
    if not found:  # short texts only
        for block in blocks:
            found[_feature(block.text)] = 8
    return found


def _feature(line: str) -> int:
    return _feature_of_start(line[:_COMPARED_CHARACTERS])


@lru_cache(maxsize=8_192)  # an app's fixed lines come again with every request
def _feature_of_start(line: str) -> int:
    return xxhash.xxh3_64_intdigest(masked(line).encode("utf-8", "surrogatepass"))


def _title(blocks: list[Block], request: Request) -> str:
    """Return the line that names a template best: one that speaks to the model, else the first."""
    lines = [
        line
        for block in blocks
        if block.role != "tool definition"
        for line in lines_of_text(block.text)[:200]
    ]
    for line in lines:
        if re.match(r"(you are|you're|act as|your (task|job|role)|du bist)\b", line, re.IGNORECASE):
            return line
    for line in lines:
        if len(line) >= 20 and masked(line) == line:
            return line
    if lines:
        return lines[0]
    return next((block.text for block in request.blocks if block.text), "(no text)")
