r"""A string literal taken apart into atoms, and put together again in another order.

Knows prefixes, quotes, escapes, doubled braces, f-string and `.format` fields, implicit joining.
An atom is the smallest piece of source that may not be cut: a character or its escape, or a whole
field. Raw source is moved as it stands, so an `\n` stays an `\n` and a `{x!r:>8}` a `{x!r:>8}`.
Does not know what the text means or why it moves.

Source: Python language reference, "String and Bytes literals"; library reference, "Format String
Syntax". libcst reads the f-string grammar of newer Pythons than the one that runs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import libcst as cst

from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.layout import Run, Span
from stemfirst_lint.fix.words import HOLE

_ESCAPE = re.compile(
    r"\\(?:\r\n|\r|\n|[0-7]{1,3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|.)",
    re.DOTALL,
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_AUTOMATIC = re.compile(r"\{(?=[!:.\[}])")
_COMMENT = re.compile(r"[ \t]*#[^\r\n]*")
_FIELD = re.compile(r"[^{}!:]*(?:\[[^\]]*\][^{}!:]*)*(?:![rsa])?(?::(?:[^{}]|\{[^{}]*\})*)?\}")


class LiteralError(LintError):
    """Source that is no string literal, or one that we cannot take apart; the message says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the joined literals: what stands around its body."""

    prefix: str
    quote: str

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
class Literal:
    """A string expression: its parts, and its atoms in order.

    `joint` is the white space between two parts; a line end in it means a part a line.
    `comments` holds what stands behind each part but the last, with the blanks before it.
    """

    parts: tuple[Part, ...]
    atoms: tuple[Atom, ...]
    joint: str
    comments: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The flat text, with one `HOLE` for each field."""
        return "".join(atom.text for atom in self.atoms)

    @property
    def holes(self) -> tuple[str, ...]:
        """The fields as written, with their braces."""
        return tuple(atom.raw for atom in self.atoms if HOLE in atom.text)


def take_apart(source: str, *, is_format: bool) -> Literal:
    """Return the atoms of one string expression.

    Args:
        source: the expression, without parentheses around it.
        is_format: the text goes through `str.format`: its braces are fields.

    Raises:
        LiteralError: not a string, bytes, a comment between its parts, or broken fields.
    """
    try:
        node = cst.parse_expression(f"({source})")
    except cst.ParserSyntaxError as error:
        raise LiteralError(f"libcst cannot read it: {error.message}") from None
    parts: list[Part] = []
    atoms: list[Atom] = []
    joints: list[str] = []
    _collect(node, parts, atoms, joints)
    if is_format:
        if any(part.is_formatted for part in parts):
            raise LiteralError("an f-string that goes through `.format` too")
        atoms = _fields(atoms)
    comments = [_COMMENT.match(joint) for joint in joints]
    spaces = [
        joint[match.end() :] if match else joint
        for joint, match in zip(joints, comments, strict=True)
    ]
    if any("#" in space for space in spaces):
        raise LiteralError("a comment on a line of its own stands between its parts")
    joint = next((space for space in spaces if "\n" in space), spaces[0] if spaces else " ")
    behind = tuple(match.group() if match else "" for match in comments)
    return Literal(tuple(parts), tuple(atoms), joint or " ", behind)


def _collect(node: object, parts: list[Part], atoms: list[Atom], joints: list[str]) -> None:
    if isinstance(node, cst.ConcatenatedString):
        _collect(node.left, parts, atoms, joints)
        joints.append(cst.Module([]).code_for_node(node.whitespace_between))
        _collect(node.right, parts, atoms, joints)
    elif isinstance(node, cst.SimpleString):
        part = Part(node.prefix, node.quote)
        if "b" in part.prefix.lower():
            raise LiteralError("it is a byte string")
        body = node.value[len(part.prefix) + len(part.quote) : -len(part.quote)]
        atoms.extend(_characters(body, part, len(parts)))
        parts.append(part)
    elif isinstance(node, cst.FormattedString):
        part = Part(node.prefix, node.quote)
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


def _fields(atoms: Sequence[Atom]) -> list[Atom]:
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


@dataclass(slots=True)
class _Fragment:
    """Source that goes into one literal; `part` None asks for a literal of its own."""

    part: int | None
    atoms: list[Atom]


