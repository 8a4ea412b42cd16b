"""A notebook's code cells are read as one module, and its findings name cell and line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint.check import check_paths
from stemfirst_lint.config import Config
from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.notebooks import read_notebook

Command = Callable[..., "subprocess.CompletedProcess[str]"]

LONG = "Answer politely and never promise what the policy does not grant. " * 16
CLIENT = "import openai\nclient = openai.OpenAI()"
ASK = (
    "def ask(question):\n"
    f'    text = f"Question: {{question}}\\n\\n{LONG}"\n'
    '    return client.create(messages=[{"role": "user", "content": text}])\n'
)


def notebook(*cells: str, language: str | None = None, is_joined: bool = False) -> bytes:
    """The bytes of a notebook; a cell that begins with `#md ` is Markdown."""
    made = [
        {
            "cell_type": "markdown" if cell.startswith("#md ") else "code",
            "metadata": {},
            "source": cell if is_joined else cell.splitlines(keepends=True),
        }
        for cell in cells
    ]
    metadata = {"language_info": {"name": language}} if language else {}
    content = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1).encode()


def shown(path: Path) -> list[str]:
    """The findings of a check, as `a.ipynb:cell 3:2:5 SF301`."""
    report = check_paths((str(path),), Config(root=str(path)))
    assert not report.failures
    return [f"{os.path.relpath(str(f.location), path)} {f.code}" for f in report.findings]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run the command in the test's folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stemfirst.cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    return run


@pytest.mark.parametrize("is_joined", [False, True], ids=["lines", "one string"])
def test_a_finding_names_the_cell_and_the_line_in_it(tmp_path: Path, is_joined: bool) -> None:
    data = notebook("#md # Title", CLIENT, "x = 1\n\n" + ASK, is_joined=is_joined)
    (tmp_path / "a.ipynb").write_bytes(data)
    assert shown(tmp_path) == ["a.ipynb:cell 3:4:24 SF301"]


def test_a_cell_knows_what_the_cells_before_it_defined(tmp_path: Path) -> None:
    clock = "from datetime import datetime\nnow = datetime.now"
    ask = f'text = f"Now: {{now()}}. {LONG}"\nclient.create(messages=[{{"role": "system", '
    ask += '"content": text}, *turns])'
    (tmp_path / "a.ipynb").write_bytes(notebook(clock, ask))
    assert shown(tmp_path) == ["a.ipynb:cell 2:1:15 SF101"]


def test_findings_stand_in_the_order_of_the_cells(tmp_path: Path) -> None:
    second = "\n" + ASK.replace("ask", "again")
    (tmp_path / "a.ipynb").write_bytes(notebook("\n\n\n" + ASK, second))
    assert [place.split(":")[1] for place in shown(tmp_path)] == ["cell 1", "cell 2"]


@pytest.mark.parametrize(
    ("cell", "module"),
    [
        ("%pip install x\nimport x", "pass\nimport x"),
        ("if a:\n    !ls {a}\n", "if a:\n    pass\n"),
        ("%time b = f(\n  1)", "pass; b = f(\n  1)"),
        ("names = !ls", "names = _"),
        ("print?", "pass"),
        ("!curl \\\n  -L x\ny = 1", "pass\n\ny = 1"),
        ("%%time\ny = 1", "\ny = 1"),
        ('t = """\n%d of\n!important\n"""', 't = """\n%d of\n!important\n"""'),
        ("y = (a\n% b)", "y = (a\n% b)"),
        ("await f()", "await f()"),
        ("type A = int", "type A = int"),
        ("x = '\\d'", "x = '\\d'"),
        ("%%bash\nls", None),
        ("pip install x", None),
        ("x = 'never", None),
        ("\x00", None),
    ],
)
def test_magics_stand_in_the_module_as_python(cell: str, module: str | None) -> None:
    assert read_notebook("a.ipynb", notebook(cell)).text == (module + "\n" if module else "")


def test_a_cell_that_is_no_python_leaves_the_lines_of_others_true(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_bytes(notebook("%%bash\nls\nls", "%pip install x", ASK))
    assert shown(tmp_path) == ["a.ipynb:cell 3:2:24 SF301"]


@pytest.mark.parametrize("language", ["R", "julia"])
def test_other_languages_are_not_read(language: str) -> None:
    assert read_notebook("a.ipynb", notebook(ASK, language=language)).cells == ()


def test_the_third_format_is_read(tmp_path: Path) -> None:
    cells = [{"cell_type": "code", "language": "python", "input": ASK.splitlines(keepends=True)}]
    content = {"worksheets": [{"cells": cells}], "metadata": {}, "nbformat": 3}
    (tmp_path / "a.ipynb").write_text(json.dumps(content))
    assert shown(tmp_path) == ["a.ipynb:cell 1:2:24 SF301"]


@pytest.mark.parametrize(
    "data",
    [
        b"{", b"[]", b"{}", b'{"cells": 1}', b'{"cells": [1]}', b"\xff", b'{"worksheets": [1]}',
        b'{"worksheets": [{"cells": 1}]}', b'{"worksheets": [{}]}',
        b'{"cells": [{"cell_type": "code", "source": 3}]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_notebook_is_told_and_the_rest_is_checked(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile):
        read_notebook("a.ipynb", data)
    (tmp_path / "a.ipynb").write_bytes(data)
    (tmp_path / "b.py").write_text(CLIENT + "\n" + ASK)
    report = check_paths((str(tmp_path),), Config(root=str(tmp_path)))
    assert [finding.code for finding in report.findings] == ["SF301"]
    assert len(report.failures) == 1


def test_an_empty_file_is_an_empty_notebook() -> None:
    assert read_notebook("a.ipynb", b"").text == ""


def test_a_comment_in_a_cell_silences_and_one_for_nothing_is_told(tmp_path: Path) -> None:
    comment = "  # stemfirst: ignore[SF301] few calls\n"
    quiet = ASK.replace('"\n', '"' + comment, 1)
    (tmp_path / "a.ipynb").write_bytes(notebook(quiet, "x = 1" + comment))
    assert shown(tmp_path) == ["a.ipynb:cell 2:1:8 SF901"]


def test_a_notebook_knows_the_modules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "prompts.py").write_text(f'RULES = "Question: {{question}} {LONG}"\n')
    ask = 'import prompts\ndef ask(question):\n    client.create(messages=[{"role": "user", '
    ask += '"content": prompts.RULES.format(question=question)}])'
    (tmp_path / "a.ipynb").write_bytes(notebook(CLIENT, ask))
    report = check_paths((str(tmp_path),), Config(root=str(tmp_path)))
    (finding,) = report.findings
    assert finding.location.path.endswith("prompts.py")
    assert finding.site is not None
    assert finding.site.location.cell is not None
    assert finding.site.location.cell.number == 2


def test_nothing_writes_into_a_notebook(tmp_path: Path, command: Command) -> None:
    data = notebook(CLIENT, ASK)
    (tmp_path / "a.ipynb").write_bytes(data)
    fixed = command("fix", "--risky")
    assert "`fix` rewrites no notebook" in fixed.stdout
    assert "cell 2:2:24" in fixed.stdout
    assert "[fixable]" not in command("check").stdout
    command("check", "--fix")
    noted = command("check", "--add-ignore", "few calls")
    assert "add them in the cells" in noted.stderr + noted.stdout
    assert (tmp_path / "a.ipynb").read_bytes() == data


def test_every_format_names_the_cell(tmp_path: Path, command: Command) -> None:
    (tmp_path / "a.ipynb").write_bytes(notebook("#md x", ASK))
    (found,) = json.loads(command("check", "--output-format", "json").stdout)
    assert (found["cell"], found["line"], found["end_line"]) == (2, 2, 2)
    assert (found["evidence"][0]["cell"], found["evidence"][0]["line"]) == (2, 1)
    assert " 2 | text = f" in command("check").stdout
    assert "(cell 2, line 1)" in command("check").stdout.replace("\n      ", " ")
    for form in ("concise", "github", "junit"):
        assert "a.ipynb:cell 2:2:24" in command("check", "--output-format", form).stdout
    for form in ("sarif", "gitlab"):
        assert "cell 2, line 2: " in command("check", "--output-format", form).stdout


def test_a_second_run_tells_the_same_from_its_cache(tmp_path: Path, command: Command) -> None:
    (tmp_path / "a.ipynb").write_bytes(notebook("#md x", ASK))
    first = command("check")
    assert command("check").stdout == first.stdout
    assert "cell 2:2:24" in first.stdout


def test_any_change_in_a_notebook_counts_since_a_revision(tmp_path: Path, command: Command) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "a.ipynb").write_bytes(notebook(ASK))
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")
    assert "cell" not in command("check", "--since", "HEAD").stdout
    (tmp_path / "a.ipynb").write_bytes(notebook(ASK, "x = 1"))
    assert "cell 1:2:24" in command("check", "--since", "HEAD").stdout
