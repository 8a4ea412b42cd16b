"""What a rewrite does to source: only the literal changes, and it changes as a person would."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from fix_sources import RULES, findings
from stemfirst_lint.errors import LintError
from stemfirst_lint.fix.changes import Rewrite
from stemfirst_lint.fix.literal import LiteralError, take_apart
from stemfirst_lint.fix.plan import plan_for
from stemfirst_lint.fix.prove import Edit, ProofError, prove_file, prove_literal
from stemfirst_lint.fix.rewrite import rewrite
from stemfirst_lint.fix.spelling import spell
from stemfirst_lint.model import Applicability


def fixed(source: str | bytes, *, risky: bool = False) -> Rewrite:
    data = source if isinstance(source, bytes) else source.encode()
    text = data.decode("utf-8-sig")
    allow = Applicability.RISKY if risky else Applicability.REORDER
    return rewrite("t.py", data, findings("t.py", text), allow=allow)


# R stands for the rules, in both columns.
REWRITES = {
    "a triple-quoted f-string": (
        'P = f"""Time: {now}\n\nR\n"""\n',
        'P = f"""R\n\nTime: {now}\n"""\n',
    ),
    "an escaped line end behind the opening quotes": (
        'P = f"""\\\nTime: {now}\nR\n"""\n',
        'P = f"""\\\nR\nTime: {now}\n"""\n',
    ),
    "an escaped line end before the closing quotes": (
        'P = f"""\\\nTime: {now}\n\nR\\\n"""\n',
        'P = f"""\\\nR\n\nTime: {now}\\\n"""\n',
    ),
    "one line with escapes": (
        'P = f"Time: {now}\\n\\nR"\n',
        'P = f"R\\n\\nTime: {now}"\n',
    ),
    "joined f-strings and plain strings": (
        'P = (\n    f"Time: {now}\\n"\n    "R Use {1, 2}.\\n"\n    f"Ask: {q}\\n"\n)\n',
        'P = (\n    "R Use {1, 2}.\\n"\n    f"Time: {now}\\n"\n    f"Ask: {q}\\n"\n)\n',
    ),
    "the part that comes last gives its line end away": (
        'P = (\n    f"Time: {now}\\n"\n    "R"\n)\n',
        'P = (\n    "R\\n"\n    f"Time: {now}"\n)\n',
    ),
    "a part that is cut loses the f that it no longer needs": (
        'P = (\n    f"Time: {now}\\nR {{}}. "\n    f"Ask.\\n{q}"\n)\n',
        'P = (\n    "R {}. "\n    f"Ask.\\n{q}\\n"\n    f"Time: {now}"\n)\n',
    ),
    "single quotes inside double quotes": (
        "P = f'Time: {d[\"now\"]}\\n\\nR'\n",
        "P = f'R\\n\\nTime: {d[\"now\"]}'\n",
    ),
    "a raw f-string": (
        'P = rf"""Time: {now:%H}\n\nR \\w+\n"""\n',
        'P = rf"""R \\w+\n\nTime: {now:%H}\n"""\n',
    ),
    "raw parts cannot spell a line end": (
        'P = rf"Time: {now}" "\\n" r"R \\d" "\\n"\n',
        'P = r"R \\d" "\\n" rf"Time: {now}" "\\n"\n',
    ),
    "format specs, conversions and nested fields": (
        'P = f"""Time: {now!r:>{width}}\nR\n"""\n',
        'P = f"""R\nTime: {now!r:>{width}}\n"""\n',
    ),
    "the = specifier": (
        'P = f"""Time: {now = }\nR\n"""\n',
        'P = f"""R\nTime: {now = }\n"""\n',
    ),
    "escaped braces": (
        'P = f"""Time: {now}\nWrite {{"a": 1}}. R\n"""\n',
        'P = f"""Write {{"a": 1}}. R\nTime: {now}\n"""\n',
    ),
    "named and numeric escapes": (
        'P = f"Time: {now}\\nR \\N{EM DASH} \\x41 \\u00e4 \\101"\n',
        'P = f"R \\N{EM DASH} \\x41 \\u00e4 \\101\\nTime: {now}"\n',
    ),
    "a quote at the end of what comes last": (
        'P = f"""R\n\nSay: "{now}"\n\nR"""\n',
        'P = f"""R\n\nR\n\nSay: "{now}\\""""\n',
    ),
    "comments, semicolons, tabs and blanks elsewhere": (
        'x = 1;  P = f"""Time: {now}\n\nR\n"""  ; y = 2   # c\t\n\tz = 3\n'.replace("\tz", "z"),
        'x = 1;  P = f"""R\n\nTime: {now}\n"""  ; y = 2   # c\t\n\tz = 3\n'.replace("\tz", "z"),
    ),
    "in a function behind a decorator": (
        '@d\ndef f(now):\n\treturn f"""\n\t\tTime: {now}\n\t\tR\n\t\t"""\n',
        '@d\ndef f(now):\n\treturn f"""\n\t\tR\n\t\tTime: {now}\n\t\t"""\n',
    ),
    "an await in a field that nothing else can notice": (
        'async def f():\n    return f"""Time: {await now}\n\nR\n"""\n',
        'async def f():\n    return f"""R\n\nTime: {await now}\n"""\n',
    ),
    "a walrus around the whole": (
        'if (P := f"""Time: {now}\n\nR\n"""):\n    pass\n',
        'if (P := f"""R\n\nTime: {now}\n"""):\n    pass\n',
    ),
    "a .format constant": (
        'P = "Time: {now!s:>8}\\n\\nR Write {{}}."\nx = P.format(now=1)\n',
        'P = "R Write {{}}.\\n\\nTime: {now!s:>8}"\nx = P.format(now=1)\n',
    ),
    ".format with **kwargs and attribute fields": (
        'P = "Time: {now.hour} {now[0]}\\n\\nR"\nx = P.format(**values)\n',
        'P = "R\\n\\nTime: {now.hour} {now[0]}"\nx = P.format(**values)\n',
    ),
    "comments behind the parts go with them": (
        'P = (\n    f"Time: {now}\\n"  # "when"\n    "R\\n"  # what\n    f"Ask: {q}"\n)\n',
        'P = (\n    "R\\n"  # what\n    f"Time: {now}\\n"  # "when"\n    f"Ask: {q}"\n)\n',
    ),
    "a comment behind the part that comes last": (
        'P = (\n    f"Time: {now}\\n"  # when\n    "R"\n)\n',
        'P = (\n    "R\\n"\n    f"Time: {now}"  # when\n)\n',
    ),
    "a comment behind the part that was last": (
        'P = (\n    f"Time: {now}\\n"\n    "R"  # what\n)\n',
        'P = (\n    "R\\n"  # what\n    f"Time: {now}"\n)\n',
    ),
    "comments on lines of their own go with the parts below them": (
        'P = (\n    # when\n    # it is\n    f"Time: {now}\\n"\n    # what\n    "R"\n)\n',
        'P = (\n    # what\n    "R\\n"\n    # when\n    # it is\n    f"Time: {now}"\n)\n',
    ),
    "a comment above the whole stays": (
        'P = (\n    # all\n    f"Time: {now}\\n"\n    "R"\n)\n',
        'P = (\n    # all\n    "R\\n"\n    f"Time: {now}"\n)\n',
    ),
    "a comment for linters stays where it is": (
        'P = (\n    f"Time: {now}\\n"\n    "R"  # noqa: E501\n)\n',
        'P = (\n    "R\\n"\n    f"Time: {now}"  # noqa: E501\n)\n',
    ),
    "a comment behind the whole": (
        'P = f"Time: {now}\\nR"  # c\n',
        'P = f"R\\nTime: {now}"  # c\n',
    ),
    "parentheses": (
        'P = ((f"Time: {now}\\n\\n"\n      "R"))\n',
        'P = (("R\\n\\n"\n      f"Time: {now}"))\n',
    ),
    "two templates in one file": (
        'P = f"""Time: {now}\n\nR\n"""\nQ = f"""Ask: {q}\n\nR\n"""\n',
        'P = f"""R\n\nTime: {now}\n"""\nQ = f"""R\n\nAsk: {q}\n"""\n',
    ),
}


@pytest.mark.parametrize(("before", "after"), REWRITES.values(), ids=REWRITES)
def test_a_rewrite(before: str, after: str) -> None:
    made = fixed(before.replace("R", RULES))
    assert made.new.decode().replace(RULES, "R") == after, made.left
    again = fixed(made.new)
    assert again.new == made.new


SUMS = {
    "a call with side effects is not overtaken": (
        'P = "Time: " + now + "\\n\\nR\\n\\nId: " + take()\n',
        'P = "R\\n\\nTime: " + now + "\\n\\nId: " + take()\n',
    ),
    "a sum of values and literals": (
        'P = "Time: " + now + "\\n\\nR"\n',
        'P = "R\\n\\nTime: " + now\n',
    ),
    "a sum over several lines": (
        'P = (\n    "Time: "\n    + now\n    + "\\n\\n"\n    + "R"\n)\n',
        'P = (\n    "R\\n\\n"\n    + "Time: "\n    + now\n)\n',
    ),
    "an f-string in a sum": (
        'P = f"Time: {now}\\n" + "R" + f"\\nAsk: {q}"\n',
        'P = "R\\n" + f"Time: {now}\\nAsk: {q}"\n',
    ),
    "calls and conditions move whole": (
        'P = "Time: " + (str(now) if now else "?") + "\\n\\nR"\n',
        'P = "R\\n\\nTime: " + (str(now) if now else "?")\n',
    ),
    "joined literals inside a sum": (
        'P = (\n    "Time: " + now + "\\n"\n    "R "\n    "Be kind.\\n" + q\n)\n',
        'P = (\n    "R "\n    "Be kind.\\n" + q + "\\nTime: " + now\n)\n',
    ),
    "comments in a sum go with their operands": (
        'P = (\n    "Time: " + now + "\\n\\n"  # when\n    # what\n    + "R"\n)\n',
        'P = (\n    # what\n    "R\\n\\n"\n    + "Time: " + now  # when\n)\n',
    ),
    "comments behind the plus": (
        'P = (\n    f"Time: {now}\\n" +  # when\n    "R\\n" +  # what\n    f"Ask: {q}"\n)\n',
        'P = (\n    "R\\n" +  # what\n    f"Time: {now}\\n" +  # when\n    f"Ask: {q}"\n)\n',
    ),
    "comments between lines that grow": (
        'P = f"Be.\\n"\nP += f"Time: {now}\\n"  # when\n# what\nP += "R\\n"\n'
        'P += f"Ask: {q}"  # why\nsend(P)\n',
        'P = f"Be.\\n"\n# what\nP += "R\\n"\nP += f"Time: {now}\\n"  # when\n'
        'P += f"Ask: {q}"  # why\nsend(P)\n',
    ),
    "comments above every line that grows": (
        '# when\n# it is\nP = f"Time: {now}\\n"\n# what\nP += "R\\n"\nP += f"Ask: {q}"\nsend(P)\n',
        '# what\nP = "R\\n"\n# when\n# it is\nP += f"Time: {now}\\n"\nP += f"Ask: {q}"\nsend(P)\n',
    ),
    "a comment above the whole that grows stays": (
        '# all\nP = f"Time: {now}\\n"\nP += "R\\n"\nP += f"Ask: {q}"\nsend(P)\n',
        '# all\nP = "R\\n"\nP += f"Time: {now}\\n"\nP += f"Ask: {q}"\nsend(P)\n',
    ),
    "text that grows line by line": (
        'P = "Time: " + now + "\\n"\nP += "R\\n"\nP += f"Ask: {q}"\nsend(P)\n',
        'P = "R\\n"\nP += "Time: " + now\nP += f"\\nAsk: {q}"\nsend(P)\n',
    ),
    "text that grows in a function": (
        'def f(now):\n\tP = f"Time: {now}\\n"\n\tP += (\n\t\t"R"\n\t\t" Be kind."\n\t)\n'
        "\treturn P\n",
        'def f(now):\n\tP = (\n\t\t"R"\n\t\t" Be kind.\\n"\n\t)\n\tP += f"Time: {now}"\n'
        "\treturn P\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), SUMS.values(), ids=SUMS)
def test_sums_and_growing_text(before: str, after: str) -> None:
    before, after = before.replace("R", RULES), after.replace("R", RULES)
    made = fixed(before)
    assert made.new.decode() == after, made.left
    again = fixed(made.new)
    assert again.new == made.new


REFUSALS = {
    "a part that reads the text so far": (
        f'P = f"Time: {{now}}\\n"\nP += "{RULES}"\nP += str(len(P))\n',
        "reads P while it grows",
    ),
    "a comment that would come last where nothing may follow": (
        f'P = (f"Time: {{now}}\\n"  # when\n    "{RULES}")\n',
        "would come last",
    ),
    "a comment that would come first where something stands": (
        f'P = (f"Time: {{now}}\\n"\n    # what\n    "{RULES}"\n)\n',
        "would come first",
    ),
    "a comment in the middle of what is cut": (
        f'P = (\n    f"Time: {{now}}\\n"  # when\n    "\\n"  # blank\n    "{RULES}"\n)\n',
        "would be lost",
    ),
    "a byte string is no f-string": (f'P = b"Time: {{now}} {RULES}"\n', None),
    "a % template is none of ours": (f'P = "Time: %s {RULES}" % now\n', None),
    "a field left for a second step": (
        f'P = f"Time: {{now}}\\n\\n{RULES} {{{{name}}}}"\n',
        "later formatting",
    ),
    "positional fields": (f'P = "Time: {{}}\\n\\n{RULES}"\nP.format(1)\n', "have no names"),
}


@pytest.mark.parametrize(("source", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_left_alone(source: str, reason: str | None) -> None:
    made = fixed(source)
    assert made.new == made.old
    if reason is None:
        assert not made.left
    else:
        assert reason in str(made.left[0].reasons[0])


def test_risky_gives_fields_without_names_their_numbers() -> None:
    source = f'P = "Time: {{}}\\n\\n{RULES}\\n\\nAsk: {{!r:>3}}"\n'
    made = fixed(source + "P.format(1, 2)\n", risky=True)
    names: dict[str, str] = {}
    exec(made.new, names)
    assert names["P"].format("now", "why") == f"{RULES}\n\nTime: now\n\nAsk: 'why'"
    assert "no names" in str(made.done[0].notes[0])


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_line_ends_and_the_byte_order_mark_survive(newline: str, mark: bytes) -> None:
    lines = ["# ä", 'P = f"""Time: {now}', "", RULES, '"""', "x = 1", ""]
    data = mark + newline.join(lines).encode()
    made = fixed(data)
    wanted = ["# ä", f'P = f"""{RULES}', "", "Time: {now}", '"""', "x = 1", ""]
    assert made.new == mark + newline.join(wanted).encode()


def test_another_encoding_survives() -> None:
    text = f'# -*- coding: latin-1 -*-\nP = f"""Time: {{now}} ö\n\n{RULES} ä\n"""\n'
    data = text.encode("latin-1")
    made = rewrite("t.py", data, findings("t.py", text), allow=Applicability.REORDER)
    wanted = f'# -*- coding: latin-1 -*-\nP = f"""{RULES} ä\n\nTime: {{now}} ö\n"""\n'
    assert made.new == wanted.encode("latin-1")


def test_the_program_prints_the_blocks_in_the_new_order(tmp_path: os.PathLike[str]) -> None:
    source = (
        f'now, q = 12, "why"\nP = f"""Time: {{now:>4}}\n\n{RULES}\n\nAsk: {{q!r}}"""\nprint(P)\n'
    )
    made = fixed(source)
    shown = subprocess.run(
        [sys.executable, "-c", made.new.decode()], capture_output=True, text=True, check=True
    ).stdout
    assert shown == f"{RULES}\n\nTime:   12\n\nAsk: 'why'\n"


def test_only_the_literal_is_touched() -> None:
    head, tail = "import  os ;x=1\n\t\n", "\ndef f( a,b ):  return(a)#c\n"
    made = fixed(f'{head}P = f"""Time: {{now}}\n\n{RULES}"""{tail}')
    new = made.new.decode()
    assert new.startswith(f'{head}P = f"""')
    assert new.endswith(f'"""{tail}')


