"""What a command showed is shown again only while it would show the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stemfirst.cli import main
from stemfirst_lint import again
from stemfirst_lint.cache import FOLDER

LONG = "Answer politely and never promise what the policy does not grant. " * 16
APP = """\
from shop.texts import PROMPT
from shop.tools import name_of

def ask(client, question):
    text = PROMPT.format(question=name_of(question))
    client.create(messages=[{"role": "user", "content": text}])
"""
TEXTS = f'PROMPT = "{{question}}\\n\\n{LONG}"\n'
TOOLS = "def name_of(thing):\n    return thing\n"
NEW = f'def ask(client, query):\n    client.create(system=f"Search for {{query}}. {LONG}")\n'
FILES = {
    "shop/__init__.py": "",
    "shop/app.py": APP,
    "shop/texts.py": TEXTS,
    "shop/tools.py": TOOLS,
    **{f"plain{number}.py": "x = 1\n" for number in range(9)},
}


@dataclass(frozen=True)
class Shown:
    """What a command wrote and ended with, and whether it had to work for it."""

    out: str
    err: str
    code: int
    is_again: bool

    def same(self, other: Shown) -> bool:
        return (self.out, self.err, self.code) == (other.out, other.err, other.code)


Check = Callable[..., Shown]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Check:
    """Run `stemfirst check` in this process as the command line does."""
    monkeypatch.setattr("gc.freeze", lambda: None)

    def run(*arguments: str) -> Shown:
        worked: list[object] = []
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["stemfirst", "check", *arguments])
            patch.setattr(
                "stemfirst_lint.cli.run.check_paths",
                lambda *a, **k: worked.append(a) or _check_paths(*a, **k),
            )
            with pytest.raises(SystemExit) as ended:
                main()
        assert not again.TRACES
        shown = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Shown(shown.out, shown.err, code, not worked)

    from stemfirst_lint.check import check_paths as _check_paths

    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that nobody has touched for an hour."""
    folder = tmp_path / "work"
    lay(folder)
    monkeypatch.chdir(folder)
    return folder


def lay(folder: Path) -> None:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    age(folder)


NOW_NS = time.time_ns() - 10 * 10**9
ages = iter(range(3600, 10**9))


def age(folder: Path) -> None:
    """Let what was touched just now look as if that had been long ago, each at its own time."""
    for path in (folder, *folder.rglob("*")):
        if FOLDER not in path.parts and time_of(path) > NOW_NS:
            past_ns = NOW_NS - next(ages) * 10**9
            os.utime(path, ns=(past_ns, past_ns), follow_symlinks=False)


def time_of(path: Path) -> int:
    return path.lstat().st_mtime_ns


def settle(project: Path, check: Check) -> Shown:
    """Run until the answer is known; return the first answer."""
    first = check()
    age(project)  # the cache's folder came to the project's
    check()
    assert check().is_again
    return first


def test_an_unchanged_project_is_answered_without_work(project, check) -> None:
    first = settle(project, check)
    assert first.code == 1
    assert "SF301" in first.out
    assert check().same(first)
    assert check("--no-cache").same(first)


@pytest.mark.parametrize("name", ["--statistics", "--output-format=json", "--exit-zero"])
def test_each_command_line_has_its_own_answer(name: str, project, check) -> None:
    first = settle(project, check)
    other = check(name)
    assert not other.is_again
    assert not other.same(first)
    assert check(name).same(other)
    assert check().same(first)


def test_an_error_is_told_again(project, check) -> None:
    (project / "broken.py").write_text("PROMPT = (\n")
    first = settle(project, check)
    assert first.code == 2
    assert "broken.py" in first.err
    assert check().same(first)


def test_a_link_that_leads_somewhere_at_last_is_seen(project, check) -> None:
    (project / "link.py").symlink_to("../elsewhere.py")
    age(project)
    for _ in range(3):
        shown = check()
    assert "link.py" in shown.err
    (project.parent / "elsewhere.py").write_text(NEW)
    assert check().same(check("--no-cache"))


