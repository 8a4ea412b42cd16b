"""Templates for the tests of `fix`, read from source without the detection stage.

Names decide the tier of a hole: `now` and `nonce` are volatile, `profile` is session, `tenant` is
tenant, names that start with `c_` are constants, `unknown` is unknown, all others are request.
"""

from __future__ import annotations

import ast
import re
from dataclasses import replace

from stemfirst.tiers import Tier
from stemfirst_lint.fix.literal import Literal, LiteralError, take_apart
from stemfirst_lint.fix.sums import growth_at, take_apart_growth, take_apart_sum
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.model import (
    Evidence,
    Finding,
    Form,
    Hole,
    Kind,
    Location,
    Piece,
    Sink,
    Site,
    Template,
    Text,
    Verdict,
)
from stemfirst_lint.source import Source

RULES = (
    "Answer only from the policy of the shop. Be brief, be kind, and never promise a refund "
    "that the policy does not grant. Name the paragraph that you rely on. If the policy says "
    "nothing, say so and offer to open a ticket. Write in plain words, in the language of the "
    "customer, without lists, without exclamation marks, and without a sales tone. Refuse what "
    "has nothing to do with the shop, in one polite sentence. Do not guess an order number. "
    "Repeat amounts exactly as they are written, with the currency behind the number. If someone "
    "is angry, stay calm and say what you can do. Never name another customer, and never repeat "
    "a card number."
)
"""Constant text of more than 128 tokens, by its bytes too."""

TIERS = {"now": Tier.VOLATILE, "nonce": Tier.VOLATILE, "profile": Tier.SESSION}


def verdict(name: str) -> Verdict:
    if name == "now":
        return Verdict(Tier.VOLATILE, Kind.CLOCK, (Evidence("the clock"),))
    if name == "nonce":
        return Verdict(Tier.VOLATILE, Kind.RANDOM)
    if name == "tenant":
        return Verdict(Tier.TENANT, Kind.CONFIG)
    if name.startswith("c_"):
        return Verdict(Tier.STATIC, Kind.CONSTANT)
    if name == "unknown":
        return Verdict(None, Kind.UNKNOWN)
    return Verdict(TIERS.get(name, Tier.REQUEST), Kind.PARAMETER)


def hole(raw: str, location: Location) -> Hole:
    inner = raw[1:-1]
    match = re.match(r"(.*?)(=?)(?:!([rsa]))?(?::(.*))?$", inner, re.DOTALL)
    assert match
    source = match[1].strip() if re.match(r"[\w.\[\]'\" ]*$", match[1]) else inner
    name = re.findall(r"[A-Za-z_]\w*", inner)
    return Hole(
        source,
        name[-1 if "." in source else 0] if name else inner,
        location,
        verdict(name[-1 if "." in source else 0] if name else inner),
        match[3],
        match[4],
        is_positional=not name or inner[:1].isdigit(),
        is_debug=bool(match[2]),
    )


def template(literal: str, location: Location, form: Form = Form.FSTRING) -> Template:
    """Return the template of one literal's source."""
    if form is Form.CONCAT:
        read = take_apart_sum(literal)
    else:
        read = take_apart(literal, is_format=form is Form.FORMAT)
    return of_literal(read, location, form)


def of_literal(read: Literal, location: Location, form: Form) -> Template:
    """Return the template of a literal that was taken apart."""
    holes = iter(read.holes)
    pieces: list[Piece] = []
    for number, part in enumerate(read.text.split(HOLE)):
        if number:
            raw = next(holes)
            pieces.append(hole(raw if raw[0] == "{" else f"{{{raw}}}", location))
        if part:
            pieces.append(Text(part, location))
    return Template(form, location, tuple(pieces))


def of_text(text: str, form: Form = Form.FSTRING) -> Template:
    """Return the template of `text` with `{name}` holes."""
    literal = '"""' + text.replace("\\", "\\\\") + '"""'
    return template(
        ("f" if form is Form.FSTRING else "") + literal, Location("t.py", 1, 1, 1, 1), form
    )


def findings(path: str, text: str, role: str | None = None) -> list[Finding]:
    """Return one finding for each f-string, and each string that `.format` is called on by name."""
    source = Source(path, text)
    formatted = {
        node.func.value.id
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "format"
        and isinstance(node.func.value, ast.Name)
    }
    found: list[Finding] = []
    for node in ast.walk(ast.parse(text)):
        value, form = None, Form.FSTRING
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            is_named = node.targets[0].id in formatted
            form = Form.FORMAT if is_named else Form.FSTRING
        elif isinstance(node, ast.Return | ast.keyword | ast.NamedExpr | ast.Expr):
            value = node.value
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
            form = Form.CONCAT
        is_wanted = isinstance(value, ast.JoinedStr) or form is not Form.FSTRING
        if value is None or not is_wanted:
            continue
        start, end = source.span(value)
        location = source.location(start, end)
        try:
            made = template(text[start:end], location, form)
        except LiteralError:  # a comment inside: detection reads it, and rewriting refuses
            made = template(re.sub("#.*", "", text[start:end]), location, form)
        growth = growth_at(text, start, end)
        if growth is not None:
            try:
                read = take_apart_growth(text[growth.start : growth.end], growth)
            except LiteralError:  # detection reads it, and rewriting refuses
                read = take_apart(f"f'Time: {{now}}\\n{RULES}'", is_format=False)
            made = _scattered(of_literal(read, location, Form.CONCAT))
        site = Site(made, Sink.MESSAGE, location, role)
        found.append(
            Finding("SF301", "hole-before-static", "m", location, 200, template=made, site=site)
        )
    return found


def _scattered(template: Template) -> Template:
    """Return the template of a text that grows: its last piece stands further down."""
    *pieces, last = template.pieces
    here = template.location
    below = Location(here.path, here.end_line + 1, 1, here.end_line + 1, 2)
    return replace(template, pieces=(*pieces, replace(last, location=below)))
