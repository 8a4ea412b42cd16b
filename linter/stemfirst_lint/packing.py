"""Findings as JSON-ready values and back; only the classes of `model` are ever made."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

from stemfirst.tiers import Tier

from stemfirst_lint import model, places

_CLASSES: dict[str, type[Any]] = {
    name: value
    for name, value in vars(model).items()
    if isinstance(value, type) and value.__module__ in (model.__name__, places.__name__)
} | {"Tier": Tier}


def without_pieces(finding: model.Finding) -> model.Finding:
    """Return a finding that can be shown but not fixed: its template's text is left out."""
    if finding.template is None:
        return finding
    template = replace(finding.template, pieces=(), calls=())
    site = finding.site
    if site is not None:
        site = replace(site, template=template, following=model.Following())
    return replace(finding, template=template, site=site)


def pack(value: Any) -> Any:
    """Return JSON-ready values for dataclasses, enums and tuples of `model`."""
    if isinstance(value, Enum):
        return [type(value).__name__, value.value]
    if is_dataclass(value):
        given = [pack(getattr(value, field.name)) for field in fields(value)]
        return [type(value).__name__, *given]
    if isinstance(value, tuple):
        return ["", *(pack(item) for item in value)]
    assert value is None or isinstance(value, str | int | float | bool)
    return value


def unpack(value: Any) -> Any:
    """Return what `pack` was given."""
    if not isinstance(value, list):
        return value
    name, *given = value
    if not name:
        return tuple(unpack(item) for item in given)
    return _CLASSES[name](*(unpack(item) for item in given))