def test_a_command_line_of_paths_alone_needs_no_parser_and_says_the_same(
    project, stemfirst
) -> None:
    (project / "accents.py").write_text(NEW.replace("Search", "Größe →"))
    code = (
        "import sys; sys.argv[1:] = ['check', '.']\n"
        "import stemfirst.cli, atexit\n"
        "atexit.register(lambda: print('click' in sys.modules, file=sys.stderr))\n"
        "stemfirst.cli.main()\n"
    )
    for _ in range(3):
        plain = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=False, cwd=project,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )  # fmt: skip
        assert plain.stderr == b"False\n"
        parsed = stemfirst("check", ".", "--no-cache", cwd=project, PYTHONIOENCODING="ascii")
        assert plain.stdout.decode() == parsed.stdout
        assert plain.returncode == parsed.returncode == 1


def _rename(project: Path) -> None:
    (project / "shop/texts.py").rename(project / "shop/words.py")


def _swap(project: Path) -> None:
    """Replace a file by one of the same size and time, as `mv` of a backup does."""
    path, other = project / "shop/texts.py", project / "shop/other.py"
    shutil.copy2(path, other)
    other.write_text(TEXTS.replace("{question}", "A question"))
    os.utime(other, ns=(time_of(path) - 1, time_of(path) - 1))
    other.replace(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a prompt": lambda p: (p / "shop/texts.py").write_text('PROMPT = "{question}"\n'),
    "the helper of a prompt": lambda p: (p / "shop/tools.py").write_text(
        TOOLS.replace("return thing", "return 'always the same'")
    ),
    "a file without prompts": lambda p: (p / "plain3.py").write_text(
        f"from shop import app\n{APP}"
    ),
    "a new file": lambda p: (p / "new.py").write_text(NEW),
    "a file is gone": lambda p: (p / "shop/texts.py").unlink(),
    "a file is renamed": _rename,
    "a file is replaced": _swap,
    "new settings": lambda p: (p / "pyproject.toml").write_text(
        '[tool.stemfirst]\nignore = ["SF301"]\n'
    ),
    "something ignored by git": lambda p: (
        (p / ".git").mkdir(),
        (p / ".gitignore").write_text("texts.py\nshop\n"),
    ),
    "a module before the one that was imported": lambda p: (
        (p / "shop/shop").mkdir(),
        (p / "shop/shop/__init__.py").write_text(""),
        (p / "shop/shop/texts.py").write_text('PROMPT = "{question}"\n'),
    ),
}


@pytest.mark.parametrize("is_old", [False, True], ids=["now", "long ago"])
@pytest.mark.parametrize("name", CHANGES)
def test_no_answer_outlives_a_change(name: str, is_old: bool, project, check) -> None:
    first = settle(project, check)
    CHANGES[name](project)
    if is_old:
        age(project)
    fresh = check("--no-cache")
    shown = check()
    assert shown.same(fresh)
    assert not shown.is_again
    assert not shown.same(first)


def test_a_module_above_the_folder_that_was_asked_for_is_seen(project, check, monkeypatch) -> None:
    (project / "shop/texts.py").rename(project / "words.py")
    (project / "shop/app.py").write_text(APP.replace("shop.texts", "words"))
    age(project)
    monkeypatch.chdir(project / "shop")
    for _ in range(3):
        first = check("app.py")
    assert first.code == 1
    assert first.is_again
    (project / "words.py").write_text('PROMPT = "{question}"\n')
    assert check("app.py").same(check("app.py", "--no-cache"))
    assert check("app.py").code == 0


def test_a_touched_file_and_a_passing_folder_change_nothing(project, check) -> None:
    settle(project, check)
    os.utime(project / "shop/texts.py")
    (project / "shop/__pycache__").mkdir()
    assert check().is_again


@pytest.mark.parametrize("is_old", [False, True], ids=["now", "long ago"])
def test_an_edit_of_a_file_without_prompts_is_answered_without_work(
    is_old: bool, project, check
) -> None:
    first = settle(project, check)
    for text in ("def f(x):\n    return '\\d' + x\n", "", "import shop.app\n"):
        (project / "plain3.py").write_text(text)
        if is_old:
            age(project)
        shown = check()
        assert shown.is_again
        assert shown.same(first)
        assert check("--no-cache").same(first)


@pytest.mark.parametrize(
    "text",
    ["def broken(:\n", NEW, "x = '\n", "# -*- coding: utf-7 -*-\n", "\ufeffx = 1\n", "x = 1\0\n"],
    ids=["broken", "a prompt", "half a string", "an encoding", "a mark", "a null"],
)
def test_an_edit_that_brings_a_prompt_or_an_error_is_seen(text: str, project, check) -> None:
    settle(project, check)
    (project / "plain3.py").write_text(text)
    shown = check()
    assert not shown.is_again
    assert shown.same(check("--no-cache"))
    (project / "plain3.py").write_text("x = 2\n")
    assert check().same(check("--no-cache"))


