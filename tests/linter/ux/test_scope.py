"""Standard input, what changed, what is known, what is silenced, and watching."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from stemfirst_lint.check import check_paths
from stemfirst_lint.cli.run import Options, Request
from stemfirst_lint.config import load_config
from stemfirst_lint.output.formats import FORMATS, rendered, rendered_statistics
from stemfirst_lint.output.replaceable import is_replaceable

ROOT = Path(__file__).parents[3]


def test_standard_input_goes_by_its_name(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "pyproject.toml").write_text('[tool.stemfirst]\nignore = ["SF301"]\n')
    plain = stemfirst("check", "-", stdin=sources.bad)
    assert plain.returncode == 1
    assert plain.stdout.startswith("-:2:24: SF301 ")
    named = stemfirst("check", "-", "--stdin-filename", "src/new.py", stdin=sources.bad)
    assert named.returncode == 0, "the settings are those of the file's folder"
    assert not (tmp_path / "src" / "new.py").exists()


def test_standard_input_stands_in_for_the_file_on_disk(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.bad)
    done = stemfirst("check", "-", "--stdin-filename", "app.py", stdin=sources.good)
    assert done.returncode == 0
    excluded = stemfirst(
        "check", "-", "--stdin-filename", "venv/app.py", "--force-exclude", stdin=sources.bad
    )
    assert excluded.returncode == 0


def test_fixing_standard_input_writes_the_source_and_tells_the_rest_elsewhere(
    stemfirst, sources, tmp_path
) -> None:
    done = stemfirst("check", "--fix", "-", stdin=sources.sets)
    assert done.returncode == 0, done.stderr
    assert "list(sorted(" in done.stdout
    assert "Fixed 1 finding" in done.stderr
    same = stemfirst("check", "--fix", "-", stdin=sources.bad)
    assert same.stdout == sources.bad
    assert same.returncode == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-", "app.py"), "stands alone"),
        (("app.py", "--stdin-filename", "x.py"), "give - as the path"),
        (("-", "--add-ignore", "x"), "no file to watch or to write to"),
        ((".", "--since", "HEAD"), "git rev-parse: not a git repository"),
        ((".", "--baseline", "none.json"), "no such file or directory; write it with"),
        ((".", "--baseline", "app.py"), "app.py is no baseline"),
        ((".", "--add-ignore", " "), "a reason of one line"),
    ],
)
def test_what_cannot_be_obeyed_is_said_in_a_line(
    arguments: tuple[str, ...], message: str, stemfirst, sources, tmp_path
) -> None:
    (tmp_path / "app.py").write_text(sources.bad)
    done = stemfirst("check", *arguments, stdin="", GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


class Repository:
    def __init__(self, path: Path) -> None:
        self.path = path
        self("init", "-q", "-b", "main")

    def __call__(self, *arguments: str) -> None:
        names = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER")
                 for what in ("NAME", "EMAIL")}  # fmt: skip
        alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(
            ["git", *arguments], cwd=self.path, check=True, env={**os.environ, **names, **alone}
        )

    def commit(self) -> None:
        self("add", "-A")
        self("commit", "-q", "-m", "state")


@pytest.fixture
def git(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def paths(done: subprocess.CompletedProcess[str]) -> list[tuple[str, int]]:
    return [(finding["path"], finding["line"]) for finding in json.loads(done.stdout)]


def test_only_what_changed_since_a_revision_is_reported(git, stemfirst, sources, tmp_path) -> None:
    since = ("check", "--since", "main", "--output-format", "json")
    (tmp_path / "old.py").write_text(sources.bad)
    (tmp_path / "spä ce.py").write_text(sources.bad + "\n\n" + sources.bad.replace("ask", "tell"))
    git.commit()
    assert paths(stemfirst(*since)) == []
    git("switch", "-q", "-c", "work")
    text = (tmp_path / "spä ce.py").read_text().replace("{question}", "{question!s}")
    (tmp_path / "spä ce.py").write_text(text.replace("{question!s}", "{question}", 1))
    (tmp_path / "new.py").write_text(sources.bad)
    assert paths(stemfirst(*since)) == [("./new.py", 2), ("./spä ce.py", 7)]
    git.commit()
    assert paths(stemfirst(*since)) == [("./new.py", 2), ("./spä ce.py", 7)]


def test_what_others_did_since_is_not_mine(git, stemfirst, sources, tmp_path) -> None:
    (tmp_path / "theirs.py").write_text(sources.bad)
    git.commit()
    git("switch", "-q", "-c", "work")
    git("switch", "-q", "main")
    (tmp_path / "theirs.py").write_text(sources.good)
    git.commit()
    git("switch", "-q", "work")
    (tmp_path / "mine.py").write_text(sources.bad)
    git.commit()
    found = paths(stemfirst("check", "--since", "main", "--output-format=json"))
    assert found == [("./mine.py", 2)]


def test_a_finding_counts_as_changed_if_its_evidence_did(git, stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.bad.replace("question):", "question=None):"))
    git.commit()
    assert stemfirst("check", "--since", "HEAD").returncode == 0
    (tmp_path / "app.py").write_text(sources.bad)
    assert stemfirst("check", "--since", "HEAD").returncode == 1


def test_a_baseline_holds_back_what_is_known_and_only_that(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.bad)
    wrote = stemfirst("check", "--write-baseline", "known.json")
    assert (wrote.returncode, wrote.stderr) == (0, "wrote 1 known to known.json\n")
    (tmp_path / "pyproject.toml").write_text('[tool.stemfirst]\nbaseline = "known.json"\n')
    known = stemfirst("check")
    assert known.returncode == 0
    assert "not reported: 1 known" in known.stderr
    (tmp_path / "app.py").write_text("# moved\n\n" + sources.bad + "\n\n" + sources.bad)
    assert stemfirst("check", "--output-format=concise").stdout.count("SF301") == 1
    (tmp_path / "app.py").write_text(sources.good)
    assert "1 in " in stemfirst("check").stderr
    (tmp_path / "sub").mkdir()
    assert stemfirst("check", "..", cwd=tmp_path / "sub").returncode == 0


PLACES = {
    "one line": ("    text = f\"Q: {question}\\n\\nLONG\"\n", "LONG\"  # stemfirst: "),
    "a block of text": (
        '    text = f"""Q: {question}\n\nLONG\n"""\n',
        '"""  # stemfirst: ignore[SF301] measured\n',
    ),
    "joined parts": (
        '    text = (\n        f"Q: {question}\\n\\n"\n        "LONG"\n    )\n',
        'question}\\n\\n"  # stemfirst: ',
    ),
    "a comment that is there": (
        '    text = f"Q: {question}\\n\\nLONG"  # stemfirst: ignore[SF201] why\n',
        "# stemfirst: ignore[SF201, SF301] why\n",
    ),
    "CRLF": ("    text = f\"Q: {question}\\n\\nLONG\"\r\n", "[SF301] measured\r\n"),
    "two faults in one text": (
        '    text = f"""Q: {question} {uuid.uuid4()}\n\nLONG"""\n',
        "# stemfirst: ignore[SF301, SF103] measured",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_add_ignore_writes_a_comment_where_one_can_stand(
    name: str, stemfirst, sources, tmp_path
) -> None:
    line, expected = (part.replace("LONG", sources.long) for part in PLACES[name])
    app = tmp_path / "app.py"
    source = f"import uuid\ndef ask(client, question):\n{line}" + (
        '    client.create(messages=[{"role": "user", "content": text}])\n'
    )
    app.write_bytes(source.encode())
    done = stemfirst("check", "--add-ignore", "measured", "--ignore", "SF901")
    assert done.returncode == 0, done.stdout + done.stderr
    assert expected in app.read_bytes().decode()
    again = app.read_bytes()
    assert stemfirst("check", "--add-ignore", "measured", "--ignore", "SF901").returncode == 0
    assert app.read_bytes() == again


def test_add_ignore_writes_nothing_into_a_template_file(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(
        "from jinja2 import Environment, FileSystemLoader\n"
        'env = Environment(loader=FileSystemLoader("prompts"))\n'
        "def ask(client, document):\n"
        '    text = env.get_template("judge.j2").render(document=document)\n'
        '    client.create(messages=[{"role": "user", "content": text}])\n'
    )
    (tmp_path / "prompts").mkdir()
    template = tmp_path / "prompts" / "judge.j2"
    template.write_text(f"Document: {{{{ document }}}}\n\nThe user's words:\n{sources.long}\n")
    before = template.read_bytes()
    done = stemfirst("check", "--add-ignore", "measured")
    assert "judge.j2: such comments are written into Python only" in done.stderr, done.stderr
    assert "per-file-ignores" in done.stderr
    assert "SF301" in done.stdout
    assert done.returncode == 1
    assert template.read_bytes() == before


def test_watch_checks_again_when_a_file_changes(sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.bad)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'sdk'}{os.pathsep}{ROOT / 'linter'}",
                   "PYTHONUNBUFFERED": "1"}  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "stemfirst.cli", "check", "--watch", "--output-format=concise"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: [lines.put(line) for line in process.stdout])
    reader.start()

    def until(text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in lines.get(timeout=max(deadline - time.monotonic(), 0.1)):
            pass

    try:
        until("Found 1 finding")
        (tmp_path / "app.py").write_text(sources.good)
        until("No findings")
        (tmp_path / "new.py").write_text(sources.bad)
        until("Found 1 finding")
        (tmp_path / "pyproject.toml").write_text('[tool.stemfirst]\nignore = ["SF3"]\n')
        until("No findings")
        (tmp_path / "pyproject.toml").write_text("[tool.stemfirst]\n")
        until("Found 1 finding")
        (tmp_path / "new.py").write_text(
            sources.bad.split('f"')[0]
            + 'open("rules.md").read().format(question=question)\n'
            + sources.bad.splitlines()[2]
        )
        until("No findings")
        (tmp_path / "rules.md").write_text(f"Question: {{question}}\n\n{sources.long}\n")
        until("rules.md:1:")
        (tmp_path / "rules.md").write_text(f"{sources.long}\n\nQuestion: {{question}}\n")
        until("No findings")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        reader.join()
        process.stdout.close()


def test_a_baseline_speaks_of_the_files_that_were_checked(stemfirst, sources, tmp_path) -> None:
    for name in ("app.py", "other.py"):
        (tmp_path / name).write_text(sources.bad)
    stemfirst("check", "--write-baseline", "known.json", ".")
    done = stemfirst("check", "--baseline", "known.json", "app.py")
    assert done.returncode == 0, done.stdout
    assert "not found any more" not in done.stderr
    (tmp_path / "other.py").unlink()
    done = stemfirst("check", "--baseline", "known.json", "app.py")
    assert "1 in known.json are not found any more" in done.stderr


def test_a_baseline_of_some_files_keeps_what_is_known_of_others(
    stemfirst, sources, tmp_path
) -> None:
    for name in ("app.py", "other.py", "gone.py"):
        (tmp_path / name).write_text(sources.bad)
    known = tmp_path / "known.json"
    stemfirst("check", "--write-baseline", "known.json", ".")
    whole = known.read_text()
    known.chmod(0o640)
    done = stemfirst("check", "--write-baseline", "known.json", "app.py")
    assert "wrote 1 known to known.json; 2 of files that were not checked stay" in done.stderr
    assert known.read_text() == whole
    assert known.stat().st_mode & 0o777 == 0o640
    (tmp_path / "gone.py").unlink()
    (tmp_path / "other.py").write_text(sources.good)
    done = stemfirst("check", "--write-baseline", "known.json", ".")
    assert [row["path"] for row in json.loads(known.read_text())["findings"]] == ["app.py"]
    assert not list(tmp_path.glob(".stemfirst-*"))


def test_settings_that_differ_do_not_hang_on_who_comes_first(stemfirst, sources, tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text(sources.bad)
        (tmp_path / name / "pyproject.toml").write_text("[tool.stemfirst]\nmin-gain = 64\n")
    assert stemfirst("check", "a/app.py", "b/app.py").returncode == 1, "they say the same"
    (tmp_path / "b" / "pyproject.toml").write_text('[tool.stemfirst]\nignore = ["SF301"]\n')
    for command, *paths in (
        ("check", "a", "b"), ("check", "b/app.py", "a/app.py", "b/app.py"), ("fix", "a", "b"),
        ("lock", "a", "b"), ("verify", "b", "a"),
    ):  # fmt: skip
        done = stemfirst(command, *paths)
        assert done.returncode == 2, command
        assert "and they differ; check them one after the other" in done.stderr
    assert stemfirst("check", "--config=b/pyproject.toml", "a", "b").returncode == 0
    assert stemfirst("check", "b").returncode == 0
    assert stemfirst("check", "a").returncode == 1


@pytest.mark.parametrize(
    "name", ["rules.md", "requests.jsonl", "settings.yaml", "data.json", "notes.txt", "empty.txt"]
)
def test_a_report_replaces_nothing_but_reports(name, stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.bad)
    held = {
        "rules.md": "Found 1 finding.\n\nAnswer politely.\n", "empty.txt": "\n",
        "requests.jsonl": '{"messages": [], "stemfirst": {"v": 1}}\n',
        "settings.yaml": "a: 1\n", "data.json": '[{"path": "x", "fingers": 5}]\n',
        "notes.txt": "SF301 is to be mended\n",
    }  # fmt: skip
    (tmp_path / name).write_text(held[name])
    done = stemfirst("check", "-o", name, "app.py")
    if name == "empty.txt":
        assert done.returncode == 1
        assert "Found 1 finding" in (tmp_path / name).read_text()
    else:
        assert done.returncode == 2
        assert f"{name} is no report and stays as it is" in done.stderr
        assert (tmp_path / name).read_text() == held[name]


def test_a_report_replaces_an_older_one_of_any_format(sources, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(sources.bad * 4)
    (tmp_path / "good.py").write_text(sources.good)
    for file in ("bad.py", "good.py"):
        report = check_paths((file,), load_config("."))
        texts = {name: rendered(report, name) for name in FORMATS}
        texts["statistics"] = rendered_statistics(report, is_json=False)
        texts["json statistics"] = rendered_statistics(report, is_json=True)
        request = Request.of(Options(paths=(file,)))
        texts["settings"] = "\n".join(request.settings_lines())
        texts["files"] = "\n".join(request.files())
        for name, text in texts.items():
            (tmp_path / "report").write_text(text + "\n")
            assert is_replaceable("report"), (file, name, text)
    assert is_replaceable(os.devnull)
    assert is_replaceable("not there")


@pytest.mark.parametrize("options", [("--write-baseline",), ("--output-format=json", "-o")])
def test_a_forgotten_name_costs_no_source_file(options, stemfirst, sources, tmp_path) -> None:
    """A shell that expands `-o *.py` gives the first module for the name."""
    for name in ("app.py", "other.py"):
        (tmp_path / name).write_text(sources.bad)
    done = stemfirst("check", *options, "app.py", "other.py")
    assert done.returncode == 2
    assert "stays as it is" in done.stderr
    assert (tmp_path / "app.py").read_text() == sources.bad


def test_a_revision_that_git_does_not_know_is_named(git, stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.bad)
    git("add", ".")
    git("commit", "-qm", "first")
    done = stemfirst("check", "--since", "nope", ".")
    assert done.returncode == 2
    assert "--since nope: git knows no such revision" in done.stderr


@pytest.mark.parametrize("line", ["s[a-u]b\\", "!", "[z-a]"])
def test_a_line_that_is_no_pattern_is_passed_over_as_git_does(
    line: str, git, stemfirst, sources, tmp_path
) -> None:
    (tmp_path / ".gitignore").write_text(f"{line}\nleft.py\n")
    for name in ("app.py", "left.py"):
        (tmp_path / name).write_text(sources.bad)
    done = stemfirst("check", "--show-files", ".")
    assert done.stdout.split() == ["./app.py"], done.stderr


def test_the_lock_of_an_editor_is_no_file(stemfirst, sources, tmp_path) -> None:
    (tmp_path / ".#app.py").symlink_to("user@host.123:456")
    (tmp_path / "app.py").write_text(sources.good)
    done = stemfirst("check", ".")
    assert (done.returncode, done.stderr) == (0, "")
