"""What a call gives to the fields of a template, and the fields that template texts hold.

Knows `format`, `format_map`, `string.Template` and chains of `replace`. Judges no values.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from stemfirst_lint.literals import FormatField, FormatText
from stemfirst_lint.origins import Origins
from stemfirst_lint.scopes import Use, last_name

_MARKER = re.compile(r"(?<!\{)\{[A-Za-z_]\w{2,}\}(?!\})")
_DOLLAR = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_PERCENT = re.compile(
    r"%(?:(?P<sign>%)|(?:\((?P<name>[^()]*)\))?[-#0 +]*\d*(?:\.\d+)?[hlL]?[diouxXeEfFgGcrsa])"
)


@dataclass(slots=True)
class Given:
    """The values of a call: by place, by name with the point where each is evaluated.

    `is_open` tells that `*` or `**` passes more than the source shows.
    """

    positional: list[ast.expr] = field(default_factory=list)
    named: dict[str, tuple[ast.expr, Use]] = field(default_factory=dict)
    is_open: bool = False


def given_in(node: ast.Call, use: Use, origins: Origins, *, is_mapping: bool = False) -> Given:
    """Return what a call gives, dicts behind `**` looked into.

    Args:
        node: the call.
        use: where it stands.
        origins: follows names to dicts.
        is_mapping: the positional arguments are mappings, as those of `format_map`.
    """
    given = Given()
    for argument in node.args:
        if is_mapping:
            _add_mapping(argument, use, origins, given)
        elif isinstance(argument, ast.Starred):
            given.is_open = True
        else:
            given.positional.append(argument)
    for keyword in node.keywords:
        if keyword.arg is not None:
            given.named[keyword.arg] = (keyword.value, use)
        else:
            _add_mapping(keyword.value, use, origins, given)
    return given


def _add_mapping(node: ast.expr, use: Use, origins: Origins, given: Given) -> None:
    found = origins.of(node, use)
    if len(found) != 1:
        given.is_open = True
        return
    value, at = found[0].node, found[0].use
    if isinstance(value, ast.Dict):
        for key, item in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                given.named[key.value] = (item, at)
            else:
                given.is_open = True
    elif isinstance(value, ast.Call) and last_name(value.func) == "dict":
        for keyword in value.keywords:
            if keyword.arg is not None:
                given.named[keyword.arg] = (keyword.value, at)
            else:
                given.is_open = True
    else:
        given.is_open = True
    if isinstance(node, ast.Name):  # `values["x"] = ...` after it was made
        for key, binding in at.scope.items.get(node.id, ()):
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and binding.value:
                given.named.setdefault(key.value, (binding.value, binding.use))


def read_dollar(template: str) -> tuple[FormatText | FormatField, ...]:
    """Return the parts of a `string.Template`: `$name`, `${name}`, and `$$` for a dollar."""
    parts: list[FormatText | FormatField] = []
    at = 0
    for match in _DOLLAR.finditer(template):
        if match.start() > at:
            parts.append(FormatText(template[at : match.start()], at, match.start()))
        name = match.group(2) or match.group(3)
        if name:
            parts.append(FormatField(name, match.start(), match.end(), None, None))
        else:
            parts.append(FormatText("$", match.start(), match.end()))
        at = match.end()
    if at < len(template):
        parts.append(FormatText(template[at:], at, len(template)))
    return tuple(parts)


def read_percent(template: str) -> tuple[FormatText | FormatField, ...] | None:
    """Return the parts of a text for `%`, or None where a `%` is none of its fields.

    Fields without a name have the empty one, as those of `format`.
    """
    parts: list[FormatText | FormatField] = []
    at = 0
    for match in _PERCENT.finditer(template):
        if match.start() > at:
            parts.append(FormatText(template[at : match.start()], at, match.start()))
        if match["sign"]:
            parts.append(FormatText("%", match.start(), match.end()))
        else:
            parts.append(FormatField(match["name"] or "", match.start(), match.end(), None, None))
        at = match.end()
    if at < len(template):
        parts.append(FormatText(template[at:], at, len(template)))
    texts = (part for part in parts if isinstance(part, FormatText))
    is_whole = all("%" not in part.text or part.end - part.start == 2 for part in texts)
    return tuple(parts) if is_whole else None


def given_to_percent(node: ast.expr, use: Use, origins: Origins) -> Given:
    """Return what the right side of `text % values` gives."""
    given = Given()
    if isinstance(node, ast.Tuple):
        if any(isinstance(element, ast.Starred) for element in node.elts):
            given.is_open = True
        given.positional.extend(node.elts)
    elif isinstance(node, ast.Dict) or (
        isinstance(node, ast.Name)
        and any(isinstance(origin.node, ast.Dict) for origin in origins.of(node, use))
    ):
        _add_mapping(node, use, origins, given)
    else:
        given.positional.append(node)
    return given


def read_markers(template: str, markers: tuple[str, ...]) -> tuple[FormatText | FormatField, ...]:
    """Return the parts of a text in which markers are replaced: each field is named by its own."""
    pattern = re.compile("|".join(re.escape(m) for m in sorted(markers, key=len, reverse=True)))
    parts: list[FormatText | FormatField] = []
    at = 0
    for match in pattern.finditer(template):
        if match.start() > at:
            parts.append(FormatText(template[at : match.start()], at, match.start()))
        parts.append(FormatField(match.group(), match.start(), match.end(), None, None))
        at = match.end()
    if at < len(template):
        parts.append(FormatText(template[at:], at, len(template)))
    return tuple(parts)


def markers_in(template: str) -> tuple[str, ...]:
    """Return what looks like a marker to replace in a text with other braces: `{question}`."""
    return tuple(dict.fromkeys(_MARKER.findall(template)))


def replaced_in(node: ast.Call) -> tuple[ast.expr, dict[str, ast.expr]]:
    """Return the receiver of a chain of `replace` calls, and the value of each marker."""
    values: dict[str, ast.expr] = {}
    receiver: ast.expr = node
    while (
        isinstance(receiver, ast.Call)
        and isinstance(receiver.func, ast.Attribute)
        and receiver.func.attr == "replace"
        and len(receiver.args) >= 2
    ):
        marker = receiver.args[0]
        if isinstance(marker, ast.Constant) and isinstance(marker.value, str):
            values.setdefault(marker.value, receiver.args[1])
        receiver = receiver.func.value
    return receiver, values
