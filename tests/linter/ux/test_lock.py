"""A stable prefix that moves is named: the prompt, the block, the byte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RULES = "Be brief and kind in every answer.\n\nName the paragraph that you rely on.\n\n"
MORE = "Never promise a refund that the policy of the shop does not grant.\n\n"
PROMPT = f'PROMPT = """{RULES}{MORE}Question: {{question}}\n"""\n'
APP = """\
from prompts import PROMPT

def ask(client, question):
    text = PROMPT.format(question=question)
    client.create(messages=[
        {"role": "system", "content": "You answer for the shop, and only from its written policy."
         " Say so if it says nothing."},
        {"role": "user", "content": text}])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "prompts.py").write_text(PROMPT)
    return tmp_path


def edit(project: Path, old: str, new: str, name: str = "prompts.py") -> None:
    text = (project / name).read_text()
    assert old in text
    (project / name).write_text(text.replace(old, new, 1))


def git(project: Path, *arguments: str) -> None:
    names = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER")
             for what in ("NAME", "EMAIL")}  # fmt: skip
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(
        ["git", *arguments], cwd=project, check=True, env={**os.environ, **names, **alone}
    )


def test_a_lock_holds_digests_and_no_text(project, stemfirst) -> None:
    done = stemfirst("lock")
    assert (done.returncode, done.stdout) == (0, "Locked 2 stable prefixes in ./stemfirst.lock.\n")
    text = (project / "stemfirst.lock").read_text()
    assert "refund" not in text
    prefixes = json.loads(text)["prefixes"]
    assert list(prefixes) == ["app.py::system", "prompts.py::PROMPT"]
    assert len(prefixes["prompts.py::PROMPT"]) == 4
    assert all(len(digest) == 64 for blocks in prefixes.values() for digest in blocks)
    assert stemfirst("lock").stdout.startswith("Unchanged: ")
    assert stemfirst("lock", "--check").returncode == 0


def test_lines_that_move_and_text_behind_the_first_hole_leave_the_lock_alone(
    project, stemfirst
) -> None:
    stemfirst("lock")
    edit(project, "PROMPT =", "import os\n\n\nPROMPT =")
    edit(project, "{question}\n", "{question}\nAnswer:\n")
    assert stemfirst("lock", "--check").stdout == "2 stable prefixes as locked.\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("brief", "short", "moved: block 1 of 4 differs, at byte 0 or behind"),
        ("Never", "Do not", "moved: block 3 of 4 differs, at byte 74 or behind"),
        (MORE, "", "moved: block 3 of 4 differs"),
        ("Question: {question}", "{question}", "shrank behind block 3: 4 blocks were locked"),
        ("Question:", "Ask.\n\nQuestion:", "moved: block 4 of 4 differs"),
    ],
)
def test_the_first_block_that_differs_is_named_without_git(
    old: str, new: str, said: str, project, stemfirst
) -> None:
    stemfirst("lock")
    edit(project, old, new)
    done = stemfirst("lock", "--check", GIT_CEILING_DIRECTORIES=str(project.parent))
    assert done.returncode == 1
    assert f"prompts.py:1:10: SF602 the stable prefix of `PROMPT` {said}" in done.stdout
    assert "was:" not in done.stdout
    stemfirst("lock")
    assert stemfirst("lock", "--check").returncode == 0


def test_git_gives_the_first_byte_and_a_window(project, stemfirst) -> None:
    edit(project, "Be brief", "Grüße: be brief")
    stemfirst("lock")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "locked")
    edit(project, "Never promise", "Never ever promise")
    git(project, "commit", "-q", "-a", "-m", "moved, and the lock did not")
    done = stemfirst("lock", "--check")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if "was:" in line)
    assert lines[at].endswith("rely on.\\n\\nNever promise a refund that th")
    assert "Never ever promise" in lines[at + 1]
    caret = lines[at + 2].index("^")
    assert lines[at][caret:].startswith("promise")
    assert lines[at + 1][caret:].startswith("ever")
    offset = len(f"Grüße: b{RULES[1:]}Never ".encode())
    assert lines[at + 2].endswith(f"byte {offset}")
    found = json.loads(stemfirst("lock", "--check", "--output-format=json").stdout)
    assert (found[0]["code"], found[0]["window"]["byte"]) == ("SF602", offset)


def test_new_and_lost_prompts_make_a_lock_old(project, stemfirst) -> None:
    stemfirst("lock")
    edit(project, "PROMPT =", "OTHER_PROMPT =")
    edit(project, "brief", "short")
    (project / "app.py").write_text(APP.replace("PROMPT", "OTHER_PROMPT"))
    done = stemfirst("lock", "--check")
    assert done.returncode == 1
    assert "`OTHER_PROMPT` is not locked yet" in done.stdout
    assert "`PROMPT` is locked and not found any more (prompts.py)" in done.stdout
    assert done.stdout.endswith("run `stemfirst lock` if that is meant.\n")


