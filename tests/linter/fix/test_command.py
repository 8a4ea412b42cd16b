"""The command `stemfirst fix` as a user runs it: real files, real processes, real exit codes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fix_sources import RULES as HALF
from stemfirst_lint.fix import apply
from stemfirst_lint.fix.apply import WriteError, replace_file

RULES = f"{HALF} {HALF}"
SEND = """
def ask(client, question, tags):
    text = PROMPT.format(now=datetime.now(), question=question)
    return client.chat.completions.create(messages=[{"role": "user", "content": text}])
"""
TEMPLATE = f'PROMPT = """Time: {{now}}\n\n{RULES}\n\nQuestion: {{question}}\n"""\n'
FIXED = f'PROMPT = """{RULES}\n\nTime: {{now}}\n\nQuestion: {{question}}\n"""\n'
APP = "from datetime import datetime\n\n" + TEMPLATE + SEND


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "fix", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_fix_writes_the_better_order_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP)
    first = run("app.py", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert app.read_text() == APP.replace(TEMPLATE, FIXED)
    assert "app.py:3:19: SF101 reordered" in first.stdout
    assert "Fixed 1 finding in 1 file; 0 left." in first.stdout
    second = run("app.py", cwd=tmp_path)
    assert (second.returncode, second.stdout) == (0, "Nothing to fix.\n")
    assert app.read_text() == APP.replace(TEMPLATE, FIXED)


def test_diff_writes_nothing_and_git_applies_it(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP)
    shown = run("--diff", cwd=tmp_path)
    assert shown.returncode == 1
    assert app.read_text() == APP
    assert "Would fix 1 finding in 1 file; 0 left." in shown.stderr
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=shown.stdout, text=True, check=True)
    assert app.read_text() == APP.replace(TEMPLATE, FIXED)
    assert run("--diff", cwd=tmp_path).returncode == 0


def test_a_template_in_another_file_is_changed_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "prompts.py").write_text(TEMPLATE)
    (tmp_path / "app.py").write_text(
        "from datetime import datetime\nfrom prompts import PROMPT\n" + SEND
    )
    before = (tmp_path / "app.py").read_bytes()
    assert run("app.py", cwd=tmp_path).returncode == 0
    assert (tmp_path / "prompts.py").read_text() == FIXED
    assert (tmp_path / "app.py").read_bytes() == before


def test_what_is_left_says_why_and_what_to_write(tmp_path: Path) -> None:
    woven = APP.replace("Time: {now}\n", "Greet {question} kindly at {now}!\n")
    (tmp_path / "app.py").write_text(woven)
    left = run("app.py", cwd=tmp_path)
    assert left.returncode == 1
    assert "left (`--risky` would)" in left.stdout
    assert "is woven into" in left.stdout
    assert "put it on a line of its own" in left.stdout
    risky = run("--risky", "app.py", cwd=tmp_path)
    assert risky.returncode == 0
    assert "look at it: " in risky.stdout


def test_a_set_is_sorted_and_its_hole_then_belongs_to_the_front(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        'NAMES = {"search", "buy"}\n\n\ndef ask(client, question):\n'
        f'    text = f"""Tools: {{", ".join(NAMES)}}\n\n{RULES}\n\nQuestion: {{question}}"""\n'
        '    return client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    made = run("app.py", cwd=tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    assert 'f"""Tools: {", ".join(sorted(NAMES))}\n\nAnswer' in app.read_text()
    assert "SF201 sorted" in made.stdout


