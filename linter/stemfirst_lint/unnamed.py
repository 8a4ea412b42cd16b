"""Finds prompts by their words alone: long texts that address a model, wherever they stand.

For judges' templates in a configuration, and texts that a function of any name returns. Knows the
long strings of a module. What is put into a constant's field is told by the field's name. Knows
nothing of rules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from stemfirst_lint.constants import constant_text
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.literals import FormatField, read_format
from stemfirst_lint.model import Form, Sink, Site
from stemfirst_lint.scopes import Use
from stemfirst_lint.templates import Reader
from stemfirst_lint.wording import is_plain, may_be_plain


def unnamed_sites(
    reader: Reader, modules: Iterable[ModuleIndex], known: Iterable[Site]
) -> Iterator[Site]:
    """Yield a site for each long text of some modules that can be nothing but a prompt.

    Args:
        reader: reads templates.
        modules: where to look.
        known: what was found by other ways; its texts are left out.
    """
    lines: dict[str, set[int]] = {}
    for site in known:
        for piece in (site.template, *site.template.pieces):
            place = piece.location
            lines.setdefault(place.path, set()).update(range(place.line, place.end_line + 1))
    for module in modules:
        yield from _in_module(reader, module, lines.get(module.path, set()))


def _in_module(reader: Reader, module: ModuleIndex, taken: set[int]) -> Iterator[Site]:
    for node, use in module.texts:
        if not may_be_plain(_text_of(reader, node, use)):
            continue  # most texts: to judge what stands in them costs far more
        place = module.source.place(node)
        if not taken.isdisjoint(range(place.line, place.end_line + 1)):
            continue
        if isinstance(node, ast.Constant):
            form = _form_of(str(node.value))
            found = reader.unfilled(node, use, form=form)
        else:
            found = reader.templates(node, use)
        for template in found:
            if template.location == place and template.holes and is_plain(template):
                yield Site(template, Sink.NAME, template.location)


def _text_of(reader: Reader, node: ast.expr, use: Use) -> str:
    """All that may stay in a long text, and maybe more; empty where nothing is put into it."""
    if isinstance(node, ast.Constant):
        text = str(node.value)
        return text if "{" in text else ""
    assert isinstance(node, ast.JoinedStr)
    texts: list[str] = []
    for part in node.values:
        value = part.value if isinstance(part, ast.FormattedValue) else part
        texts.append(constant_text(reader.project, value, use) or "")
    return "\n".join(texts)


def _form_of(text: str) -> Form:
    """The syntax of a constant's fields; braces that `format` would not take are replaced."""
    parts = read_format(text)
    fields = [part for part in parts or () if isinstance(part, FormatField)]
    is_format = parts is not None and all(field.name.isidentifier() for field in fields)
    return Form.FORMAT if is_format else Form.REPLACE
