"""A cached result is used while it is true, and never after."""

import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from stemfirst_lint.cache import FOLDER, cache_for
from stemfirst_lint.check import Report, check_paths
from stemfirst_lint.cli.progress import progress
from stemfirst_lint.config import Config
from stemfirst_lint.islands import islands
from stemfirst_lint.output.formats import FORMATS, rendered
from stemfirst_lint.packing import pack, unpack, without_pieces

APP = """\
from prompts import PROMPT

def ask(client, question):
    text = PROMPT.format(question=question)
    client.create(messages=[{"role": "user", "content": text}])
"""


@pytest.fixture
def project(tmp_path: Path, sources, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "prompts.py").write_text(f'PROMPT = "{{question}}\\n\\n{sources.long}"\n')
    for number in range(9):
        (tmp_path / f"plain{number}.py").write_text("x = 1\n")
    return tmp_path


def check(*paths: str, config: Config = Config()) -> Report:  # noqa: B008
    paths = paths or (".",)
    return check_paths(paths, config, cache=cache_for(paths, config, None))


def was_cached(report: Report) -> bool:
    return bool(report.prompts) and not report.sites


def test_the_second_run_is_answered_from_the_cache_and_shows_the_same(project) -> None:
    (project / "broken.py").write_text("def f(:\n")
    (project / "broken_prompt.py").write_text("PROMPT = (\n")
    first, second = check(), check()
    assert not was_cached(first)
    assert was_cached(second)
    assert len(first.findings) == 1
    assert [str(failure) for failure in first.failures] == [str(f) for f in second.failures]
    for name in FORMATS:
        shown = rendered(replace(first, failures=()), name)
        assert shown == rendered(replace(second, failures=()), name), name


def edit(path: str, old: str, new: str):
    def change(project: Path) -> None:
        text = (project / path).read_text()
        assert old in text
        (project / path).write_text(text.replace(old, new))

    return change


CHANGES = {
    "the file": edit("app.py", "question=question", "question=1"),
    "the template in another file": edit("prompts.py", "{question}", "{question} now"),
    "a file that begins to hold prompts": edit("plain1.py", "x = 1", "import app  # prompt"),
    "a new file": lambda project: (project / "new.py").write_text("import app  # prompt\n"),
    "a file is gone": lambda project: (project / "app.py").unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_what_a_result_came_from_is_seen(name: str, project) -> None:
    check()
    assert was_cached(check())
    CHANGES[name](project)
    fresh = check()
    assert not was_cached(fresh)
    assert fresh.findings == check_paths((".",), Config()).findings


def test_a_module_that_was_only_imported_is_part_of_the_result(project) -> None:
    assert len(check("app.py").findings) == 1
    assert was_cached(check("app.py"))
    (project / "prompts.py").write_text('PROMPT = "{question}"\n')
    assert check("app.py").findings == ()


def test_a_module_that_appears_where_a_name_was_looked_for_is_seen(project) -> None:
    text = (project / "prompts.py").read_text()
    (project / "prompts.py").unlink()
    assert check("app.py").findings == ()
    check("app.py")
    (project / "prompts.py").write_text(text)
    assert len(check("app.py").findings) == 1


def test_settings_and_the_program_are_part_of_the_key(project, monkeypatch) -> None:
    check()
    assert not was_cached(check(config=Config(min_gain=1)))
    assert was_cached(check(config=Config(min_gain=1)))
    monkeypatch.setattr("sys.version", "4.0")
    assert not was_cached(check())


def test_a_file_without_prompts_that_breaks_is_told_and_leaves_the_result(project) -> None:
    check()
    (project / "plain3.py").write_text("def f(:\n")
    report = check()
    assert was_cached(report)
    assert [failure.path for failure in report.failures] == ["./plain3.py"]
    assert [failure.path for failure in check().failures] == ["./plain3.py"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"stamp": 1}', b"\xff\xfe"])
def test_a_damaged_entry_is_no_entry(damage: bytes, project) -> None:
    check()
    (entry,) = (project / FOLDER).glob("*.json")
    entry.write_bytes(damage)
    assert not was_cached(check())
    assert was_cached(check())


def test_a_folder_that_cannot_be_written_costs_only_time(project) -> None:
    (project / FOLDER).write_text("in the way")
    assert len(check().findings) == 1
    assert (project / FOLDER).read_text() == "in the way"


def test_the_cache_keeps_itself_out_of_git_and_small(project) -> None:
    for number in range(70):
        check(config=Config(min_gain=number + 1))
    assert (project / FOLDER / ".gitignore").read_text() == "*\n"
    assert len(list((project / FOLDER).glob("*.json"))) <= 65


def test_parallel_runs_leave_whole_entries(project, stemfirst) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: stemfirst("check", "--output-format=json"), range(4)))
    assert len({run.stdout for run in done}) == 1
    assert {run.returncode for run in done} == {1}
    (entry,) = (project / FOLDER).glob("*.json")
    (island,) = json.loads(entry.read_text())["islands"].values()
    assert island["prompts"] == 1
    assert not list((project / FOLDER).glob("*.tmp"))


