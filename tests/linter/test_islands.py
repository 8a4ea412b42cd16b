"""Files that import each other are judged together; the rest apart, and in several processes."""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from stemfirst_lint.check import check_paths
from stemfirst_lint.config import Config
from stemfirst_lint.islands import imports_of, islands
from stemfirst_lint.workers import in_processes, processes_for

SOURCE = b"""
import os, json as j; import sys
from . import near
from ..far.away import name
    from   late  import thing
import a.b.c
text = "import nothing"
"""


def test_imports_are_read_from_text() -> None:
    found = imports_of(SOURCE)
    assert {"os", "json", ".", "..far.away", "late", "a.b.c"} <= set(found)


CASES = {
    "two projects": ({"a/x.py": (), "b/y.py": ()}, [["a/x.py"], ["b/y.py"]]),
    "one folder": ({"a/x.py": (), "a/y.py": ()}, [["a/x.py", "a/y.py"]]),
    "an import": ({"a/x.py": ("b.y",), "b/y.py": ()}, [["a/x.py", "b/y.py"]]),
    "an import of a library": ({"a/x.py": ("b.z",), "b/y.py": ()}, [["a/x.py"], ["b/y.py"]]),
    "an import through a file between": (
        {"a/x.py": ("m",), "b/y.py": ("m",), "m.py": ()}, [["a/x.py", "b/y.py", "m.py"]]),
    "up to the folder": ({"a/x.py": ("..b.y",), "b/y.py": ()}, [["a/x.py", "b/y.py"]]),
    "not above its own": ({"a/c/x.py": ("..b",), "b/y.py": ()}, [["a/c/x.py"], ["b/y.py"]]),
    "below src": ({"a/x.py": ("b.y",), "src/b/y.py": ()}, [["a/x.py", "src/b/y.py"]]),
    "a package": ({"__init__.py": (), "a/x.py": (), "b/y.py": ()},
                  [["__init__.py", "a/x.py", "b/y.py"]]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_islands_are_what_no_import_joins(name: str) -> None:
    files, expected = CASES[name]
    imports = {f"./{path}": names for path, names in files.items()}
    found = islands(".", imports, set(imports))
    assert sorted(sorted(group) for group in found) == [
        [f"./{path}" for path in group] for group in expected
    ]


def test_jobs_give_what_they_give_here_and_one_that_dies_runs_here() -> None:
    here = os.getpid()

    def square(number: int) -> Callable[[], tuple[int, bool]]:
        def job() -> tuple[int, bool]:
            if number == 3 and os.getpid() != here:
                os._exit(1)
            return number * number, os.getpid() == here

        return job

    found = dict(in_processes([square(number) for number in range(6)], 2))
    assert {number: result for number, (result, _) in found.items()} == {
        number: number * number for number in range(6)
    }
    assert [number for number, (_, is_here) in found.items() if is_here] == [3]


def test_trees_that_are_too_much_together_are_never_held_together(tmp_path: Path) -> None:
    def holds(number: int) -> Callable[[], bool]:
        """Leave a mark while it runs; say whether another large one ran."""

        def job() -> bool:
            mark = tmp_path / str(number)
            mark.touch()
            deadline_s = time.monotonic() + 0.05
            met = False
            while time.monotonic() < deadline_s and number < 3:
                met |= any((tmp_path / str(other)).exists() for other in {0, 1, 2} - {number})
            mark.unlink()
            return met

        return job

    large = [6_000_000, 5_000_000, 4_500_000, 1_000, 1_000, 0]
    found = dict(in_processes([holds(number) for number in range(6)], 3, large))
    assert set(found) == set(range(6))
    assert not any(found.values())


def test_a_daemon_and_a_process_with_threads_work_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(processes_for, 2, 1).result() == 1
    context = get_context("fork")
    daemon = context.Process(target=lambda: sys.exit(processes_for(2, 1)), daemon=True)
    daemon.start()
    daemon.join()
    assert daemon.exitcode == 1


def test_an_error_of_a_job_is_raised_here() -> None:
    def fails() -> int:
        raise KeyError("told")

    with pytest.raises(KeyError, match="told"):
        list(in_processes([fails, lambda: 1], 2))


def test_processes_report_what_one_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Answer politely and never promise what the policy does not grant. " * 16
    for number in range(12):
        folder = tmp_path / f"project{number}"
        folder.mkdir()
        (folder / "app.py").write_text(
            "def ask(client, question):\n"
            f'    text = f"{{question}} {text}"\n'
            '    client.create(messages=[{"role": "user", "content": text}])\n' + "x = 1\n" * 4_000
        )
        (folder / "broken.py").write_text("def f(:\n" if number % 2 else "PROMPT = (\n")
    paths, config = (str(tmp_path),), Config(root=str(tmp_path))
    monkeypatch.setattr("stemfirst_lint.check._WORTH_PROCESSES_BYTES", 1)
    together = check_paths(paths, config)
    monkeypatch.setattr("stemfirst_lint.check._WORTH_PROCESSES_BYTES", 1 << 40)
    alone = check_paths(paths, config)
    assert len(alone.findings) == 12
    assert together.findings == alone.findings
    assert together.sites == alone.sites
    assert {str(f) for f in together.failures} == {str(f) for f in alone.failures}
    assert len(alone.failures) == 12
