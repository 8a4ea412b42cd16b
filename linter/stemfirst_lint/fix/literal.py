r"""A string literal taken apart into atoms.

Knows prefixes, quotes, escapes, doubled braces, f-string and `.format` fields, implicit joining.
An atom is the smallest piece of source that may not be cut: a character or its escape, or a whole
field. Raw source is moved as it stands, so an `\n` stays an `\n` and a `{x!r:>8}` a `{x!r:>8}`.
Does not know what the text means or why it moves, nor how a new order is spelled (`spelling`).

Source: Python language reference, "String and Bytes literals"; library reference, "Format String
Syntax". libcst reads the f-string grammar of newer Pythons than the one that runs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import libcst as cst

from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.literals import FormatField, FormatText

_ESCAPE = re.compile(
    r"\\(?:\r\n|\r|\n|[0-7]{1,3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|.)",
    re.DOTALL,
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_AUTOMATIC = re.compile(r"\{(?=[!:.\[}])")
_BEHIND = re.compile(r"((?:[ \t]*\+)?)([ \t]*#[^\r\n]*)")
_ABOVE = re.compile(r"\r?\n[ \t]*(#[^\r\n]*)")
_FIELD = re.compile(r"[^{}!:]*(?:\[[^\]]*\][^{}!:]*)*(?:![rsa])?(?::(?:[^{}]|\{[^{}]*\})*)?\}")


class LiteralError(LintError):
    """Source that is no string literal, or one that we cannot take apart; the message says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the joined literals: what stands around its body.

    In a sum `operand` numbers the operand that it belongs to; an operand that is no literal is a
    part without quotes, whose one atom is the whole expression.
    """

    prefix: str
    quote: str
    operand: int = 0

    @property
    def is_expression(self) -> bool:
        """True for an operand of a sum that is no literal."""
        return not self.quote

    @property
    def is_formatted(self) -> bool:
        """True for f-strings."""
        return "f" in self.prefix.lower()

    @property
    def is_raw(self) -> bool:
        """True if a backslash is a backslash."""
        return "r" in self.prefix.lower()

    @property
    def is_triple(self) -> bool:
        """True if the body may hold line ends."""
        return len(self.quote) == 3


@dataclass(frozen=True, slots=True)
class Atom:
    """`text` is what the model reads (`HOLE` for a field), `raw` how the source spells it.

    `text` is empty for an escaped line end; for `{x=}` it is `HOLE` alone.
    """

    text: str
    raw: str
    part: int


@dataclass(frozen=True, slots=True)
class Joints:
    """How the operands of a sum are joined; operands and statements are named by number.

    Attributes:
        statements: the statement that each operand stands in; all 0 but for `text += ...`.
        between: what stands behind each operand but the last, up to the next one.
        parens: the parentheses around each operand that is a literal, or empty strings.
        outer: the parentheses around each statement's value, or empty strings.
    """

    statements: tuple[int, ...]
    between: tuple[str, ...]
    parens: tuple[tuple[str, str], ...]
    outer: tuple[tuple[str, str], ...]

    def behind(self, left: int, right: int) -> str:
        """Return what to write between two operands, which need not be neighbours."""
        if right == left + 1:
            return self.between[left]
        is_same = self.statements[left] == self.statements[right]
        known = [
            joint
            for number, joint in enumerate(self.between)
            if (self.statements[number] == self.statements[number + 1]) == is_same
            and (not is_same or self.statements[number] == self.statements[left])
        ]
        return next((joint for joint in known if "\n" in joint), known[0] if known else " + ")


@dataclass(frozen=True, slots=True)
class Literal:
    """A string expression: its parts, and its atoms in order.

    `joint` is the white space between two parts; a line end in it means a part a line.
    `comments` holds the comment behind each part, with the blanks before it, or an empty string;
    `above` the comments on lines of their own above each part.
    `joints` says for a sum how its operands are joined, and is None for anything else.
    """

    parts: tuple[Part, ...]
    atoms: tuple[Atom, ...]
    joint: str
    comments: tuple[str, ...] = ()
    above: tuple[tuple[str, ...], ...] = ()
    joints: Joints | None = None

    @property
    def text(self) -> str:
        """The flat text, with one `HOLE` for each field."""
        return "".join(atom.text for atom in self.atoms)

    @property
    def holes(self) -> tuple[str, ...]:
        """The fields as written, with their braces."""
        return tuple(atom.raw for atom in self.atoms if HOLE in atom.text)


Marks = Callable[[str], Sequence[FormatText | FormatField]]
"""Finds the fields of a text that is no `str.format` template."""


def take_apart(source: str, *, is_format: bool, marks: Marks | None = None) -> Literal:
    """Return the atoms of one string expression.

    Args:
        source: the expression, without parentheses around it.
        is_format: the text goes through `str.format`: its braces are fields.
        marks: finds the fields of a text that is filled in another way.

    Raises:
        LiteralError: not a string, bytes, a comment that belongs to no part, or broken fields.
    """
    try:
        node = cst.parse_expression(f"({source}\n)")
    except cst.ParserSyntaxError as error:
        raise LiteralError(f"libcst cannot read it: {error.message}") from None
    parts: list[Part] = []
    atoms: list[Atom] = []
    gaps: dict[int, str] = {}
    collect(node, parts, atoms, gaps)
    if is_format:
        if any(part.is_formatted for part in parts):
            raise LiteralError("an f-string that goes through `.format` too")
        atoms = fields(atoms)
    elif marks is not None:
        atoms = marked(atoms, marks)
    comments = Comments(len(parts))
    comments.around(*around(node))
    spaces = [comments.between(part, gap) for part, gap in gaps.items()]
    return Literal(
        tuple(parts),
        tuple(atoms),
        joint_of(spaces),
        tuple(comments.behind),
        tuple(comments.above),
    )


def joint_of(spaces: Sequence[str]) -> str:
    """Return the white space to put between parts: one with a line end, if there is any."""
    joint = next((space for space in spaces if "\n" in space), spaces[0] if spaces else " ")
    return joint or " "


def around(node: cst.BaseExpression) -> tuple[str, str]:
    """Return what stands in the outermost parentheses before and behind an expression."""
    code = cst.Module([]).code_for_node
    return code(node.lpar[0].whitespace_after), code(node.rpar[-1].whitespace_before)


class Comments:
    """The comments of the parts of a literal, by the number of the part."""

    def __init__(self, parts: int) -> None:
        self.behind = [""] * parts
        self.above: list[tuple[str, ...]] = [()] * parts

    def between(self, part: int, gap: str) -> str:
        """Take the comments between a part and the next one; return the gap without them.

        Raises:
            LiteralError: a comment belongs to neither.
        """
        found = _BEHIND.match(gap)
        if found:
            self.behind[part] = found[2]
            gap = found[1] + gap[found.end() :]
        if part + 1 < len(self.above):
            self.above[part + 1] = tuple(match[1] for match in _ABOVE.finditer(gap))
            gap = _ABOVE.sub("", gap)
        if "#" in gap:
            raise LiteralError("a comment between its parts belongs to neither of them")
        return gap

    def around(self, before: str, behind: str) -> None:
        """Take the comments above the first part and behind the last."""
        lines = [line.strip() for line in before.splitlines()]
        self.above[0] = tuple(line for line in lines if line)
        self.behind[-1] = behind.rstrip()


def collect(
    node: object, parts: list[Part], atoms: list[Atom], gaps: dict[int, str], operand: int = 0
) -> None:
    """Append the parts and atoms of one string node, and what stands behind its parts.

    Raises:
        LiteralError: it is no string, or bytes.
    """
    if isinstance(node, cst.ConcatenatedString):
        collect(node.left, parts, atoms, gaps, operand)
        gaps[len(parts) - 1] = cst.Module([]).code_for_node(node.whitespace_between)
        collect(node.right, parts, atoms, gaps, operand)
    elif isinstance(node, cst.SimpleString):
        part = Part(node.prefix, node.quote, operand)
        if "b" in part.prefix.lower():
            raise LiteralError("it is a byte string")
        body = node.value[len(part.prefix) + len(part.quote) : -len(part.quote)]
        atoms.extend(_characters(body, part, len(parts)))
        parts.append(part)
    elif isinstance(node, cst.FormattedString):
        part = Part(node.prefix, node.quote, operand)
        for piece in node.parts:
            if isinstance(piece, cst.FormattedStringText):
                atoms.extend(_characters(piece.value, part, len(parts)))
            else:
                atoms.append(_field_atom(piece, len(parts)))
        parts.append(part)
    else:
        raise LiteralError("it is no plain string or f-string")


def _field_atom(piece: cst.BaseFormattedStringContent, part: int) -> Atom:
    return Atom(HOLE, cst.Module([]).code_for_node(piece), part)


def _characters(body: str, part: Part, index: int) -> list[Atom]:
    """Return one atom for each character, escape or doubled brace of a literal's body."""
    atoms: list[Atom] = []
    at = 0
    while at < len(body):
        char = body[at]
        if char == "\\" and not part.is_raw:
            match = _ESCAPE.match(body, at)
            if match is None:
                raise LiteralError("a backslash ends it")
            raw = match.group()
            atoms.append(Atom(_unescape(raw), raw, index))
        elif part.is_formatted and body[at : at + 2] in ("{{", "}}"):
            raw = body[at : at + 2]
            atoms.append(Atom(char, raw, index))
        elif char == "\r":
            raw = "\r\n" if body[at + 1 : at + 2] == "\n" else "\r"
            atoms.append(Atom("\n", raw, index))
        else:
            raw = char
            atoms.append(Atom(char, raw, index))
        at += len(raw)
    return atoms


