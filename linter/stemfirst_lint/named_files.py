"""Prompt files that the settings name: text, Markdown, Jinja, and values of YAML, JSON and TOML.

Knows how such files hold templates. Who fills them is out of sight, so that a field's name alone
tells how often its value changes. Knows nothing of source code or of rules.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.fillings import read_dollar
from stemfirst_lint.jinja import read_jinja
from stemfirst_lint.literals import FormatField, FormatText, Run, read_format
from stemfirst_lint.model import Form, Hole, Location, Piece, Sink, Site, Template, Text
from stemfirst_lint.pieces import end_offset_in, merged, offset_in
from stemfirst_lint.source import Source, read_bytes
from stemfirst_lint.value_files import VALUE_SUFFIXES, Keys, all_values
from stemfirst_lint.verdicts import of_field

BLOCK_SCALAR = re.compile(
    r"""[ \t]*(?:-[ \t]+)*(?P<key>[\w.-]+|"[^"\n]*"|'[^'\n]*')[ \t]*:   # perhaps in a list
    [ \t]*(?:&\w+[ \t]+)?\|[-+0-9]*[ \t]*(?:\#[^\n]*)?(?:\r?\n)?""",
    re.VERBOSE,
)
"""A line of YAML behind which a block scalar stands."""
_JINJA_NAME = re.compile(r"\.j(inja)?2?(\.[a-z]+)?$")
_JINJA = re.compile(r"\{\{-?\s*[A-Za-z_]|\{%")


def named_files(patterns: Iterable[str], root: str, folders: Iterable[str]) -> list[str]:
    """Return the files below folders that patterns name, relative to `root`."""
    tops = [os.path.abspath(folder) for folder in folders]
    found: set[str] = set()
    for pattern in patterns:
        for path in glob.glob(os.path.join(root, pattern), recursive=True):
            whole = os.path.abspath(path)
            if os.path.isfile(whole) and any(
                os.path.commonpath([top, whole]) == top for top in tops
            ):
                found.add(whole)
    return sorted(os.path.relpath(path) if not os.path.isabs(root) else path for path in found)


def named_sites(
    paths: Iterable[str], seen: frozenset[Location], failures: list[UnreadableFile]
) -> Iterator[Site]:
    """Yield the templates of prompt files.

    Args:
        paths: the files.
        seen: places of texts that are known already, because code reads them.
        failures: files that cannot be read are appended here.
    """
    for path in paths:
        try:
            text = read_bytes(path).decode("utf-8")
        except UnreadableFile as failure:
            failures.append(failure)
            continue
        except UnicodeDecodeError as error:
            failures.append(UnreadableFile(path, f"not utf-8: byte {error.start}"))
            continue
        source = Source(path, text)
        if path.endswith(VALUE_SUFFIXES):
            found: Iterable[tuple[str | None, Run]] = [
                (_last_name(keys), run) for keys, run in all_values(path, text)
            ]
        else:
            found = [(None, Run(text, 0, len(text), ((0, 0),)))] if text else []
        for name, run in found:
            template = _template(source, run, name, is_jinja=_JINJA_NAME.search(path) is not None)
            if template is not None and template.location not in seen:
                role = "system" if "system" in f"{name or ''}{os.path.basename(path)}" else None
                yield Site(template, Sink.TEMPLATE_CLASS, template.location, role)


def _template(source: Source, run: Run, name: str | None, *, is_jinja: bool) -> Template | None:
    """Return the template of a text, or None without fields."""
    parts: tuple[FormatText | FormatField, ...] | None
    if is_jinja or _JINJA.search(run.text):
        form, parts = Form.JINJA, read_jinja(run.text)
    elif "${" in run.text:
        form, parts = Form.DOLLAR, read_dollar(run.text)
    else:
        form, parts = Form.FORMAT, read_format(run.text)
    if parts is None or not any(isinstance(part, FormatField) for part in parts):
        return None
    pieces: list[Piece] = []
    for part in parts:
        place = source.location(offset_in([run], part.start), end_offset_in([run], part.end))
        if isinstance(part, FormatText):
            pieces.append(Text(part.text, place))
            continue
        verdict = of_field(part.name.partition(".")[0].partition("[")[0], place)
        is_positional = form is Form.FORMAT and not part.name[:1].isidentifier()
        pieces.append(
            Hole(
                part.name,
                part.name or "{}",
                place,
                verdict,
                part.conversion,
                part.format_spec,
                is_positional=is_positional,
            )
        )
    return Template(form, source.location(run.start, run.end), merged(pieces), name)


def _last_name(keys: Keys) -> str | None:
    return next((key for key in reversed(keys) if isinstance(key, str)), None)
