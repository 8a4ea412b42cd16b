"""Text, fields and places that are read from string literals are those that Python reads."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_lint.fstrings import fields_of
from stemfirst_lint.literals import FormatField, FormatText, Run, read_format, read_literal
from stemfirst_lint.source import Source

LITERALS = [
    pytest.param(r'''"plain"''', id="plain"),
    pytest.param(r'''"tab\t newline\n \x41 \u00e9 \N{BULLET} \101"''', id="escapes"),
    pytest.param(r'''r"raw \n \" stays"''', id="raw"),
    pytest.param('"""three\nlines \\\n continued "quoted" """', id="triple"),
    pytest.param('("one "\n   "two "  # why\n   \'three\')', id="joined"),
    pytest.param('"a" \\\n "b"', id="backslash between"),
    pytest.param('"""a\r\nb"""', id="carriage return"),
    pytest.param('"ümlaut 漢字 \U0001f600"', id="wide characters"),
]
FSTRINGS = [
    ('f"a {x} b"', ["x"]),
    ('f"{x!r:>10} {y:%Y-%m-%d} {{z}} {w = }"', ["x", "y", "w"]),
    ('f"""{\n  first(\n    1)\n} and {second["k"]}"""', ['first(\n    1)', 'second["k"]']),
    ("f\"{d['a']} {', '.join(s for s in t)} {{\"", ["d['a']", "', '.join(s for s in t)"]),
    ('rf"\\d {x} \\{y}"', ["x", "y"]),
    ('f"{x:{width}.{digits}}"', ["x"]),
    ('("plain {no} " f"{yes} {{no}}" "tail")', ["yes"]),
    ('f"{a != b} {(lambda q: q)(1)}"', ["a != b", "(lambda q: q)(1)"]),
    ('f"ü漢 {ä} \U0001f600 {b}"', ["ä", "b"]),
    ('f"\\N{BULLET} {x}"', ["x"]),
]  # fmt: skip


def literal(source: str) -> tuple[Source, ast.expr]:
    text = f"v = {source}\n"
    tree = ast.parse(text)
    assert isinstance(tree.body[0], ast.Assign)
    return Source("m.py", text), tree.body[0].value


@pytest.mark.parametrize("text", LITERALS)
def test_a_literal_decodes_as_python_decodes_it(text: str) -> None:
    source, node = literal(text)
    runs = read_literal(source.text, *source.span(node))
    assert runs is not None
    assert isinstance(node, ast.Constant)
    assert "".join(run.text for run in runs if isinstance(run, Run)) == node.value


@pytest.mark.parametrize("text", LITERALS)
def test_every_plain_character_is_found_where_it_stands(text: str) -> None:
    source, node = literal(text)
    for run in read_literal(source.text, *source.span(node)) or ():
        assert isinstance(run, Run)
        for index, char in enumerate(run.text):
            if char.isalpha() and "\\" not in source.text[run.start : run.end]:
                assert source.text[run.offset(index)] == char


@pytest.mark.parametrize(("text", "expressions"), FSTRINGS)
def test_fields_hold_the_expressions_as_written(text: str, expressions: list[str]) -> None:
    source, node = literal(text)
    assert isinstance(node, ast.JoinedStr)
    found = fields_of(node, source)
    assert found is not None
    fields = [item for item in found if not isinstance(item, Run)]
    written = [source.text[f.expression_start : f.expression_end] for f, _ in fields]
    assert written == expressions
    for field, value in fields:
        start, end = source.span(value.value)
        # Python's own range leaves out parentheses; ours may not reach beyond the field.
        assert field.expression_start <= start
        assert end <= field.expression_end
        assert ast.dump(value.value) == ast.dump(
            ast.parse(f"({source.text[start:end]})", mode="eval").body
        )


@pytest.mark.parametrize("text", ['b"bytes"', "name", '"a" + "b"', "1"])
def test_what_is_no_text_is_not_read(text: str) -> None:
    source, node = literal(text)
    assert read_literal(source.text, *source.span(node)) is None


@given(st.text(alphabet="ab{}\\'\"\n é", max_size=12))
def test_any_text_survives_repr(text: str) -> None:
    source, node = literal(repr(text))
    runs = read_literal(source.text, *source.span(node))
    assert runs is not None
    assert "".join(run.text for run in runs if isinstance(run, Run)) == text


@given(st.text(alphabet="ab{}!:0", max_size=10))
def test_a_format_string_is_refused_only_when_str_format_refuses_it(template: str) -> None:
    import string

    try:
        theirs = list(string.Formatter().parse(template))
    except ValueError:
        theirs = None
    ours = read_format(template)
    if theirs is None or ours is None:
        # `str.format` finds some faults, such as an empty conversion, only when it fills a field.
        assert theirs is None or ours is None
        return
    assert "".join(p.text for p in ours if isinstance(p, FormatText)) == "".join(
        text for text, *_ in theirs
    )
    assert [p.name for p in ours if isinstance(p, FormatField)] == [
        name for _, name, *_ in theirs if name is not None
    ]
    assert all(
        template[p.start] == "{" and template[p.end - 1] == "}"
        for p in ours
        if isinstance(p, FormatField)
    )
