"""Jinja templates and prompt files: what moves, what stays, and what they render."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fix_sources import RULES, of_text
from jinja2 import Template as Jinja
from stemfirst_lint.check import check_paths
from stemfirst_lint.config import Config, load_config
from stemfirst_lint.fix.apply import Outcome, fix_paths
from stemfirst_lint.fix.changes import Rewrite
from stemfirst_lint.fix.rewrite import rewrite
from stemfirst_lint.model import Applicability, Finding, Form, Location, Template
from stemfirst_lint.source import Source

RISKY = Applicability.RISKY
APP = (
    "{head}\n\n\ndef ask(client, question, context, docs):\n"
    "    text = {read}\n"
    "    return client.chat.completions.create(messages=[{{'role': 'user', 'content': text}}])\n"
)
RENDER = "render(question=question, context=context, docs=docs)"
IN_PYTHON = APP.format(
    head='from jinja2 import Template\n\nP = Template("""{text}""")', read=f"P.{RENDER}"
)
IN_FILE = APP.format(
    head="from jinja2 import Environment, FileSystemLoader\n\n"
    "env = Environment(loader=FileSystemLoader('prompts'))",
    read=f"env.get_template('ask.j2').{RENDER}",
)
VALUES = {"question": "Why?", "context": "a b", "docs": ["x", "y"]}

# R stands for the rules.
MOVES = {
    "an expression with its label": (
        "Context: {{ context|trim }}\n\nR\n\nQuestion: {{ question }}\n",
        "R\n\nContext: {{ context|trim }}\n\nQuestion: {{ question }}\n",
    ),
    "a condition moves whole": (
        "{% if context %}\nContext:\n\n{{ context }}\n{% else %}\nContext: none\n{% endif %}\n\nR\n"
        "\nQuestion: {{ question }}\n",
        "R\n\n{% if context %}\nContext:\n\n{{ context }}\n{% else %}\nContext: none\n{% endif %}\n"
        "\nQuestion: {{ question }}\n",
    ),
    "a condition on one line": (
        "{% if context %}Context: {{ context }}{% endif %}\nR\n\nQuestion: {{ question }}\n",
        "R\n{% if context %}Context: {{ context }}{% endif %}\n\nQuestion: {{ question }}\n",
    ),
    "a loop moves whole, with its heading": (
        "Texts:\n{% for doc in docs %}\n- {{ doc }}\n{% endfor %}\n\nR\n\nAsk: {{ question }}\n",
        "R\n\nTexts:\n{% for doc in docs %}\n- {{ doc }}\n{% endfor %}\n\nAsk: {{ question }}\n",
    ),
    "a comment goes with what stands below it": (
        "{# what we know #}\nContext: {{ context }}\n\nR\n\nQuestion: {{ question }}\n",
        "R\n\n{# what we know #}\nContext: {{ context }}\n\nQuestion: {{ question }}\n",
    ),
    "a pointer inside a condition stays behind what it points at": (
        "Context: {{ context }}\n\n{% if docs %}Use the context above.{% endif %}\n\nR\n",
        "R\n\nContext: {{ context }}\n\n{% if docs %}Use the context above.{% endif %}\n",
    ),
    "a cue inside a condition stays last": (
        "Context: {{ context }}\n\nR\n\n{% if question %}\nQuestion: {{ question }}\nAnswer:\n"
        "{% endif %}\n",
        "R\n\nContext: {{ context }}\n\n{% if question %}\nQuestion: {{ question }}\nAnswer:\n"
        "{% endif %}\n",
    ),
}


def fixed(folder: Path, *, allow: Applicability = Applicability.REORDER) -> Outcome:
    outcome = fix_paths((str(folder),), Config(), allow=allow)
    assert not outcome.failures
    assert not fix_paths((str(folder),), Config(), allow=allow).changed
    return outcome


@pytest.mark.parametrize(("before", "after"), MOVES.values(), ids=MOVES)
@pytest.mark.parametrize("is_file", [False, True], ids=["in Python", "in a file"])
def test_jinja(before: str, after: str, is_file: bool, tmp_path: Path) -> None:
    before, after = before.replace("R\n", f"{RULES}\n"), after.replace("R\n", f"{RULES}\n")
    app, template = tmp_path / "app.py", tmp_path / "prompts" / "ask.j2"
    if is_file:
        template.parent.mkdir()
        template.write_text(before)
        app.write_text(IN_FILE)
    else:
        app.write_text(IN_PYTHON.replace("{text}", before))
    outcome = fixed(tmp_path)
    new = template.read_text() if is_file else app.read_text()
    assert new == (after if is_file else IN_PYTHON.replace("{text}", after)), [
        left.reasons for rewrite in outcome.rewrites for left in rewrite.left
    ]
    old_words, new_words = (Jinja(text).render(VALUES).split() for text in (before, after))
    assert sorted(old_words) == sorted(new_words)


STAYS = {
    "a binding": ("{% set c = 1 %}\nContext: {{ context }}\n\nR\n", "depends on it"),
    "a macro": ("{% macro m() %}x{% endmacro %}Context: {{ context }}\n\nR\n", None),
    "inheritance": ("{% extends 'a' %}Context: {{ context }}\n\nR\n", None),
    "what strips white space": (
        "Context: {{ context }}\n\n{%- if docs %}\nBe quick.\n{%- endif %}\n\nR\n",
        "strips white space",
    ),
    "a value alone": ("{{ context }}\n\nR\n\nQuestion: {{ question }}\n", "stands alone"),
}


@pytest.mark.parametrize(("text", "reason"), STAYS.values(), ids=STAYS)
def test_jinja_stays_with(text: str, reason: str | None, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    source = IN_PYTHON.replace("{text}", text.replace("R\n", f"{RULES}\n"))
    app.write_text(source)
    outcome = fixed(tmp_path)
    assert app.read_text() == source
    if reason is not None:
        (left,) = outcome.rewrites[0].left
        assert reason in " ".join(str(why) for why in left.reasons)


TEXT = f"Context: {{context}}\n\n{RULES}\n\nQuestion: {{question}}\n"
MOVED = f"{RULES}\n\nContext: {{context}}\n\nQuestion: {{question}}\n"
FILLED = {
    "format": ("{}.format(question=question, context=context)", TEXT, MOVED),
    "replace": (
        "{}.replace('<<c>>', context).replace('<<q>>', question)",
        TEXT.replace("{context}", "<<c>>").replace("{question}", "<<q>>"),
        MOVED.replace("{context}", "<<c>>").replace("{question}", "<<q>>"),
    ),
}


@pytest.mark.parametrize(("call", "before", "after"), FILLED.values(), ids=FILLED)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("suffix", [".txt", ".md"])
def test_a_prompt_file_keeps_its_bytes_but_for_the_order(
    call: str, before: str, after: str, newline: str, mark: str, suffix: str, tmp_path: Path
) -> None:
    prompt = tmp_path / f"prompt{suffix}"
    prompt.write_bytes((mark + before).replace("\n", newline).encode())
    (tmp_path / "app.py").write_text(
        APP.format(
            head=f"from pathlib import Path\n\nP = (Path(__file__).parent / 'prompt{suffix}')",
            read=call.format("P.read_text()"),
        )
    )
    outcome = fixed(tmp_path)
    assert prompt.read_bytes() == (mark + after).replace("\n", newline).encode(), [
        left.reasons for rewrite in outcome.rewrites for left in rewrite.left
    ]


def scalar(text: str, start: str, body: str) -> Finding:
    """Return a finding about a block scalar that begins at the first `start` in a file."""
    source = Source("p.yaml", text)
    at = text.index(start)
    end = at + len(text[at:].rstrip())
    place = source.location(at, end)
    pieces = tuple(replace(piece, location=place) for piece in of_text(body, Form.FORMAT).pieces)
    template = Template(Form.FORMAT, place, pieces)
    return Finding("SF301", "n", "m", Location("p.yaml", 1, 1, 1, 2), 200, template=template)


def in_yaml(body: str, *, indent: str = "    ", newline: str = "\n") -> str:
    lines = [indent + line if line else "" for line in body.rstrip("\n").split("\n")]
    head = "# prompts\nask:\n  role: user\n  text: |  # the prompt"
    return newline.join([head.replace("\n", newline), *lines, ""])


def rewritten(text: str, body: str) -> Rewrite:
    start = body.split("\n")[0]
    found = scalar(text, start, body.rstrip("\n"))
    return rewrite("p.yaml", text.encode(), [found], allow=Applicability.REORDER)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_block_scalar_keeps_its_indentation(newline: str) -> None:
    body = TEXT.replace("Question", "Steps:\n- read\n  - twice\n\nQuestion")
    after = MOVED.replace("Context", "Steps:\n- read\n  - twice\n\nContext")
    made = rewritten(in_yaml(body, newline=newline), body)
    assert made.new.decode() == in_yaml(after, newline=newline), made.left


def test_a_value_that_is_no_block_scalar_stays() -> None:
    text = in_yaml(TEXT).replace("|", ">")
    made = rewritten(text, TEXT)
    assert made.new == made.old
    assert "no literal block scalar" in str(made.left[0].reasons[0])


def test_values_in_files_of_data_stay() -> None:
    found = scalar(in_yaml(TEXT), "Context", TEXT)
    for name in ("p.jsonl", "p.toml", "n.ipynb"):
        made = rewrite(name, b"{}", [found], allow=Applicability.RISKY)
        assert made.new == b"{}"
        what = "notebook" if name == "n.ipynb" else "value inside such a file"
        assert f"`fix` rewrites no {what}" in str(made.left[0].reasons[0])


NAMED = {
    "prompts/ask.txt": (TEXT, MOVED),
    "prompts/deep/ask.md": (TEXT, MOVED),
    "prompts/ask.jinja2": (
        TEXT.replace("{context}", "{{ context }}").replace("{question}", "{{ question }}"),
        MOVED.replace("{context}", "{{ context }}").replace("{question}", "{{ question }}"),
    ),
    "prompts/dollars.txt": (
        TEXT.replace("{context}", "${context}").replace("{question}", "${question}"),
        MOVED.replace("{context}", "${context}").replace("{question}", "${question}"),
    ),
    "prompts/all.yaml": (in_yaml(TEXT), in_yaml(MOVED)),
    "prompts/two.yml": (
        in_yaml(TEXT) + "\nother: |\n  Be brief.\nlast:\n" + in_yaml(TEXT, indent="      "),
        in_yaml(MOVED) + "\nother: |\n  Be brief.\nlast:\n" + in_yaml(MOVED, indent="      "),
    ),
    "elsewhere/ask.txt": (TEXT, TEXT),
}


def test_files_that_the_settings_name_are_checked_and_fixed(tmp_path: Path) -> None:
    for name, (before, _) in NAMED.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(before)
    (tmp_path / "pyproject.toml").write_text('[tool.stemfirst]\nprompts = ["prompts/**/*.*"]\n')
    config = load_config(str(tmp_path))
    found = {f.location.path.removeprefix(f"{tmp_path}/") for f in
             check_paths((str(tmp_path),), config).findings}  # fmt: skip
    assert found == set(NAMED) - {"elsewhere/ask.txt"}
    outcome = fix_paths((str(tmp_path),), config, allow=Applicability.REORDER)
    assert not outcome.failures
    for name, (_, after) in NAMED.items():
        assert (tmp_path / name).read_text() == after, name
    assert not outcome.remaining


def test_a_named_file_that_is_no_text_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "ask.txt").write_bytes(b"\xff {context}")
    report = check_paths((str(tmp_path),), Config(prompts=("*.txt",), root=str(tmp_path)))
    assert "not utf-8" in str(report.failures[0])


def _in_json(folder: Path, escaped: str) -> Path:
    prompts = folder / "prompts.json"
    prompts.write_text(f'{{\n  "one": 1,\n  "answer": "{escaped}"\n}}\n')
    (folder / "app.py").write_text(
        "import json\nfrom pathlib import Path\n\n"
        'PROMPTS = json.loads((Path(__file__).parent / "prompts.json").read_text())\n\n\n'
        "def ask(client, question, context):\n"
        '    text = PROMPTS["answer"].format(context=context, question=question)\n'
        '    return client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    return prompts


def test_a_prompt_in_json_that_code_loads_is_rewritten(tmp_path: Path) -> None:
    text = f'You are "Kim".\\n\\nContext:\\n{{context}}\\n\\n{RULES}\\n\\nQuestion: {{question}}\\n'
    prompts = _in_json(tmp_path, text.replace('"', '\\"'))
    outcome = fix_paths((str(tmp_path),), Config(), allow=Applicability.REORDER)
    assert not outcome.failures
    assert json.loads(prompts.read_text()) == {
        "one": 1,
        "answer": f'You are "Kim".\n\n{RULES}\n\nContext:\n{{context}}\n\nQuestion: {{question}}\n',
    }
    assert prompts.read_text().startswith('{\n  "one": 1,\n  "answer": "You are \\"Kim\\".\\n\\n')
    assert not fix_paths((str(tmp_path),), Config(), allow=Applicability.REORDER).changed


def test_a_string_that_only_json_reads_so_is_left(tmp_path: Path) -> None:
    """A slash may be escaped in JSON and in nothing else."""
    prompts = _in_json(tmp_path, f"Context:\\n{{context}}\\n\\nEither\\/or. {RULES}\\n")
    before = prompts.read_text()
    outcome = fix_paths((str(tmp_path),), Config(), allow=Applicability.RISKY)
    assert prompts.read_text() == before
    assert "does not read as the template" in str(outcome.rewrites[0].left[0].reasons[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Context: {{ context }}\n\nR\n\nQuestion: {{ question }}\n", Applicability.REORDER),
        ("Context: {{ context }}\n{%- if docs %}\n{{ docs }}\n{% endif %}\n\nR\n", RISKY),
        ("Context: {{ context }}\n\n{% set a = 1 %}\n\nR\n\nQuestion: {{ question }}\n", None),
    ],
    ids=["plain", "strips white space", "binds a name"],
)
def test_check_says_of_a_file_what_fix_would_do(
    text: str, expected: Applicability | None, tmp_path: Path
) -> None:
    """How a template is written decides, not its words alone."""
    (tmp_path / "app.py").write_text(IN_FILE)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ask.j2").write_text(text.replace("R\n", RULES + "\n"))
    found = check_paths((str(tmp_path),), Config()).findings
    assert {finding.applicability for finding in found} == {expected}
    if expected is not RISKY:
        made = fix_paths((str(tmp_path),), Config(), allow=Applicability.REORDER, write=False)
        assert bool(made.changed) is (expected is not None)