def test_a_proof_sees_a_lost_field_and_a_lost_word() -> None:
    source = f'f"""Time: {{now}}\n\n{RULES}"""'
    old = take_apart(source, is_format=False)
    plan = plan_for(findings("t.py", f"P = {source}")[0].template)  # type: ignore[arg-type]
    new = spell(old, plan.runs)
    prove_literal(old, take_apart(new, is_format=False), plan)
    for broken in (
        new.replace("{now}", "{q}"),
        new.replace("policy", "police"),
        new.replace("\n\n", "\n"),
        source,
    ):
        with pytest.raises(ProofError):
            prove_literal(old, take_apart(broken, is_format=False), plan)


def test_a_proof_sees_a_change_outside_and_a_file_that_does_not_parse() -> None:
    old = 'x = 1\nP = f"{a}"\n'
    edit = Edit(10, 16, 'f"{b}"')
    prove_file(old, 'x = 1\nP = f"{b}"\n', [edit])
    with pytest.raises(ProofError, match="outside"):
        prove_file(old, 'x = 2\nP = f"{b}"\n', [edit])
    with pytest.raises(ProofError, match="does not parse"):
        prove_file(old, 'x = 1\nP = f"{b}\n', [Edit(10, 16, 'f"{b}')])


def test_a_sum_of_strings_may_become_one_string() -> None:
    old = 'P = f"\\n" + f"{a} b"\n'
    prove_file(old, 'P = f"\\nb {a}"\n', [Edit(4, len(old) - 1, 'f"\\nb {a}"')])
    with pytest.raises(ProofError, match="code outside"):
        prove_file('P = "b" + a\n', 'P = "b"\n', [Edit(4, 11, '"b"')])


