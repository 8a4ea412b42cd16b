"""The source of a literal, or of a sum of literals and values, in a new order.

Knows atoms and parts, and how Python joins them: side by side, by `+`, by `text += ...`. Does not
know what the text means or why it moves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stemfirst_lint.fix.layout import Run, Span
from stemfirst_lint.fix.literal import Atom, Joints, Literal, LiteralError, Part
from stemfirst_lint.fix.words import HOLE


@dataclass(slots=True)
class _Fragment:
    """Source that goes into one literal; `part` None asks for a literal of its own.

    `behind` and `above` are the comments that go with it.
    """

    part: int | None
    atoms: list[Atom]
    behind: str = ""
    above: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Spelled:
    """Source of one literal, or of several, with its comments."""

    text: str
    behind: str
    above: tuple[str, ...]


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
    if literal.joints is not None and literal.parts[first.part or 0].is_expression:
        waiting = "".join(atom.text for atom in leading) + waiting
        if waiting:
            fragments.insert(0, _own(waiting))
    elif waiting:
        first.atoms[:0] = _blank_atoms(waiting, literal.parts[first.part or 0], newline)
    if first is not fragments[0]:
        pass  # the layout at the head has a literal of its own
    elif leading and all(atom.part == first.part for atom in leading):
        first.atoms[:0] = leading
    elif leading:
        head = "".join(atom.text for atom in leading)
        if any(not atom.text for atom in leading):
            fragments.insert(0, _Fragment(leading[0].part, leading))
        elif head:
            first.atoms[:0] = _blank_atoms(head, literal.parts[first.part or 0], newline)
    if trailing and trailing[0].part == fragments[-1].part:
        fragments[-1].atoms.extend(trailing)
    _give_comments(literal, fragments)
    if literal.joints is not None:
        return _summed(literal, _merged(literal, fragments, newline), literal.joints)
    return _headed(_side_by_side(literal, fragments), literal.joint)


def _give_comments(literal: Literal, fragments: list[_Fragment]) -> None:
    """Give each comment to the fragment that the end, or the beginning, of its part went to."""
    ends = {atom.part: atom for atom in literal.atoms if atom.text.strip()}
    heads = {atom.part: atom for atom in reversed(literal.atoms) if atom.text.strip()}
    behind = list(literal.comments)
    for part in range(len(behind) - 1, 0, -1):
        if part not in ends and not behind[part - 1]:  # white space says nothing to comment on
            behind[part - 1], behind[part] = behind[part], ""
    for fragment in fragments:
        if fragment.part is None:
            continue
        if any(atom is ends.get(fragment.part) for atom in fragment.atoms):
            fragment.behind = behind[fragment.part]
        if any(atom is heads.get(fragment.part) for atom in fragment.atoms):
            fragment.above = literal.above[fragment.part]
    if sum(bool(fragment.behind) for fragment in fragments) != sum(map(bool, behind)) or (
        sum(len(fragment.above) for fragment in fragments) != sum(map(len, literal.above))
    ):
        raise LiteralError("a comment between its parts would be lost")


def _spaced(joint: str, behind: str, above: tuple[str, ...]) -> str:
    """Return what stands between two neighbours with the comments of the left and the right."""
    if not behind and not above:
        return joint
    ends = list(re.finditer(r"\r?\n", joint))
    if not ends:
        raise LiteralError("a comment between its parts would have no line to itself")
    first, last = ends[0], ends[-1]
    indent = re.compile(r"[ \t]*").match(joint, last.end())
    assert indent is not None
    lines = "".join(f"{last.group()}{indent.group()}{comment}" for comment in above)
    middle = joint[first.start() : last.start()]
    return joint[: first.start()] + behind + middle + lines + joint[last.start() :]


def _headed(spelled: _Spelled, joint: str) -> str:
    """Return the whole, with the comments that come first and last."""
    head = ""
    if spelled.above:
        end = re.search(r"(\r?\n)([ \t]*)[^\n]*\Z", joint)
        if end is None:
            raise LiteralError("a comment between its parts would have no line to itself")
        head = "".join(f"{comment}{end[1]}{end[2]}" for comment in spelled.above)
    return head + spelled.text + spelled.behind


def _own(blank: str) -> _Fragment:
    return _Fragment(None, [Atom(blank, blank.replace("\n", "\\n"), -1)])


def _merged(literal: Literal, fragments: list[_Fragment], newline: str) -> list[_Fragment]:
    """Put layout into the literal behind it, and join what one line would hold side by side."""
    joints = literal.joints
    assert joints is not None
    merged: list[_Fragment] = []
    for fragment in fragments:
        last = merged[-1] if merged else None
        part = None if fragment.part is None else literal.parts[fragment.part]
        if last is None or part is None or part.is_expression:
            merged.append(fragment)
            continue
        if last.part is None and not part.is_raw:
            blank = "".join(atom.text for atom in last.atoms)
            merged[-1] = replace(
                fragment, atoms=[*_blank_atoms(blank, part, newline), *fragment.atoms]
            )
            continue
        before = None if last.part is None else literal.parts[last.part]
        if (
            before is not None
            and before.operand != part.operand
            and (before.prefix, before.quote) == (part.prefix, part.quote)
            and "\n" not in joints.behind(before.operand, part.operand)
            and not last.behind
            and not fragment.above
            and not re.search(r"\\[0-7]{1,2}$", last.atoms[-1].raw)
        ):
            last.atoms.extend(fragment.atoms)
            last.behind = fragment.behind
            continue
        merged.append(fragment)
    return merged


def _summed(literal: Literal, fragments: list[_Fragment], joints: Joints) -> str:
    """Return the fragments as a sum, or as statements that each add to the text."""
    operands: list[tuple[int, list[_Fragment]]] = []  # what stands side by side without a `+`
    is_open = False
    for fragment in fragments:
        number = operands[-1][0] if operands else 0
        is_literal = False
        if fragment.part is not None:
            part = literal.parts[fragment.part]
            is_literal = not part.is_expression
            if is_open and is_literal and number == part.operand:
                operands[-1][1].append(fragment)
                continue
            number = part.operand
        operands.append((number, [fragment]))
        is_open = is_literal
    statements: list[tuple[int, str]] = []
    last = 0
    behind = ""
    above: tuple[str, ...] = ()
    for number, inside in operands:
        spelled = _side_by_side(literal, inside)
        text = spelled.text
        if len(inside) > 1:
            left, right = joints.parens[number]
            text = f"{left}{text}{right}"
        statement = joints.statements[number]
        if not statements:
            above = spelled.above
            statements.append((statement, text))
        elif statements[-1][0] == statement:
            plus = " + " if last == number else joints.behind(last, number)
            if (behind or spelled.above) and "\n" not in plus:
                plus = next((joint for joint in joints.between if "\n" in joint), plus)
            plus = _spaced(plus, behind, spelled.above)
            statements[-1] = (statement, statements[-1][1] + plus + text)
        else:
            between = _spaced(joints.behind(last, number), behind, spelled.above)
            statements.append((statement, between))
            statements.append((statement, text))
        last, behind = number, spelled.behind
    between = next((joint for joint in joints.between if "\n" in joint), "")
    return _headed(_Spelled(_closed(statements, joints), behind, above), between)


def _closed(statements: Sequence[tuple[int, str]], joints: Joints) -> str:
    """Return the statements' values and what stands between them, in their parentheses."""
    out: list[str] = []
    for place, (statement, text) in enumerate(statements):
        left, right = joints.outer[statement] if place % 2 == 0 else ("", "")
        out.append(f"{left}{text}{right}")
    return "".join(out)


def _side_by_side(literal: Literal, fragments: Sequence[_Fragment]) -> _Spelled:
    """Return fragments as literals that are joined without a `+`."""
    text = ""
    for number, fragment in enumerate(fragments):
        if number:
            text += _spaced(literal.joint, fragments[number - 1].behind, fragment.above)
        text += _literal_of(literal, fragment)
    return _Spelled(text, fragments[-1].behind, fragments[0].above)


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
    if last.part is None or literal.parts[last.part].is_expression:
        if blank:
            fragments.append(_own(blank))
        return
    part = literal.parts[last.part]
    if part.is_raw and not part.is_triple and "\n" in blank:
        # A raw literal cannot spell a line end: give it a plain one of its own.
        fragments.append(_own(blank))
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
    if part.is_expression:
        return "".join(atom.raw for atom in fragment.atoms)
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
