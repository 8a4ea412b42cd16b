"""The stable prefix of each prompt in source: the text before the first hole that may vary.

Knows sites and tiers. Knows nothing of the lock's file.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from stemfirst.locks import blocks_of, digest_of_block

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.model import Location, Site, Text
from stemfirst_lint.scan import find_sites, parsed, scan

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.config import Config

MIN_PREFIX_BYTES = 64
"""About 16 tokens, a page of the bundled server: what is shorter is hardly ever cached."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prompt's stable prefix.

    Attributes:
        key: the file and the name that the prompt is known by, whatever its line.
        location: the template.
        text: what is stable; a value from configuration stands as its source between NULs.
    """

    key: str
    location: Location
    text: str

    @property
    def blocks(self) -> tuple[str, ...]:
        """The text in paragraphs, each with the blank lines behind it."""
        return blocks_of(self.text)

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each block's UTF-8, in hex."""
        return tuple(map(digest_of_block, self.blocks))


def stable_prefixes(
    paths: tuple[str, ...], config: Config, root: str, failures: list[UnreadableFile]
) -> dict[str, Prefix]:
    """Return the stable prefixes below paths, by key, in order of place.

    Args:
        paths: files and folders.
        config: what to leave out, and declared tiers.
        root: the folder that keys are relative to.
        failures: files that could not be checked are appended here.
    """
    scanned = scan(paths, config, failures)
    failures += [
        UnreadableFile(file.path, told.reason)
        for file, told in zip(scanned.others, parsed(scanned.others), strict=True)
        if told.reason is not None
    ]
    if not scanned.islands:
        return {}
    _, sites = find_sites(
        scanned.candidates, config, failures, prompts=scanned.prompts, has_constants=True
    )
    seen: Counter[str] = Counter()
    found: dict[str, Prefix] = {}
    for site in sites:
        text = _stable_text(site)
        if len(text.encode("utf-8", "surrogatepass")) < MIN_PREFIX_BYTES:
            continue
        place = site.template.location
        path = os.path.relpath(os.path.realpath(place.path), os.path.realpath(root))
        key = f"{path.replace(os.sep, '/')}::{site.template.name or site.role or 'prompt'}"
        seen[key] += 1
        if seen[key] > 1:  # told apart by their order
            key += f"#{seen[key]}"
        found[key] = Prefix(key, place, text)
    return found


def _stable_text(site: Site) -> str:
    parts: list[str] = []
    for piece in site.template.pieces:
        if isinstance(piece, Text):
            parts.append(piece.text)
        elif piece.constant_text is not None:
            parts.append(piece.constant_text)
        elif piece.verdict.is_stable:
            parts.append(f"\0{piece.source}\0")
        else:
            break
    return "".join(parts)