def test_a_file_too_deep_to_compare_proves_nothing() -> None:
    rest = "x = " + " + ".join(["1"] * 20_000) + "\n"
    edit = Edit(4, 10, 'f"{b}"')
    with pytest.raises(ProofError, match="nested too deeply"):
        prove_file(f'P = f"{{a}}"\n{rest}', f'P = f"{{b}}"\n{rest}', [edit])


@pytest.mark.parametrize(
    "source",
    [
        'f"a {x!r:>{w}} {{k}} {y = }" \'b\\n\' """c\n"d" \\\ne"""',
        "'{a} {{b}} {c!r:>{d}} {e.f[g]}'",
        'rf"\\d{x}\\n"',
        'u"ä\\N{EM DASH}\\x41\\u00e4\\101\\q"',
    ],
)
def test_apart_and_together_is_the_same_source(source: str) -> None:
    is_format = source.startswith("'{")
    literal = take_apart(source, is_format=is_format)
    from stemfirst_lint.fix.layout import Span

    assert spell(literal, [Span(0, len(literal.text))]) == source
    if "{" not in source:
        assert literal.text == ast.literal_eval(source)


@pytest.mark.parametrize("source", ["1 + 1", 'b"x"', '"{a" ', '"}"', 'f"{a" "'])
def test_what_is_no_template_is_said_to_be_none(source: str) -> None:
    with pytest.raises(LiteralError) as caught:
        take_apart(source, is_format=True)
    assert isinstance(caught.value, LintError)