def test_select_and_min_gain_limit_what_is_fixed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    assert run("--select", "SF201", "app.py", cwd=tmp_path).stdout == "Nothing to fix.\n"
    left = run("--min-gain", "2000", "app.py", cwd=tmp_path)
    assert (tmp_path / "app.py").read_text() == APP
    assert "Fixed" not in left.stdout or "Fixed 0" in left.stdout
    wrong = run("--select", "SF999", "app.py", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "SF999" in wrong.stderr


def test_suggest_shows_the_order_that_only_a_person_may_choose(tmp_path: Path) -> None:
    woven = APP.replace("Time: {now}", "Greet them at {now} in the evening, kindly.")
    (tmp_path / "app.py").write_text(woven)
    plain = run("app.py", cwd=tmp_path)
    assert "woven into" in plain.stdout
    assert "|" not in plain.stdout
    done = run("--suggest", "app.py", cwd=tmp_path)
    shown = [line[6:] for line in done.stdout.splitlines() if line.startswith("    |")]
    assert shown == [
        RULES,
        "",
        "Greet them at {now} in the evening, kindly.",
        "",
        "Question: {question}",
    ]
    assert (tmp_path / "app.py").read_text() == woven


def test_what_is_only_told_does_not_change_the_exit_status(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from datetime import date\n\n\ndef ask(client, history):\n"
        '    system = f"You are terse. Today is {date.today()}."\n'
        "    return client.chat.completions.create(\n"
        '        messages=[{"role": "system", "content": system}, *history])\n'
    )
    done = run("app.py", cwd=tmp_path)
    assert "SF102" in done.stdout
    assert done.returncode == 0, done.stderr


def test_a_broken_file_is_named_and_the_others_are_fixed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "broken.py").write_text(APP + "def (")
    made = run(cwd=tmp_path)
    assert made.returncode == 2
    assert "broken.py" in made.stderr
    assert (tmp_path / "app.py").read_text() == APP.replace(TEMPLATE, FIXED)


def test_a_missing_path_is_a_failure(tmp_path: Path) -> None:
    made = run("nowhere.py", cwd=tmp_path)
    assert made.returncode == 2
    assert "nowhere.py" in made.stderr


def test_permissions_stay_and_a_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "real" / "app.py"
    target.parent.mkdir()
    target.write_text(APP)
    target.chmod(0o751)
    link = tmp_path / "app.py"
    link.symlink_to(target)
    replace_file(str(link), APP.encode(), b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o751
    assert os.listdir(target.parent) == ["app.py"]


def test_a_file_that_changed_meanwhile_is_left(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text("theirs")
    with pytest.raises(WriteError, match="changed while it was checked"):
        replace_file(str(path), b"ours", b"new")
    assert path.read_text() == "theirs"


def test_a_write_that_fails_leaves_the_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.py"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(apply.os, "replace", full)
    with pytest.raises(WriteError, match="no space left"):
        replace_file(str(path), b"old", b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["app.py"]


def test_the_example_is_fixed_and_keeps_its_words(tmp_path: Path) -> None:
    root = Path(__file__).parents[3] / "examples" / "support_agent"
    copy = tmp_path / "support_agent"
    shutil.copytree(root, copy)
    words = sorted((copy / "prompts.py").read_text().split())
    made = run("support_agent", cwd=tmp_path)
    assert "SF301 reordered" in made.stdout
    assert sorted((copy / "prompts.py").read_text().split()) == words
    assert (copy / "prompts.py").read_text() != (root / "prompts.py").read_text()
    assert run("--diff", "support_agent", cwd=tmp_path).stdout == ""


def test_planning_and_the_command_load_no_libcst() -> None:
    code = (
        "import sys, stemfirst_lint.fix.plan, stemfirst_lint.cli.fix;"
        "print('libcst' in sys.modules, 'ast' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split()[0] == "False"


def test_what_fix_says_fits_into_80_columns(tmp_path: Path) -> None:
    app = Path(__file__).parents[3] / "examples" / "support_agent"
    for source in app.glob("*.py"):
        (tmp_path / source.name).write_text(source.read_text())
    made = run(".", cwd=tmp_path)
    assert "left:" in made.stdout
    assert max(map(len, made.stdout.splitlines())) <= 80, made.stdout


def test_what_is_left_names_the_way_to_its_text_and_steers_no_terminal(tmp_path: Path) -> None:
    rules = "Answer only from the policy of the shop, and name the paragraph. " * 20
    (tmp_path / "app.py").write_text(
        "def ask(client, question):\n"
        f'    text = f"\\x1b]0;own\\x07 Think of {{question}} all the time.\\n\\n{rules}"\n'
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    done = run("app.py", cwd=tmp_path)
    assert "1 left. `--suggest` shows the text that you could write." in done.stdout
    assert "\x1b" not in done.stdout
    assert "--suggest" not in run("--suggest", "app.py", cwd=tmp_path).stdout


def test_a_file_whose_lines_end_in_cr_alone_stays_as_it_is(tmp_path: Path) -> None:
    data = APP.replace("\n", "\r").encode()
    (tmp_path / "app.py").write_bytes(data)
    done = run("app.py", cwd=tmp_path)
    assert (tmp_path / "app.py").read_bytes() == data
    assert "its lines end in CR alone" in " ".join(done.stdout.split())
