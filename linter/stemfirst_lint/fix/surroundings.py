"""What the source around a template says about its wording.

Knows comments, and the name of a template. Knows nothing of blocks and orders: a doubt from here
holds for every change of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stemfirst_lint.fix.safety import Refusal
from stemfirst_lint.model import Template

_LINES_ABOVE = 4
"""A comment that stands so far above a literal may speak of it: a call or a name lies between."""
_COMMENTED = (".py", ".pyi", ".yaml", ".yml")
_QUOTED = re.compile(
    r"\b(?:exact(?:ly)?|official(?:ly)?|verbatim|papers?|arxiv|appendix|model\s+card|word\s+for\s+word"
    r"|(?:copied|taken|borrowed|adapted|reproduced|ported)\s+from|from\s+<?https?://)"
    r"|https?://(?:\w+\.)?(?:arxiv|huggingface|aclanthology|openreview|github)\b",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"(?:^|\s)#(?P<words>.*)$")
_TAIL_NAME = re.compile(
    r"(?:^|_)(?:end|suffix|tail|footer|postfix|closing|trigger(?:ing)?|cue)(?:_|$)", re.IGNORECASE
)


def doubts_of_surroundings(template: Template, text: str) -> Iterator[Refusal]:
    """Yield why a person should look at any new order of `template`.

    Args:
        template: what would change.
        text: the source that holds it, whole; empty if it is not at hand.
    """
    comment = _quoting_comment(template, text)
    if comment is not None:
        yield Refusal(
            f"a comment says where the wording comes from: “{comment}”",
            "ask whether the order is part of it",
        )
    if template.name and ends_by_name(template.name):
        yield Refusal(
            f"`{template.name}` ends a prompt, and what stands before it is not seen",
            "look at what it is sent with",
        )


def ends_by_name(name: str) -> bool:
    """True if a text of this name ends a prompt: `SHOP_PROMPT_SUFFIX`."""
    return _TAIL_NAME.search(name) is not None


def _quoting_comment(template: Template, text: str) -> str | None:
    """Return the comment near a template that says that its wording is somebody else's."""
    place = template.location
    lines = text.split("\n")
    if not place.path.endswith(_COMMENTED) or place.end_line > len(lines):
        return None
    top = max(0, place.line - 1 - _LINES_ABOVE)
    while top and lines[top].lstrip().startswith("#") and lines[top - 1].lstrip().startswith("#"):
        top -= 1  # a comment is read whole
    around = lines[top : place.line - 1]
    around += [line[place.end_column - 1 :] for line in lines[place.end_line - 1 : place.end_line]]
    for line in around:
        match = _COMMENT.search(line)
        if match is not None and _QUOTED.search(match["words"]):
            words = match["words"].strip()
            return words if len(words) <= 60 else f"{words[:59]}…"
    return None