def _unescape(raw: str) -> str:
    code = raw[1:]
    if code in ("\n", "\r\n", "\r"):
        return ""
    if code[0] in "01234567":
        return chr(int(code, 8))
    if code[0] in "xuU" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0] == "N" and len(code) > 1:
        try:
            return unicodedata.lookup(code[2:-1])
        except KeyError:
            raise LiteralError(f"no character is named {code[2:-1]}") from None
    if code in "\\'\"":
        return code
    return _SIMPLE.get(code, raw)  # an unknown escape stands for itself


def fields(atoms: Sequence[Atom]) -> list[Atom]:
    """Join the atoms of each `.format` field and of each doubled brace."""
    text = "".join(atom.text for atom in atoms)
    starts: dict[int, int] = {}
    at = 0
    for number, atom in enumerate(atoms):
        starts.setdefault(at + len(atom.text), number + 1)
        at += len(atom.text)
    joined: list[Atom] = []
    number, at = 0, 0

    def take(end: int, shown: str) -> None:
        nonlocal number, at
        last = starts[end]
        if len({atom.part for atom in atoms[number:last]}) > 1:
            raise LiteralError("a field spans two literals")
        raw = "".join(atom.raw for atom in atoms[number:last])
        joined.append(Atom(shown, raw, atoms[number].part))
        number, at = last, end

    while number < len(atoms):
        atom = atoms[number]
        if atom.text not in ("{", "}"):
            joined.append(atom)
            number, at = number + 1, at + len(atom.text)
        elif text[at : at + 2] == atom.text * 2:
            take(at + 2, atom.text)
        else:
            field = _FIELD.match(text, at + 1) if atom.text == "{" else None
            if field is None:
                raise LiteralError(f"the brace at character {at} does not belong to a field")
            take(field.end(), HOLE)
    return joined


