"""Laws that every plan and every rewrite keeps, on templates that are drawn from few parts."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import tempfile
import time
import tokenize
import types
from collections import Counter
from pathlib import Path

import fix_sources as sources
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from jinja2 import Template as Jinja
from stemfirst_lint.config import Config
from stemfirst_lint.fix.apply import fix_paths
from stemfirst_lint.fix.plan import plan_for
from stemfirst_lint.fix.prove import reordered
from stemfirst_lint.fix.rewrite import rewrite
from stemfirst_lint.jinja import read_jinja
from stemfirst_lint.literals import FormatField
from stemfirst_lint.model import Applicability, Finding, Form, Hole, Piece, Template, Text
from stemfirst_lint.source import Source

RULES = sources.RULES

BLOCKS = [
    "Time: {now}",
    "The current time is {now}.",
    "Context: {context}",
    "Context:\n{context}",
    "<doc>\n{doc}\n\n</doc>",
    "# Profile\n{profile}",
    "Question: {question}",
    "{bare}",
    "You are {agent}, a helper.",
    "You are a helper.",
    RULES,
    f"# Rules\n{RULES}",
    f"Rules:\n- {RULES}\n- Be brief.",
    "Use the context above.",
    "Answer the following question.",
    "This matters.",
    "Greet {name} kindly and say {c_word}.",
    "1. Read.\n2. Think {now}.\n3. Write.",
    "---",
    "Example:\nQ: a\nA: b",
    "```\n{code}\n```",
    "Is it {unknown}?",
    "Answer:",
    "  indented {now}",
    "Cost: 100% {{}}",
]
JOINTS = ["\n\n", "\n", " ", "\n\n\n", "\n \n", ". "]
ENDS = ["", "\n", "\n\n", "  "]

texts = st.builds(
    lambda head, first, rest, tail: head + first + "".join(j + b for j, b in rest) + tail,
    st.sampled_from(ENDS),
    st.sampled_from(BLOCKS),
    st.lists(st.tuples(st.sampled_from(JOINTS), st.sampled_from(BLOCKS)), max_size=6),
    st.sampled_from(ENDS),
)


def parts(text: str) -> Counter[str]:
    """Return the words of a text, which no plan may add, drop or change."""
    return Counter(text.split())


@given(texts, st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_plan_keeps_every_word_and_every_hole(text: str, is_risky: bool) -> None:
    plan = plan_for(sources.of_text(text), risky=is_risky, min_gain=0)
    assert parts(plan.new_text) == parts(plan.flat.text)
    assert sorted(plan.hole_order) == list(range(len(plan.flat.holes)))


@given(texts, st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_plan_moves_whole_blocks(text: str, is_risky: bool) -> None:
    plan = plan_for(sources.of_text(text), risky=is_risky, min_gain=0)
    blocks = [plan.flat.text[block.start : block.end] for block in plan.blocks]
    assert sorted(plan.order) == list(range(len(blocks)))
    at = 0
    for index in plan.order:
        at = plan.new_text.index(blocks[index], at) + len(blocks[index])


@given(texts, st.booleans())
@settings(max_examples=300, deadline=None)
def test_forfeits_never_grow(text: str, is_risky: bool) -> None:
    plan = plan_for(sources.of_text(text), risky=is_risky, min_gain=0)
    assert plan.after.characters <= plan.before.characters
    assert (plan.applicability is None) == (plan.new_text == plan.flat.text)


@given(texts)
@settings(max_examples=300, deadline=None)
def test_the_layout_is_kept_at_both_ends_and_no_line_ends_pile_up(text: str) -> None:
    plan = plan_for(sources.of_text(text), risky=True, min_gain=0)
    old, new = plan.flat.text, plan.new_text
    assert len(new) - len(new.rstrip()) == len(old) - len(old.rstrip())
    assert len(new) - len(new.lstrip("\n")) == len(old) - len(old.lstrip("\n"))
    longest = max((run.count("\n") for run in _blanks(old)), default=0)
    assert max((run.count("\n") for run in _blanks(new)), default=0) <= max(longest, 2)


def _blanks(text: str) -> list[str]:
    words = text.split()
    found, at = [], 0
    for word in words:
        start = text.index(word, at)
        found.append(text[at:start])
        at = start + len(word)
    return found[1:]


@given(texts, st.booleans())
@settings(max_examples=300, deadline=None)
def test_planning_settles(text: str, is_risky: bool) -> None:
    template = sources.of_text(text)
    for _ in range(4):
        plan = plan_for(template, risky=is_risky)
        if plan.applicability is None:
            return
        template = reordered(template, plan)
    raise AssertionError("a fourth plan still moves something")


QUOTES = ['"""', "'''"]


