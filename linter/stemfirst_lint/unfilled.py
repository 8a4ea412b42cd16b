"""Finds templates that are filled out of sight: constants with fields that no call was seen to use.

Knows where constants with a prompt's name stand: modules, classes, and dicts of prompts. What is
put into a field is told by the field's name alone. Knows nothing of rules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from stemfirst_lint import naming
from stemfirst_lint.far_markers import FarMarkers
from stemfirst_lint.index import ModuleIndex
from stemfirst_lint.literals import FormatField, read_format
from stemfirst_lint.model import Form, Location, Sink, Site
from stemfirst_lint.patterns import pattern
from stemfirst_lint.scopes import Bind, ScopeKind, Use, last_name
from stemfirst_lint.templates import Reader, summands
from stemfirst_lint.wording import is_worded

_LEAST_CHARACTERS = 300
_JINJA = pattern(r"\{\{-?\s*[A-Za-z_][\w.]*\s*(\|[^{}]*)?-?\}\}|\{%")
_DOLLAR = pattern(r"\$\{[a-z_]\w*\}")
_SPEC = pattern(r"([^{}]?[<>=^])?[-+ ]?#?0?\d*[,_]?(\.\d+)?[a-zA-Z%]?$|%")
"""How a value is formatted; `{title: a short name}` is prose."""
_FIELD_NAME = pattern(r"[A-Za-z_]\w*([.\[].*)?$")


def unfilled_sites(
    reader: Reader, module: ModuleIndex, seen: frozenset[Location], far_markers: FarMarkers
) -> Iterator[Site]:
    """Yield a site for each constant of a module that is named like a prompt and has fields.

    Args:
        reader: reads templates.
        module: where to look.
        seen: places of texts whose use is known; they are left out.
        far_markers: fills the markers that code replaces somewhere else.
    """
    for value, use in _constants(module):
        if isinstance(value, ast.BinOp):
            yield from _of_sum(reader, value, use)
            continue
        node = _text_of(value)
        text = str(node.value) if node is not None else ""
        if node is None or len(text) < _LEAST_CHARACTERS:
            continue
        if use.scope.module.source.place(node) in seen:
            continue
        found = [far_markers.filled(constant) for constant in reader.templates(node, use)]
        templates = [template for template in found if template is not None]
        form = _form_of(text)
        if form is not None and not templates:
            templates = reader.unfilled(node, use, form=form)
        for template in templates:
            if template.location not in seen and is_worded(template):
                yield Site(template, Sink.NAME, template.location)


def _of_sum(reader: Reader, value: ast.BinOp, use: Use) -> Iterator[Site]:
    """Yield a site for a sum of constants, some of which have fields."""
    parts = list(summands(value))
    texts = [
        str(part.value)
        for part in parts
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    is_constant = all(isinstance(part, ast.Constant | ast.Name | ast.Attribute) for part in parts)
    if not is_constant or not any(_is_format(text) for text in texts):
        return
    if any("{" in text and not _is_format(text) and read_format(text) is None for text in texts):
        return
    template = reader.unfilled_sum(value, use)
    if template is not None and is_worded(template):
        yield Site(template, Sink.NAME, template.location)


def _constants(module: ModuleIndex) -> Iterator[tuple[ast.expr, Use]]:
    is_of_prompts = naming.PROMPT_PATH.search(module.path.removesuffix(".py")) is not None

    def is_named(name: str) -> bool:
        return is_of_prompts or naming.PROMPT_NAME.search(name) is not None

    for scope in [module.scope, *module.classes, *module.functions]:
        is_owner = scope.kind is ScopeKind.CLASS and naming.PROMPT_OWNER.search(scope.name)
        for name, bindings in scope.bindings.items():
            for binding in bindings:
                if binding.how is not Bind.ASSIGN or binding.value is None:
                    continue
                if isinstance(binding.value, ast.Dict):
                    for item in _items(binding.value, is_prompt=is_named(name)):
                        yield item, binding.use
                elif is_owner or is_named(name):
                    yield binding.value, binding.use
        for name, bindings in scope.attributes.items():
            for binding in bindings:
                if binding.how is Bind.ASSIGN and binding.value is not None and is_named(name):
                    yield binding.value, binding.use
        for name, items in scope.items.items():
            for key, item_binding in items:
                if item_binding.value is not None and (is_named(name) or _is_prompt_key(key)):
                    yield item_binding.value, item_binding.use


def _items(node: ast.Dict, *, is_prompt: bool) -> Iterator[ast.expr]:
    """Yield the prompts of a dict, and of the dicts in it."""
    for key, item in zip(node.keys, node.values, strict=True):
        is_named = is_prompt or _is_prompt_key(key)
        if isinstance(item, ast.Dict):
            yield from _items(item, is_prompt=is_named)
        elif is_named:
            yield item


def _is_prompt_key(key: ast.expr | None) -> bool:
    return (
        isinstance(key, ast.Constant)
        and isinstance(key.value, str)
        and naming.PROMPT_NAME.search(key.value) is not None
    )


def _text_of(node: ast.expr) -> ast.Constant | None:
    """The constant that a value is, also inside `dedent(...)`, `.strip()` or a class of texts."""
    for _ in range(3):
        match node:
            case ast.Constant(value=str()):
                return node
            case ast.Call(func=ast.Attribute(attr="strip" | "lstrip" | "rstrip"), args=[]):
                assert isinstance(node.func, ast.Attribute)
                node = node.func.value
            case ast.Call(args=[inner]) if last_name(node.func) in (
                "dedent",
                "cleandoc",
                "TextPrompt",
                "Template",
            ):
                node = inner
            case _:
                return None
    return None


def _form_of(text: str) -> Form | None:
    """The syntax of a text's fields, or None if it has none that we can tell."""
    if _JINJA.search(text):
        # `{{x}}` is a literal brace in a format string that has other fields.
        return None if _is_format(text) else Form.JINJA
    if _is_format(text):
        return Form.FORMAT
    return Form.DOLLAR if _DOLLAR.search(text) else None


def _is_format(text: str) -> bool:
    parts = read_format(text)
    fields = [part for part in parts or () if isinstance(part, FormatField)]
    return bool(fields) and all(
        _FIELD_NAME.match(part.name) and _SPEC.match(part.format_spec or "") for part in fields
    )
