"""The command on recordings of the example app, on hostile files, and on more than fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_recordings import APP, POLICY, chat, record, support_agent, write


def audit(
    *arguments: str | Path, stdin: bytes | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", "audit", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **(env or {})},
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def as_json(*arguments: str | Path) -> dict[str, Any]:
    done = audit(*arguments, "--output-format", "json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write(tmp_path / "agent.jsonl", support_agent())


def test_the_examples_clock_is_found_with_its_line_and_its_price(recording: Path) -> None:
    done = audit(recording, "--source", APP)
    assert done.returncode == 1
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    said = " ".join(done.stdout.split())
    assert "SF601 SF101 clock-in-prefix: 18 requests lost" in said
    assert 'a time in messages[0].content behind "Current time:"' in said
    template = (APP / "prompts.py").read_text().splitlines()
    line = next(n for n, text in enumerate(template, 1) if "Current time: {now}" in text)
    assert f"prompts.py:{line})" in said
    assert 'also varies what follows "Customer:", "## Articles from the help centre"' in said
    assert "saving $0.0" in said
    caret = next(i for i, text in enumerate(lines) if text.strip() == "^")
    column = lines[caret].index("^")
    assert lines[caret - 1][column] != lines[caret - 2][column]
    assert lines[caret - 1][13:column] == lines[caret - 2][13:column]


def test_json_holds_the_same_and_more(recording: Path) -> None:
    report = as_json(recording)
    [template] = report["templates"]
    [finding] = template["findings"]
    assert finding["code"] == "SF601"
    assert (finding["cause"], finding["name"]) == ("SF101", "clock-in-prefix")
    assert finding["requests"] == 18
    assert report["totals"]["best_tokens"] == finding["lost_tokens"]
    assert report["totals"]["reported_cached_tokens"] is None
    assert report["totals"]["expected_cost"] > report["totals"]["best_cost"] > 0
    assert sum(template["divergence_positions"]["forfeiting"]) == 18
    assert report["problems"] == []


def test_a_recording_without_faults_exits_with_zero(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [record(chat(POLICY, f"Question {i}")) for i in range(4)])
    done = audit(path)
    assert done.returncode == 0
    assert "Nothing is lost by the order of the text." in done.stdout


def test_a_call_that_failed_lost_nothing(tmp_path: Path) -> None:
    asked = [chat(POLICY, "Where?", model=name) for name in ("gpt-4o", "gpt-4o", "nope")]
    lines = [record(asked[0]), record(asked[1]), record(asked[2], status="failed", response={})]
    report = as_json(write(tmp_path / "a.jsonl", lines))
    assert report["requests"] == 2
    [template] = report["templates"]
    assert template["models"] == {"gpt-4o": 2}
    assert "1 call failed, read nothing and lost nothing: left out" in report["notes"]


def test_a_report_of_more_cached_tokens_than_the_prompt_has_is_left_out(tmp_path: Path) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 9_000}}
    said = {"usage": {"prompt_tokens": 900, "completion_tokens": 1, **details}}
    lines = [record(chat(POLICY, "Where?"), response=said) for _ in range(2)]
    report = as_json(write(tmp_path / "a.jsonl", lines))
    assert report["totals"]["reported_cached_tokens"] is None
    assert any("more cached tokens than prompt tokens" in note for note in report["notes"])


def test_exit_zero_is_obeyed(recording: Path) -> None:
    assert audit(recording, "--exit-zero").returncode == 0


def test_a_gzipped_recording_and_standard_input_give_the_same(
    tmp_path: Path, recording: Path
) -> None:
    zipped = write(tmp_path / "agent.jsonl.gz", support_agent())
    plain = as_json(recording)["totals"]
    assert as_json(zipped)["totals"] == plain
    done = audit("-", "--output-format", "json", stdin=zipped.read_bytes())
    assert json.loads(done.stdout)["totals"] == plain


def test_bad_lines_are_named_and_the_rest_is_audited(tmp_path: Path) -> None:
    good = [json.dumps(item) for item in support_agent()]
    path = write(tmp_path / "a.jsonl", [*good[:9], "{oops", "[]", '{"messages": 3}', *good[9:]])
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(write(tmp_path / "b.gz", good).read_bytes()[:4_000])
    done = audit(path, cut, tmp_path / "none.jsonl", "--output-format", "json")
    assert done.returncode == 2
    errors = done.stderr.splitlines()
    assert errors[0].startswith(f"error: {path}:10: not JSON")
    assert errors[1].startswith(f"error: {path}:11: ")
    assert errors[2].startswith(f"error: {path}:12: `messages` is int")
    assert "damaged or cut off" in errors[3]
    assert errors[4] == f"error: {tmp_path / 'none.jsonl'}: No such file or directory"
    report = json.loads(done.stdout)
    assert report["problem_count"] == 5
    assert report["requests"] >= len(good)


def test_an_empty_recording_is_said_to_be_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [])
    done = audit(path, "--html", tmp_path / "a.html")
    assert done.returncode == 0
    assert done.stdout.startswith("No requests were found.")
    assert "No requests were found." in (tmp_path / "a.html").read_text()


def test_terminal_escapes_in_recordings_are_shown_and_not_sent(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m"
    path = write(
        tmp_path / "a.jsonl",
        [record(chat(f"You are {evil}\nNow: 09:00:0{i}{evil}\n{POLICY}", "Hi", model=f"m{evil}"))
         for i in range(3)],
    )  # fmt: skip
    done = audit(path)
    assert "clock-in-prefix" in done.stdout
    assert not set(done.stdout + done.stderr) & {"\x1b", "\x07", "\x9b"}


def test_output_that_cannot_say_a_character_does_not_fail(recording: Path) -> None:
    done = audit(recording, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert "clock-in-prefix" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "no-such-folder"], "no such folder"),
        (["--model", "no-such-model"], "tokenizer.json"),
        (["--min-gain", "0"], "min-gain"),
        (["--html", "no/such/folder/a.html"], "choose another --html file"),
    ],
)
def test_a_bad_option_says_what_is_wrong(recording: Path, arguments: list[str], said: str) -> None:
    done = audit(recording, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_progress_is_shown_on_a_terminal_only(recording: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "stemfirst.cli", "audit", str(recording)],
        stdout=subprocess.DEVNULL,
        stderr=follower,
    ) as process:
        os.close(follower)
        shown = b""
        try:
            while data := os.read(leader, 4096):
                shown += data
        except OSError:  # Linux says so when the other end is closed
            pass
        assert process.wait(timeout=60) == 1
    os.close(leader)
    assert b"read 0 MiB of 0 (100 %), 19 requests" in shown
    assert shown.endswith(b"\r\x1b[2K")
    assert audit(recording).stderr == ""


def test_a_reader_that_stops_early_gets_no_traceback(recording: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "stemfirst.cli", "audit", str(recording)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_naming_the_command_loads_nothing_heavy() -> None:
    code = "import sys, stemfirst_lint.cli.audit; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True,
                          check=True)  # fmt: skip
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "libcst", "tiktoken", "tokenizers", "xxhash", "json", "httpx"}


_MEASURED = """
import re, sys
from pathlib import Path
from stemfirst_lint.audit import auditor, sharing, stream
auditor.REMEMBERED_BYTES = 2**20
sharing.REMEMBERED_LINKS = 4_096
from stemfirst_lint.audit.run import audit_files
peaks = []
for path in sys.argv[1:]:
    report = audit_files((path,))
    # Not ru_maxrss: it begins with the peak of the process that started this one.
    peaks.append(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(report.sums.requests, *peaks)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read on Linux")
def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """A recording seven times as long takes no more memory; every request has its own text."""

    def requests(count: int) -> Iterator[dict[str, Any]]:
        for number in range(count):
            own = " ".join(f"{number * 7919 + i * 104729:x}" for i in range(1_500))
            yield record(chat(f"Now: {number}\n{POLICY}\n{own}", f"Question {number}"), number)

    small = write(tmp_path / "small.jsonl", requests(80))
    large = write(tmp_path / "large.jsonl", requests(600))
    assert large.stat().st_size > 10 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(small), str(large)],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    count, before, after = map(int, done.stdout.split())
    assert count == 600
    # Kilobytes; the second recording holds 10 MiB of text more than the first.
    assert after - before < 6_000


def test_a_page_never_takes_the_place_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"model": "m", "messages": [{"role": "user", "content": "hi"}]}\n')
    before = path.read_bytes()
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    for target in (path, other, tmp_path):
        done = audit(path, "--html", target)
        assert done.returncode == 2
        assert "choose another --html file" in done.stderr
        assert not done.stdout  # before anything is read
    assert (path.read_bytes(), other.read_text()) == (before, "mine")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'[\n  {"model": "m"},\n  {"model": "m"}\n]\n', "the file is a JSON array"),
        (b'{\n  "model": "m"\n}\n', "one indented JSON object"),
        ('{"model": "m"}\n{"model": "m"}\n'.encode("utf-16"), "the file is UTF-16"),
    ],
    ids=["array", "object", "UTF-16"],
)
def test_a_file_in_another_format_is_told_once(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    path.write_bytes(data)
    done = audit(path)
    assert done.returncode == 2
    assert [said in line for line in done.stderr.splitlines()] == [True]


def test_a_line_that_is_no_object_is_told_in_the_words_of_json(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('null\n"a"\n1\ntrue\n')
    said = audit(path).stderr
    assert all(f"{word}, expected" in said for word in ("null", "a string", "a number", "false"))
    assert "NoneType" not in said