@given(texts, st.sampled_from(QUOTES), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_rewrite_renders_the_same_blocks_and_a_second_run_changes_nothing(
    text: str, quote: str, is_risky: bool, is_format: bool
) -> None:
    literal = f"{'' if is_format else 'f'}{quote}{text}{quote}"
    form = Form.FORMAT if is_format else Form.FSTRING
    code = f"# head\nP = {literal}  # tail\n"
    if is_format:
        code += "P.format()\n"
    allow = Applicability.RISKY if is_risky else Applicability.REORDER
    found = sources.findings("t.py", code)
    first = rewrite("t.py", code.encode(), found, allow=allow)
    for left in first.left:
        for reason in left.reasons:
            assert "not read" not in str(reason)
            assert "lost" not in str(reason)
    new = first.new.decode()
    values = Values()
    assert parts(render(new, form, values)) == parts(render(code, form, values))
    again = rewrite("t.py", first.new, sources.findings("t.py", new), allow=allow)
    assert again.new == first.new


@given(texts, st.booleans(), st.sampled_from([" + ", "\n    + ", "\nP += "]))
@settings(max_examples=300, deadline=None)
def test_a_sum_renders_the_same_blocks_and_a_second_run_changes_nothing(
    text: str, is_risky: bool, joint: str
) -> None:
    operands = [
        part[1:-1] if re.fullmatch(r"\{\w+\}", part) else json.dumps(part.replace("{{}}", "{}"))
        for part in re.split(r"(\{\w+\})", text)
        if part
    ]
    code = f"# head\nP = {joint.join(operands)}\nsend(P)\n"
    if joint.startswith("\n "):
        code = f"# head\nP = (\n    {joint.join(operands)}\n)\nsend(P)\n"
    found = sources.findings("t.py", code)
    allow = Applicability.RISKY if is_risky else Applicability.REORDER
    first = rewrite("t.py", code.encode(), found, allow=allow)
    for left in first.left:
        for reason in left.reasons:
            assert not re.search("not read|lost|code outside|not parse", str(reason))
    new = first.new.decode()
    assert parts(render(new, Form.CONCAT, Values())) == parts(render(code, Form.CONCAT, Values()))
    again = rewrite("t.py", first.new, sources.findings("t.py", new), allow=allow)
    assert again.new == first.new


comments = st.lists(
    st.sampled_from(["", "  # c", "\n    # above\n", "  # d\n    # e\n"]), min_size=9
)


@given(texts, comments, st.booleans(), st.sampled_from(["", " +"]))
@settings(max_examples=200, deadline=None)
def test_comments_are_kept(text: str, notes: list[str], is_risky: bool, plus: str) -> None:
    lines = [json.dumps(line) for line in text.splitlines(keepends=True)]
    code = "# head\nP = (\n"
    for number, line in enumerate(lines):
        note = notes[number] if number < len(notes) else ""
        joint = "" if number == len(lines) - 1 else plus
        code += f"    f{line}{joint}{note.rstrip()}\n"
    code += ")  # tail\n"
    found = sources.findings("t.py", code)
    allow = Applicability.RISKY if is_risky else Applicability.REORDER
    first = rewrite("t.py", code.encode(), found, allow=allow)
    for left in first.left:
        for reason in left.reasons:
            assert not re.search("not read|code outside|not parse", str(reason))
    new = first.new.decode()
    kept, had = (re.findall(r"(?m)# (?:[cde]|above|head|tail)$", each) for each in (new, code))
    assert Counter(kept) == Counter(had)
    form = Form.CONCAT
    assert parts(render(new, form, Values())) == parts(render(code, form, Values()))
    again = rewrite("t.py", first.new, sources.findings("t.py", new), allow=allow)
    assert again.new == first.new


JINJA_BLOCKS = [
    "Time: {{ now }}",
    "Context:\n{{ context|trim }}",
    "{% if context %}\nContext:\n{{ context }}\n{% endif %}",
    "{% if nonce %}Id: {{ nonce }}{% else %}No id.{% endif %}",
    "Examples:\n{% for doc in docs %}\n- {{ doc }}\n\n{% endfor %}",
    "{% for doc in docs %}{% if doc %}<d>{{ doc }}</d>{% endif %}{% endfor %}",
    "{# a note #}",
    "{% if c_flag %}Be kind.{% endif %}",
    "{{ bare }}",
    "Question: {{ question }}",
    "{% if question %}\nAnswer:\n{% endif %}",
    "Use the context above.",
    RULES,
    f"# Rules\n{RULES}",
    f"Rules:\n- {RULES}\n- Be brief.",
    "You are a helper.",
    "Answer:",
]
jinja_texts = st.builds(
    lambda head, first, rest, tail: head + first + "".join(j + b for j, b in rest) + tail,
    st.sampled_from(ENDS),
    st.sampled_from(JINJA_BLOCKS),
    st.lists(st.tuples(st.sampled_from(JOINTS), st.sampled_from(JINJA_BLOCKS)), max_size=6),
    st.sampled_from(ENDS),
)
JINJA_VALUES = {
    "now": "[now]", "context": "[context]", "nonce": "[nonce]", "docs": ["[a]", "[b]"],
    "c_flag": "[flag]", "bare": "[bare]", "question": "[question]",
}  # fmt: skip


def jinja_findings(text: str) -> list[Finding]:
    place = Source("t.j2", text).location(0, len(text))
    pieces: list[Piece] = []
    for part in read_jinja(text) or ():
        if isinstance(part, FormatField):
            pieces.append(Hole(part.name, part.name, place, sources.verdict(part.name)))
        else:
            pieces.append(Text(part.text, place))
    made = Template(Form.JINJA, place, tuple(pieces))
    return [Finding("SF301", "n", "m", place, 200, template=made)]


@given(jinja_texts, st.booleans(), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=200, deadline=None)
def test_jinja_renders_the_same_words(text: str, is_risky: bool, newline: str) -> None:
    text = text.replace("\n", newline)
    allow = Applicability.RISKY if is_risky else Applicability.REORDER
    first = rewrite("t.j2", text.encode(), jinja_findings(text), allow=allow)
    for left in first.left:
        for reason in left.reasons:
            assert not re.search("not read|lost|cut|depends|closed|found", str(reason)), reason
    new = first.new.decode()
    assert parts(Jinja(new).render(JINJA_VALUES)) == parts(Jinja(text).render(JINJA_VALUES))
    assert Counter(re.findall("{[%#].*?[%#]}", new)) == Counter(re.findall("{[%#].*?[%#]}", text))
    assert new.count("\r\n") == new.count("\n") or newline == "\n"
    again = rewrite("t.j2", first.new, jinja_findings(new), allow=allow)
    assert again.new == first.new


PARTS = [
    'f"Context: {context}"', '"# Rules\\n" RULES', "RULES", 'f"Question: {question}"', '"Answer:"',
    'f"<doc>{docs}</doc>"', '"Use the context above."', 'question',
    '("Be brief. "\n         "Be kind.")',
]  # fmt: skip
NOTES = ["", "", "  # c", "  # d"]
HEADS = ["", "", "        # above\n", "        # e\n        # above\n", "\n        # above\n\n"]


@given(
    st.lists(
        st.tuples(st.sampled_from(PARTS), st.sampled_from(NOTES), st.sampled_from(HEADS)),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
    st.sampled_from([True, True, False]),
)
@settings(max_examples=60, deadline=None)
def test_a_joined_list_keeps_its_parts(
    parts_of: list[tuple[str, str, str]], is_risky: bool, has_lines: bool
) -> None:
    body = "".join(
        f"{head}        {part},{note}\n" if has_lines else f"{part}, "
        for part, note, head in parts_of
    ).replace("RULES", json.dumps(RULES))
    listed = f"[\n{body}    ]" if has_lines else f"[{body}]"
    code = (
        f'def ask(client, question, context, docs):\n    text = "\\n\\n".join({listed})\n'
        '    return client.create(messages=[{"role": "user", "content": text}])\n'
    )
    allow = Applicability.RISKY if is_risky else Applicability.REORDER
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app.py"
        app.write_text(code)
        outcome = fix_paths((folder,), Config(min_gain=16), allow=allow)
        new = app.read_text()
        assert not outcome.failures
        assert parts(asked(new)) == parts(asked(code))
        assert comments_in(new) == comments_in(code)
        assert not fix_paths((folder,), Config(min_gain=16), allow=allow).changed


def comments_in(code: str) -> Counter[str]:
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return Counter(token.string for token in tokens if token.type == tokenize.COMMENT)


def asked(code: str) -> str:
    names: dict[str, object] = {}
    exec(code, names)
    ask = names["ask"]
    assert callable(ask)
    client = types.SimpleNamespace(create=lambda messages: messages[0]["content"])
    return str(ask(client, "[why]", "[what]", "[docs]"))


LAWS = [
    test_a_joined_list_keeps_its_parts,
    test_comments_are_kept,
    test_jinja_renders_the_same_words,
    test_a_plan_keeps_every_word_and_every_hole,
    test_a_plan_moves_whole_blocks,
    test_forfeits_never_grow,
    test_the_layout_is_kept_at_both_ends_and_no_line_ends_pile_up,
    test_planning_settles,
    test_a_rewrite_renders_the_same_blocks_and_a_second_run_changes_nothing,
    test_a_sum_renders_the_same_blocks_and_a_second_run_changes_nothing,
]


@pytest.mark.long
def test_the_laws_hold_for_as_long_as_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    """`STEMFIRST_LAWS_SECONDS=3600` for an hour; `STEMFIRST_LAWS_SEED` repeats a failure."""
    first = int(os.environ.get("STEMFIRST_LAWS_SEED", time.time_ns() % 2**32))
    deadline = time.monotonic() + float(os.environ.get("STEMFIRST_LAWS_SECONDS", "30"))
    for number in itertools.count(first):
        for law in LAWS:
            try:
                seed(number)(law)()
            except BaseException:
                with capsys.disabled():
                    print(f"\n{law.__name__} fails: STEMFIRST_LAWS_SEED={number}")
                raise
        if time.monotonic() > deadline:
            break
    with capsys.disabled():
        print(f"\nseeds {first} to {number} hold")


class Values(dict[str, str]):
    """Gives every name a value of its own."""

    def __missing__(self, name: str) -> str:
        if name.startswith("__"):
            raise KeyError(name)
        return f"[{name}]"


def render(code: str, form: Form, values: Values) -> str:
    names: dict[str, object] = {}
    if form is Form.FORMAT:
        exec(code.replace("P.format()\n", ""), names)
        return str(names["P"]).format_map(values)
    code = code.replace("send(P)\n", "")
    exec(code, values_for_exec := Scope(), values_for_exec)
    return str(values_for_exec["P"])


class Scope(dict[str, object]):
    """A namespace in which every name has a value."""

    def __missing__(self, name: str) -> object:
        if name.startswith("__"):
            raise KeyError(name)
        return f"[{name}]"