def test_a_file_that_comes_to_be_read_by_prompts_counts_from_then_on(project, check) -> None:
    settle(project, check)
    app = project / "shop/app.py"
    app.write_text(APP.replace("shop.tools", "plain3"))
    (project / "plain3.py").write_text(TOOLS)
    age(project)
    settle(project, check)
    (project / "plain3.py").write_text("def name_of(thing):\n    return 'the same'\n")
    assert check().same(check("--no-cache"))


def test_a_file_written_just_now_is_looked_at_each_time_until_its_time_tells(
    project, check
) -> None:
    settle(project, check)
    path = project / "shop/texts.py"
    path.write_text(TEXTS.replace("{question}", "{question} "))
    now_ns = time_of(path)
    assert check().code == 1
    assert check().is_again
    path.write_text(TEXTS.replace("{question}", "a question "))
    os.utime(path, ns=(now_ns, now_ns))
    assert check().code == 0


def test_what_a_run_wrote_elsewhere_is_done_each_time(project, check) -> None:
    for _ in range(3):
        shown = check("--output-file", "found.txt")
    assert not shown.is_again
    assert not check("--no-cache").is_again
    assert not check("--fix").is_again


@pytest.mark.parametrize("damage", [b"", b"stemfirst shown 2\n", b"stemfirst shown 2 a b\n", None])
def test_a_damaged_record_is_none(damage: bytes | None, project, check) -> None:
    first = settle(project, check)
    (record,) = (project / FOLDER).glob("*" + again.SUFFIX)
    data = record.read_bytes()
    for cut in range(0, len(data), 97) if damage is None else [0]:
        record.write_bytes(data[:cut] if damage is None else damage)
        assert again.repeated([]) is None
    assert check().same(first)


names = st.sampled_from(["shop/app.py", "shop/texts.py", "shop/tools.py", "plain1.py", "new.py"])
texts = st.sampled_from(
    [APP, TEXTS, TOOLS, "", "x = 1\n", "def broken(:\n", 'PROMPT = "{question}"\n',
     APP.replace("from shop.texts", "from shop.other"), TEXTS.replace("{question}", "{thing} "),
     TOOLS.replace("return thing", "return 'the same'"), TEXTS + "# stemfirst: ignore\n",
     "from shop import app\nfrom shop.tools import *\napp.ask(None, 'the question')\n"]
)  # fmt: skip
edits = st.lists(
    st.one_of(
        st.tuples(st.just("write"), names, texts),
        st.tuples(st.just("append"), names, st.sampled_from(["\n", "# more\n", "y = 2\n"])),
        st.tuples(st.just("delete"), names, st.just("")),
        st.tuples(st.just("rename"), names, st.sampled_from(["shop/other.py", "shop/texts.py"])),
        st.tuples(st.just("settings"), st.just("pyproject.toml"),
                  st.sampled_from(["", "[tool.stemfirst]\nmin-gain = 1\n"])),
        st.tuples(st.just("ignore"), st.just(".gitignore"), st.sampled_from(["", "other.py\n"])),
        st.tuples(st.just("age"), st.just(""), st.just("")),
    ),
    max_size=8,
)  # fmt: skip


def apply(project: Path, edit: tuple[str, str, str]) -> None:
    what, name, text = edit
    path = project / name
    if what == "age":
        age(project)
    elif what == "append" and path.exists():
        path.write_text(path.read_text() + text)
    elif what == "delete":
        path.unlink(missing_ok=True)
    elif what == "rename" and path.exists():
        path.replace(project / text)
    elif what in ("write", "settings", "ignore"):
        path.write_text(text)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(edits=edits)
def test_any_row_of_edits_shows_what_a_run_without_memory_shows(edits, project, check) -> None:
    shutil.rmtree(project)
    project.mkdir()
    (project / ".git").mkdir()
    lay(project)
    os.chdir(project)
    for edit in [("age", "", ""), *edits]:
        apply(project, edit)
        fresh = check("--no-cache")
        assert check().same(fresh), edit
        assert check().same(fresh), edit
