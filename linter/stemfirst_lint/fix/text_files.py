r"""Prompt files: text, Markdown, Jinja, and block scalars of YAML, read as one literal.

Knows line ends, a byte order mark, and the indentation of a block scalar: what stands at the start
of every line belongs to the line end before it. Knows nothing of blocks or order.
"""

from __future__ import annotations

import re

from stemfirst_lint.fix.literal import Atom, Literal, LiteralError, Marks, Part, fields, marked
from stemfirst_lint.named_files import BLOCK_SCALAR

_PART = Part("r", '"""')
"""A file is spelled like a raw literal between three quotes, which are then left out."""
_MARK = "\ufeff"
_LINE_END = re.compile(r"\r\n|\n|\r")
_BLANK_LINE = re.compile(r"[ \t]*(?=[\r\n]|\Z)")


def is_text_file(path: str) -> bool:
    """Return True for what is not Python."""
    return not path.endswith((".py", ".pyi", ".ipynb"))


def is_yaml(path: str) -> bool:
    """Return True for YAML, in which a prompt is a value among others."""
    return path.endswith((".yaml", ".yml"))


def take_apart_text(
    source: str, *, is_format: bool, marks: Marks | None = None, indent: str = ""
) -> Literal:
    """Return the atoms of a text, or of the lines of a block scalar.

    Args:
        source: the text; of a block scalar from behind the first line's indentation.
        is_format: braces are fields.
        marks: finds the fields of a text that is filled in another way.
        indent: what every line of a block scalar begins with.

    Raises:
        LiteralError: its fields are broken, or a line is indented less than the scalar.
    """
    atoms: list[Atom] = []
    at = 0
    while at < len(source):
        end = _LINE_END.match(source, at)
        if end is None:
            is_mark = source[at] == _MARK and at == 0
            atoms.append(Atom("" if is_mark else source[at], source[at], 0))
            at += 1
            continue
        atoms.append(Atom("\n", end.group(), 0))
        at = end.end()
        if source.startswith(indent, at):
            at += len(indent)
        elif (blanks := _BLANK_LINE.match(source, at)) is not None:
            at = blanks.end()  # a blank line may have fewer blanks, or none
        else:
            raise LiteralError("a line is indented less than the block scalar")
    if is_format:
        atoms = fields(atoms)
    elif marks is not None:
        atoms = marked(atoms, marks)
    return Literal((_PART,), tuple(atoms), " ", ("",), ((),))


def unquoted(spelled: str, indent: str = "") -> str:
    """Return what `spell` made of a text without the quotes, each line indented.

    Args:
        spelled: the text as a raw literal.
        indent: what every line of a block scalar begins with.

    Raises:
        LiteralError: the first line would be indented more than the others, which says another
            indentation to YAML.
    """
    text = spelled[len(_PART.prefix) + len(_PART.quote) : -len(_PART.quote)]
    if not indent:
        return text
    if text[:1] in " \t\r\n":
        raise LiteralError("the first line of the block scalar would be indented")
    return re.sub(r"(\r\n|\n|\r)(?=[^\r\n])", lambda end: end.group() + indent, text)


def indent_of(text: str, start: int) -> str:
    """Return the indentation of the block scalar whose first line begins at an offset.

    Raises:
        LiteralError: no block scalar begins there.
    """
    line = text.rfind("\n", 0, start) + 1
    indent = text[line:start]
    key = text.rfind("\n", 0, max(line - 1, 0)) + 1
    if not indent or indent.strip() or not BLOCK_SCALAR.fullmatch(text[key:line]):
        raise LiteralError("the value is no literal block scalar (`key: |`)")
    return indent
