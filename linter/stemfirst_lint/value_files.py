"""The strings in YAML, JSON and TOML files, each with its path of keys and its place in the text.

Knows how these formats write strings: plain, quoted, in blocks, with escapes. Reads what prompts
are kept in, not the whole of any format: what it cannot follow it leaves out. Loads no parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stemfirst_lint.literals import Run
from stemfirst_lint.patterns import pattern

Keys = tuple[str | int, ...]
"""Names of mappings and numbers of items, outermost first."""

VALUE_SUFFIXES = (".yaml", ".yml", ".json", ".toml")
_YAML_KEY = pattern(
    r"""(?P<indent>[ ]*)(?P<dashes>(?:-[ ]+)*)
    (?:(?P<key>"[^"\n]*"|'[^'\n]*'|[^\s"'#&*!|>%@`{\[-][^\n:#]*?)[ ]*:(?=[ \n]|$)[ ]*)?
    (?:[&!][^ \n]*[ ]*)?(?P<value>[^\n]*)""",
    re.VERBOSE,
)
_BLOCK = pattern(r"(?P<how>[|>])[-+0-9]*[ \t]*(?:#[^\n]*)?\r?$")
_JSON = pattern(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_TOML_HEAD = pattern(r"[ \t]*\[(?P<is_item>\[)?(?P<name>[^\[\]\n]+)\]")
_TOML_KEY = pattern(
    r"""[ \t]*(?P<key>(?:[\w-]+|"[^"\n]*"|'[^'\n]*')(?:[ \t]*\.[ \t]*[\w-]+)*)[ \t]*=[ \t]*"""
)
_TOML_QUOTES = ('"""', "'''", '"', "'")
_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f",
    "0": "\0", "e": "\x1b", " ": " ",
}  # fmt: skip


def values_in(path: str, text: str) -> dict[Keys, Run]:
    """Return the strings of a file by their keys; of a key that comes twice the last."""
    return dict(all_values(path, text))


def all_values(path: str, text: str) -> list[tuple[Keys, Run]]:
    """Return every string of a file with its keys, in order."""
    if path.endswith(".json"):
        return list(_json(text))
    return list(_toml(text) if path.endswith(".toml") else _yaml(text))


# YAML


def _yaml(text: str) -> Iterator[tuple[Keys, Run]]:
    lines: list[tuple[int, str]] = []
    at = 0
    for line in text.splitlines(keepends=True):
        lines.append((at, line.rstrip("\r\n")))
        at += len(line)
    open_keys: list[tuple[int, str | int]] = []
    """Keys that what follows stands below, each with its column."""
    number = 0
    while number < len(lines):
        start, line = lines[number]
        number += 1
        if (
            not line.strip()
            or line.lstrip().startswith("#")
            or line.startswith(("---", "%", "..."))
        ):
            continue
        match = _YAML_KEY.match(line)
        if match is None or "\t" in match["indent"]:
            continue
        column = len(match["indent"])
        while open_keys and open_keys[-1][0] > column:
            open_keys.pop()
        dashes = match["dashes"] or ("- " if line.strip() == "-" else "")
        for dash in re.finditer("-", dashes):
            at_dash = column + dash.start()
            last = open_keys[-1] if open_keys else None
            if last is not None and last[0] == at_dash and isinstance(last[1], int):
                open_keys[-1] = (at_dash, last[1] + 1)
            else:
                while open_keys and open_keys[-1][0] > at_dash:
                    open_keys.pop()
                open_keys.append((at_dash, 0))
        key = match["key"]
        if key is not None:
            own = column + len(match["dashes"])
            while open_keys and open_keys[-1][0] >= own:
                open_keys.pop()
            open_keys.append((own, key.strip("\"'")))
        elif not dashes:
            continue
        value = match["value"]
        at_value = start + match.start("value")
        keys = tuple(name for _, name in open_keys)
        block = _BLOCK.match(value)
        if block is not None:
            least = (open_keys[-1][0] if open_keys else column) + (0 if key is None else 1)
            first = number
            while number < len(lines):
                inner = lines[number][1]
                if inner.strip() and _indent(inner) < max(least, 1):
                    break
                number += 1
            run = _block(lines[first:number], is_folded=block["how"] == ">")
            if run is not None:
                yield keys, run
        elif value[:1] in ("'", '"'):
            quoted = _quoted(text, at_value)
            if quoted is not None:
                yield keys, quoted
                while number < len(lines) and lines[number][0] < quoted.end:
                    number += 1
        elif value and value[0] not in "[{&*!#|>":
            plain = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
            if plain:
                yield keys, Run(plain, at_value, at_value + len(plain), ((0, at_value),))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _block(lines: list[tuple[int, str]], *, is_folded: bool) -> Run | None:
    """The text of a block scalar; folded, single line ends are blanks."""
    while lines and not lines[-1][1].strip():
        lines.pop()
    while lines and not lines[0][1].strip():
        lines = lines[1:]
    if not lines:
        return None
    indent = _indent(lines[0][1])
    marks: list[tuple[int, int]] = []
    parts: list[str] = []
    length = 0
    for number, (start, line) in enumerate(lines):
        skipped = min(indent, len(line))
        marks.append((length, start + skipped))
        body = line[skipped:]
        last = number + 1 == len(lines)
        end = "" if last else "\n"
        if is_folded and not last and body.strip() and not body.startswith(" "):
            behind = lines[number + 1][1][indent:]
            end = "" if not behind.strip() else "\n" if behind.startswith(" ") else " "
        parts.append(body + end)
        length += len(body) + len(end)
    last_start, last_line = lines[-1]
    return Run("".join(parts), marks[0][1], last_start + len(last_line), tuple(marks))