def test_a_new_name_for_the_same_text_is_told_once(project, stemfirst) -> None:
    stemfirst("lock")
    edit(project, "PROMPT =", "OTHER_PROMPT =")
    (project / "app.py").write_text(APP.replace("PROMPT", "OTHER_PROMPT"))
    done = stemfirst("lock", "--check")
    assert done.returncode == 1
    assert "is the same and called prompts.py::OTHER_PROMPT now" in done.stdout
    assert "1 stable prefix differs from ./stemfirst.lock, of 2 found; run" in done.stdout


def agents(*names: str) -> str:
    """Source in which every agent's prompt is called the same."""
    return "".join(
        f"def ask_{name}(client, question):\n"
        f'    system = "You are {name}. " + {("Be brief and polite. " * 12)!r}\n'
        "    client.chat.completions.create(messages=[\n"
        '        {"role": "system", "content": system}, {"role": "user", "content": question}])\n\n'
        for name in names
    )


def test_prompts_of_one_name_are_told_apart_by_their_text(project, stemfirst) -> None:
    """A function above, or functions in another order, move no prefix."""
    path = project / "agents.py"
    path.write_text(agents("red", "green", "blue"))
    stemfirst("lock", "agents.py")
    path.write_text(agents("green", "red", "blue"))
    done = stemfirst("lock", "--check")
    assert done.returncode == 0, done.stdout
    path.write_text(agents("new", "red", "green", "blue"))
    done = stemfirst("lock", "--check")
    assert done.returncode == 1
    assert done.stdout.count("SF602") == 1
    assert "is not locked yet" in done.stdout
    path.write_text(agents("green", "blue"))
    done = stemfirst("lock", "--check")
    assert done.stdout.count("SF602") == 1
    assert "is locked and not found any more" in done.stdout


def test_a_merge_that_went_wrong_is_told_as_such(project, stemfirst) -> None:
    stemfirst("lock")
    lock = project / "stemfirst.lock"
    lock.write_text(f"<<<<<<< ours\n{lock.read_text()}=======\n>>>>>>> theirs\n")
    for arguments in (("lock",), ("lock", "--check")):
        done = stemfirst(*arguments)
        assert done.returncode == 2
        assert (
            "holds git's conflict marks; delete it and write it with `stemfirst lock`"
            in done.stderr
        )


def test_paths_are_remembered_relative_to_the_lock(project, stemfirst) -> None:
    (project / "other").mkdir()
    (project / "other" / "third.py").write_text(PROMPT.replace("PROMPT", "THIRD_PROMPT"))
    stemfirst("lock", "app.py", "prompts.py")
    assert stemfirst("lock", "--check").returncode == 0
    lock = "../stemfirst.lock"
    assert stemfirst("lock", "--check", "--file", lock, cwd=project / "other").returncode == 0


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"version": 9}', "\x00"])
def test_a_lock_that_is_none_is_an_error_with_a_remedy(damage: str, project, stemfirst) -> None:
    missing = stemfirst("lock", "--check")
    assert missing.returncode == 2
    assert "no such file; write it with `stemfirst lock`" in missing.stderr
    (project / "stemfirst.lock").write_text(damage)
    done = stemfirst("lock", "--check")
    assert done.returncode == 2
    assert "write it with `stemfirst lock`" in done.stderr


def test_a_disk_that_is_full_leaves_the_lock_as_it_was(project) -> None:
    resource = pytest.importorskip("resource", reason="limits of this kind are POSIX's")

    def lock(limit_bytes: int) -> subprocess.CompletedProcess[str]:
        limits = (limit_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        return subprocess.run(
            [sys.executable, "-m", "stemfirst.cli", "lock"],
            cwd=project, capture_output=True, text=True, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        )  # fmt: skip

    assert lock(resource.getrlimit(resource.RLIMIT_FSIZE)[0]).returncode == 0
    before = (project / "stemfirst.lock").read_bytes()
    edit(project, "Be brief", "Be terse")
    done = lock(40)
    assert done.returncode == 2, done.stdout
    assert "cannot be written" in done.stderr
    assert (project / "stemfirst.lock").read_bytes() == before
    assert not list(project.glob(".stemfirst-*"))


def test_a_broken_file_leaves_the_lock_as_it_was(project, stemfirst) -> None:
    stemfirst("lock")
    before = (project / "stemfirst.lock").read_bytes()
    (project / "prompts.py").write_text("PROMPT = (\n")
    assert stemfirst("lock").returncode == 2
    assert (project / "stemfirst.lock").read_bytes() == before
    assert stemfirst("lock", "--check").returncode == 2