def test_the_command_can_do_without_and_elsewhere(project, stemfirst) -> None:
    stemfirst("check", "--no-cache")
    assert not (project / FOLDER).exists()
    stemfirst("check", "--cache-dir", "there")
    assert list((project / "there").glob("*.json"))
    stemfirst("check", STEMFIRST_CACHE_DIR=os.fspath(project / "elsewhere"))
    assert list((project / "elsewhere").glob("*.json"))


def test_findings_survive_packing(project) -> None:
    for finding in check_paths((".",), Config()).findings:
        shown = without_pieces(finding)
        assert unpack(json.loads(json.dumps(pack(shown)))) == shown


def test_processes_say_what_one_says(project, monkeypatch) -> None:
    (project / "broken.py").write_text("def f(:\n")
    alone = check_paths((".",), Config())
    monkeypatch.setattr("stemfirst_lint.check._WORTH_PROCESSES_BYTES", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    together = check_paths((".",), Config())
    assert [str(failure) for failure in together.failures] == [str(f) for f in alone.failures]
    assert together.findings == alone.findings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_run_shows_how_far_it_is_on_a_terminal_and_leaves_nothing(
    project, monkeypatch
) -> None:
    monkeypatch.setattr("stemfirst_lint.cli.progress._SHOW_AFTER_S", 0)
    monkeypatch.setattr("stemfirst_lint.cli.progress._INTERVAL_S", 0)
    for terminal in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", terminal)
        with progress() as show:
            check_paths((".",), Config(), on_progress=show)
        shown = terminal.getvalue()
        if terminal.isatty():
            assert "reading 3 of 11 files" in shown
            assert "checking 1 of 2 files" in shown
            assert shown.endswith("\r\x1b[2K")
        else:
            assert shown == ""


def _age(folder: Path) -> None:
    """Let the files look as if nobody had touched them for an hour."""
    for path in folder.rglob("*.py"):
        past_ns = path.stat().st_mtime_ns - 3600 * 10**9
        os.utime(path, ns=(past_ns, past_ns))


def test_an_old_file_is_known_by_size_and_time_and_not_read(project, monkeypatch) -> None:
    _age(project)
    check()
    read: list[str] = []
    monkeypatch.setattr("stemfirst_lint.scan.read_bytes", lambda path: read.append(path) or b"")
    assert was_cached(check())
    assert read == []


def test_a_file_that_was_just_written_is_read_again(project) -> None:
    """Another change within the clock's step would leave size and time as they are."""
    path = project / "prompts.py"
    _age(project)
    past_ns = path.stat().st_mtime_ns
    os.utime(path)
    now_ns = path.stat().st_mtime_ns
    assert len(check().findings) == 1
    text = path.read_text()
    path.write_text(text.replace("question", "QUESTION").replace("{QUESTION}", "no hole   "))
    assert len(path.read_text()) == len(text)
    os.utime(path, ns=(now_ns, now_ns))
    assert check().findings == ()
    assert past_ns < now_ns


def test_a_change_in_one_project_leaves_the_result_of_another(project) -> None:
    other = project / "other"
    other.mkdir()
    own = APP.replace("from prompts", "from texts")
    (other / "app.py").write_text(own)
    (other / "texts.py").write_text((project / "prompts.py").read_text())
    first = check()
    assert len(first.sites) == 2
    (other / "app.py").write_text(own + "# changed\n")
    second = check()
    assert [site.template.location.path for site in second.sites] == ["./other/texts.py"]
    assert len(second.findings) == 2


def test_a_large_tree_is_read_again_where_it_is_judged_and_says_the_same(
    project, monkeypatch
) -> None:
    (project / "broken.py").write_text("def f(:\n")
    first = check_paths((".",), Config())
    monkeypatch.setattr("stemfirst_lint.scan._HELD_BYTES", 0)
    again = check()
    assert again.findings == first.findings
    assert [str(failure) for failure in again.failures] == [str(f) for f in first.failures]
    assert was_cached(check())


def test_a_file_that_changes_between_reading_and_judging_is_not_remembered(
    project, monkeypatch
) -> None:
    monkeypatch.setattr("stemfirst_lint.scan._HELD_BYTES", 0)
    path = project / "prompts.py"
    text = path.read_text()
    groups = islands

    def change(*given):
        path.write_text('PROMPT = "{question}"\n')
        return groups(*given)

    monkeypatch.setattr("stemfirst_lint.scan.islands", change)
    assert check().findings == ()
    monkeypatch.undo()
    monkeypatch.chdir(project)
    path.write_text(text)
    assert len(check().findings) == 1
