"""Reads Jinja templates: text, and fields with their places. Renders nothing.

Knows expressions, comments, conditions and loops. A loop is one field, because its text comes any
number of times; the arms of a condition are read as if each came. Macros, inheritance and raw
blocks are not read: the whole template is left alone then.
"""

from __future__ import annotations

import re

from stemfirst_lint.literals import FormatField, FormatText

_TAG = re.compile(r"\{\{(.*?)\}\}|\{%[-+]?(.*?)[-+]?%\}|\{#.*?#\}", re.DOTALL)
_NAME = re.compile(r"[-+\s]*\$?([A-Za-z_][\w.]*)")
_LOOP = re.compile(r"\s*for\s+.+?\s+in\s+\$?([A-Za-z_][\w.]*)", re.DOTALL)
_UNREAD = frozenset({"macro", "extends", "raw", "call", "import", "from", "filter"})


def read_jinja(template: str) -> tuple[FormatText | FormatField, ...] | None:
    """Return the parts of a Jinja template, or None where its text cannot be told."""
    parts: list[FormatText | FormatField] = []
    at = 0
    loops = 0
    loop_start, loop_name = 0, ""
    for match in _TAG.finditer(template):
        if not loops and match.start() > at:
            parts.append(FormatText(template[at : match.start()], at, match.start()))
        at = match.end()
        expression, statement = match.group(1), match.group(2)
        if statement is not None:
            word = statement.split(None, 1)[0] if statement.split() else ""
            if word in _UNREAD:
                return None
            if word == "for":
                loops += 1
                found = _LOOP.match(statement)
                if loops == 1:
                    loop_start, loop_name = match.start(), found.group(1) if found else "for"
            elif word == "endfor":
                loops -= 1
                if loops < 0:
                    return None
                if not loops:
                    parts.append(FormatField(loop_name, loop_start, match.end(), None, None))
            elif word == "include" and not loops:
                parts.append(FormatField("include", match.start(), match.end(), None, None))
        elif expression is not None and not loops:
            name = _NAME.match(expression)
            shown = name.group(1) if name else expression.strip()
            parts.append(FormatField(shown, match.start(), match.end(), None, None))
    if loops:
        return None
    if at < len(template):
        parts.append(FormatText(template[at:], at, len(template)))
    return tuple(parts)