def spell(literal: Literal, runs: Sequence[Run]) -> str:
    """Return the source of `literal` with its text in the order of `runs`.

    Raises:
        LiteralError: a run would cut an atom.
    """
    newline = "\r\n" if any("\r\n" in atom.raw for atom in literal.atoms) else "\n"
    bounds = _bounds(literal)
    fragments: list[_Fragment] = []
    leading = list(literal.atoms[: bounds[0]])  # `\` behind an opening quote stays there
    trailing = literal.atoms[bounds[len(literal.text)] :]  # and so it does at the very end
    waiting = ""
    for run in runs:
        atoms = [] if isinstance(run, str) else _slice(literal, bounds, run)
        blank = run if isinstance(run, str) else "".join(atom.text for atom in atoms)
        if not blank.strip():
            if fragments and atoms and all(atom.part == fragments[-1].part for atom in atoms):
                fragments[-1].atoms.extend(atoms)
            elif not fragments and atoms:
                leading.extend(atoms)
            elif fragments and atoms and run is not runs[-1]:
                fragments.append(_Fragment(atoms[0].part, atoms))  # its neighbours are the old ones
            elif fragments:
                _append_blank(literal, fragments, blank, newline)
            else:
                waiting += blank
            continue
        for atom in atoms:
            if fragments and fragments[-1].part == atom.part:
                fragments[-1].atoms.append(atom)
            else:
                fragments.append(_Fragment(atom.part, [atom]))
    if not fragments:
        raise LiteralError("there is no text in it")
    first = fragments[0]
    if waiting:
        first.atoms[:0] = _blank_atoms(waiting, literal.parts[first.part or 0], newline)
    if leading and all(atom.part == first.part for atom in leading):
        first.atoms[:0] = leading
    elif leading:
        head = "".join(atom.text for atom in leading)
        if any(not atom.text for atom in leading):
            fragments.insert(0, _Fragment(leading[0].part, leading))
        elif head:
            first.atoms[:0] = _blank_atoms(head, literal.parts[first.part or 0], newline)
    if trailing and trailing[0].part == fragments[-1].part:
        fragments[-1].atoms.extend(trailing)
    return _joined(literal, fragments)


def _joined(literal: Literal, fragments: list[_Fragment]) -> str:
    """Return the fragments as literals, each comment behind the end of its old part."""
    ends = {atom.part: atom for atom in literal.atoms if atom.text.strip()}
    spelled: list[str] = []
    comment, kept = "", 0
    for fragment in fragments:
        comment = ""
        if fragment.part is not None and fragment.part < len(literal.comments):
            end = ends.get(fragment.part)
            if any(atom is end for atom in fragment.atoms):
                comment = literal.comments[fragment.part]
        kept += bool(comment)
        spelled.append(_literal_of(literal, fragment) + comment)
    if comment:
        raise LiteralError("a comment between its parts would come last")
    if kept != sum(map(bool, literal.comments)):
        raise LiteralError("a comment between its parts would be lost")
    return literal.joint.join(spelled)


def _bounds(literal: Literal) -> dict[int, int]:
    """Map each character offset between atoms to the number of atoms in front of it.

    Atoms without text belong to what stands before them, at both ends to the layout.
    """
    bounds: dict[int, int] = {}
    at = 0
    for number, atom in enumerate(literal.atoms):
        at += len(atom.text)
        bounds[at] = number + 1
    leading = 0
    while leading < len(literal.atoms) and not literal.atoms[leading].text:
        leading += 1
    bounds[0] = leading
    trailing = len(literal.atoms)
    while trailing > leading and not literal.atoms[trailing - 1].text:
        trailing -= 1
    bounds[at] = trailing
    return bounds


def _slice(literal: Literal, bounds: dict[int, int], run: Span) -> list[Atom]:
    if run.start not in bounds or run.end not in bounds:
        raise LiteralError("a run would cut an escape or a field")
    return list(literal.atoms[bounds[run.start] : bounds[run.end]])


def _append_blank(literal: Literal, fragments: list[_Fragment], blank: str, newline: str) -> None:
    last = fragments[-1]
    part = literal.parts[last.part if last.part is not None else 0]
    if part.is_raw and not part.is_triple and "\n" in blank:
        # A raw literal cannot spell a line end: give it a plain one of its own.
        fragments.append(_Fragment(None, [Atom(blank, blank.replace("\n", "\\n"), -1)]))
        return
    while blank.startswith("\n") and not last.atoms[-1].text:
        last.atoms.pop()  # an escaped line end in front of a real one
    last.atoms.extend(_blank_atoms(blank, part, newline))


def _blank_atoms(blank: str, part: Part, newline: str) -> list[Atom]:
    spelled = newline if part.is_triple else "\\n"
    return [Atom(char, spelled if char == "\n" else char, -1) for char in blank]


def _literal_of(literal: Literal, fragment: _Fragment) -> str:
    if fragment.part is None:
        return '"' + "".join(atom.raw for atom in fragment.atoms) + '"'
    part = literal.parts[fragment.part]
    prefix = part.prefix
    atoms = fragment.atoms
    had_hole = any(HOLE in atom.text for atom in literal.atoms if atom.part == fragment.part)
    if part.is_formatted and had_hole and not any(HOLE in atom.text for atom in atoms):
        # What is left needs no `f`, and linters would say so.
        prefix = re.sub("[fF]", "", prefix)
        atoms = [replace(a, raw=a.text) if a.raw in ("{{", "}}") else a for a in atoms]
    body = "".join(atom.raw for atom in atoms)
    if atoms[-1].raw == part.quote[0] and not part.is_raw:
        body = body[:-1] + "\\" + part.quote[0]
    return f"{prefix}{part.quote}{body}{part.quote}"
