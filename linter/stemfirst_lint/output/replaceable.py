"""Whether a report may be written over what stands in a file: over an older report alone.

Knows how reports in each of our formats begin or end. A shell that expands `-o *.py` gives the
first module for a name that was forgotten; a prompt or a recording is lost as easily.
"""

from __future__ import annotations

import os
import re

_LOOK_BYTES = 8192
_NOTEBOOKS_AND_MODULES = (".py", ".pyi", ".ipynb")

_BEGINS = re.compile(
    rb"""\s*(?:
      \[\s*\]\s*\Z                                                 # no findings, as JSON
    | \[\s*\{\s*"(?:path|code|description|check_name)"[^\0]*
        "(?:fixable|cell|fingerprint)":                            # statistics, JSON, GitLab
    | \{\s*"\$schema":\s*"[^"]*sarif
    | <\?xml[^>]*>\s*<testsuites\ name="stemfirst"
    | ::(?:warning|notice|error)\ title=stemfirst
    | \#\ settings\ from\b
    )""",
    re.VERBOSE,
)
_ENDS = re.compile(
    rb"""(?:\A|\n)(?:
      (?:Fixed\ [\d,]+\ findings?\.\ )?(?:No\ findings\ in|Found\ [\d,]+\ finding)[^\n]*\.
    | [\d,]+\ prompts?\ in\ [\d,]+\ files?                         # statistics
    | [^\n]+\.(?:py|pyi|ipynb)                                     # --show-files
    )\s*\Z""",
    re.VERBOSE,
)


def is_replaceable(path: str) -> bool:
    """Return True if nothing but a report would be lost by writing to a path.

    Pipes and devices hold nothing; a file that cannot be read is not replaced.
    """
    if not os.path.isfile(path):
        return True
    if path.lower().endswith(_NOTEBOOKS_AND_MODULES):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(_LOOK_BYTES)
            file.seek(max(os.path.getsize(path) - _LOOK_BYTES, 0))
            tail = file.read()
    except OSError:
        return False
    return not head.strip() or bool(_BEGINS.match(head) or _ENDS.search(tail))
