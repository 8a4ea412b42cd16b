"""Names a finding so that it is known again after lines have moved.

Knows rule, file, template and hole; not lines, and not the template's text, which may be edited
around a fault that stays.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

from stemfirst_lint.model import Finding


def fingerprints(findings: Sequence[Finding], root: str = ".") -> list[str]:
    """Return 32 hex digits for each finding; no two findings of a run share theirs.

    Args:
        findings: in order of place.
        root: the folder that paths are made relative to.
    """
    seen: Counter[str] = Counter()
    found: list[str] = []
    for finding in findings:
        identity = _identity(finding, root)
        # The same fault twice in one template: told apart by their order.
        found.append(_digest(f"{identity}\0{seen[identity]}"))
        seen[identity] += 1
    return found


def _identity(finding: Finding, root: str) -> str:
    path = os.path.relpath(os.path.abspath(finding.location.path), root).replace(os.sep, "/")
    name = finding.template.name if finding.template else None
    hole = " ".join(finding.hole.source.split()) if finding.hole else finding.message
    return "\0".join((finding.code, path, name or "", hole))


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