def _quoted(text: str, start: int) -> Run | None:
    """A string in single or double quotes that begins at an offset; None if it spans lines."""
    quote = text[start]
    if quote == '"':
        return _escaped(text, start + 1, '"', "\n")
    marks = [(0, start + 1)]
    parts: list[str] = []
    length = 0
    at = start + 1
    while at < len(text) and text[at] != "\n":
        if text[at] == "'":
            if text[at + 1 : at + 2] != "'":
                return Run("".join(parts), start + 1, at, tuple(marks))
            at += 1
            parts.append("'")
            length += 1
            marks.append((length, at + 1))
        else:
            parts.append(text[at])
            length += 1
        at += 1
    return None


def _escaped(text: str, start: int, end: str, stop: str | None) -> Run | None:
    """A string with escapes up to its closing quote."""
    marks = [(0, start)]
    parts: list[str] = []
    length = 0
    at = start
    while at < len(text):
        if text.startswith(end, at):
            return Run("".join(parts), start, at, tuple(marks))
        if text[at] == stop:
            return None
        made, step = text[at], 1
        if text[at] == "\\":
            code = text[at + 1 : at + 2]
            digits = {"u": 4, "U": 8, "x": 2}.get(code, 0)
            if digits:
                try:
                    made, step = chr(int(text[at + 2 : at + 2 + digits], 16)), 2 + digits
                except (ValueError, OverflowError):
                    return None
            elif code == "\n" or (code == "\r" and text[at + 2 : at + 3] == "\n"):
                made, step = "", 1 + len(code)  # TOML: the line end and what follows are left out
                while text[at + step : at + step + 1] in (" ", "\t", "\n", "\r"):
                    step += 1
            elif code in _ESCAPES:
                made, step = _ESCAPES[code], 2
            else:
                return None
        parts.append(made)
        length += len(made)
        at += step
        if step != len(made):
            marks.append((length, at))
    return None


# JSON


def _json(text: str) -> Iterator[tuple[Keys, Run]]:
    path: list[str | int] = []
    is_key = False
    for match in _JSON.finditer(text):
        word = match.group()
        if word == "{":
            path.append("")
            is_key = True
        elif word == "[":
            path.append(0)
            is_key = False
        elif word in "}]":
            if path:
                path.pop()
            is_key = False
        elif word == ",":
            if path and isinstance(path[-1], int):
                path[-1] += 1
            is_key = bool(path) and isinstance(path[-1], str)
        elif word == ":":
            is_key = False
        elif word.startswith('"'):
            run = _escaped(text, match.start() + 1, '"', None)
            if run is None:
                continue
            if is_key and path:
                path[-1] = run.text
            else:
                yield tuple(path), run


# TOML


def _toml(text: str) -> Iterator[tuple[Keys, Run]]:
    table: Keys = ()
    counts: dict[Keys, int] = {}
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        head = _TOML_HEAD.match(text, at, end)
        if head is not None:
            table = _dotted(head["name"])
            if head["is_item"]:
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            at = end + 1
            continue
        key = _TOML_KEY.match(text, at, end)
        if key is not None:
            found = _toml_string(text, key.end())
            if found is not None:
                yield (*table, *_dotted(key["key"])), found
                end = text.find("\n", found.end)
                end = len(text) if end < 0 else end
        at = end + 1


def _toml_string(text: str, start: int) -> Run | None:
    quote = next((mark for mark in _TOML_QUOTES if text.startswith(mark, start)), None)
    if quote is None:
        return None
    begin = start + len(quote)
    if len(quote) == 3:  # a line end right behind the quotes is left out
        begin += len(text[begin : begin + 2]) if text.startswith("\r\n", begin) else 0
        begin += text.startswith("\n", begin)
    if quote[0] == '"':
        return _escaped(text, begin, quote, "\n" if len(quote) == 1 else None)
    end = text.find(quote, begin)
    if end < 0 or (len(quote) == 1 and "\n" in text[begin:end]):
        return None
    return Run(text[begin:end], begin, end, ((0, begin),))


def _dotted(name: str) -> Keys:
    return tuple(part.strip().strip("\"'") for part in name.split("."))