def marked(atoms: Sequence[Atom], marks: Marks) -> list[Atom]:
    """Join the atoms of each field that `marks` finds, and of each escaped sign."""
    ends: dict[int, int] = {}
    at = 0
    for number, atom in enumerate(atoms):
        at += len(atom.text)
        ends[at] = number + 1
    joined: list[Atom] = []
    number = 0
    for found in marks("".join(atom.text for atom in atoms)):
        taken = atoms[number : ends[found.end]]
        number = ends[found.end]
        if isinstance(found, FormatText) and len(found.text) == found.end - found.start:
            joined.extend(taken)
            continue
        if len({atom.part for atom in taken}) > 1:
            raise LiteralError("a field spans two literals")
        text = HOLE if isinstance(found, FormatField) else found.text
        joined.append(Atom(text, "".join(atom.raw for atom in taken), taken[0].part))
    return joined + list(atoms[number:])


def number_fields(literal: Literal) -> Literal:
    """Return a `.format` literal whose automatic fields have their numbers: `{}` is `{0}`.

    Raises:
        LiteralError: an automatic field stands inside another field's format spec.
    """
    atoms: list[Atom] = []
    count = 0
    for atom in literal.atoms:
        if atom.text == HOLE and _AUTOMATIC.match(atom.raw):
            if _AUTOMATIC.search(atom.raw, 1):
                raise LiteralError("a field without a name inside another field")
            atom = replace(atom, raw=f"{{{count}{atom.raw[1:]}")
            count += 1
        atoms.append(atom)
    return replace(literal, atoms=tuple(atoms))
