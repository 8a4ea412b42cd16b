"""`stemfirst check` as a person meets it: output, exit codes, configuration, bad input."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONG = "Answer politely and never promise what the policy does not grant. " * 16
BAD = (
    "def ask(client, question):\n"
    f'    text = f"{{question}} {LONG}"\n'
    '    client.create(messages=[{"role": "user", "content": text}])\n'
)
GOOD = BAD.replace("{question} ", "").replace('grant. "\n', 'grant. {question}"\n')


def run(
    *arguments: str, cwd: Path, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("sdk", "linter")),
        "PYTHONIOENCODING": "utf-8",
    }
    return subprocess.run(
        [python, "-m", "stemfirst.cli", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_findings_exit_with_one_and_say_where_why_and_how_many(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BAD)
    result = run("check", "app.py", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert result.stdout.startswith("app.py:2:14: SF301 ")
    assert "`question` is a parameter of `ask`" in result.stdout
    assert re.search(
        r"Found 1 finding in 1 file(; 1 fixable with `stemfirst fix`)?\.\n$", result.stdout
    )
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_clean_code_exits_with_zero(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(GOOD)
    result = run("check", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert result.stdout == "No findings in 1 file with 1 prompt.\n"


def test_json_holds_the_promised_keys(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BAD)
    result = run("check", "--output-format", "json", "app.py", cwd=tmp_path)
    assert result.returncode == 1
    (finding,) = json.loads(result.stdout)
    promised = {
        "path", "line", "column", "end_line", "code", "name", "message", "forfeited_tokens",
        "applicability", "evidence",
    }  # fmt: skip
    assert promised <= set(finding)
    assert (finding["path"], finding["line"], finding["column"]) == ("app.py", 2, 14)
    assert finding["code"] == "SF301"
    assert finding["forfeited_tokens"] > 128
    assert finding["evidence"][0]["line"] == 1
    (tmp_path / "app.py").write_text(GOOD)
    assert json.loads(run("check", "--output-format", "json", cwd=tmp_path).stdout) == []


BAD_FILES = {
    "broken.py": (b"def f(:\n", "does not parse: line 1"),
    "latin.py": (b"x = '\xe4'\n", "not utf-8: byte 5 is 0xe4"),
    "nulls.py": (b"x = 1\0\n", "does not parse"),
    "cookie.py": (b"# coding: klingon\n", "unknown encoding 'klingon'"),
    "undefined.py": (b"# coding: undefined\n", "not undefined: "),
    "punycode.py": (b"# coding: punycode\nx = 1\n", "not punycode: "),
    "deep.py": (b"x = " + b"(" * 5000 + b")" * 5000, "does not parse"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named_in_one_line_and_the_others_are_checked(
    name: str, tmp_path: Path
) -> None:
    data, reason = BAD_FILES[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "app.py").write_text(BAD)
    result = run("check", ".", cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert name in line
    assert reason in line
    assert "SF301" in result.stdout


def test_a_gigabyte_is_named_and_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "big.py", "wb") as file:
        file.truncate(1_000_000_000)
    (tmp_path / "app.py").write_text(BAD)
    result = run("check", ".", cwd=tmp_path)
    assert result.returncode == 2
    assert "big.py: 1000 MB is more than" in result.stderr
    assert "SF301" in result.stdout


def test_a_device_without_end_is_named_and_not_read(tmp_path: Path) -> None:
    result = run("check", "/dev/zero", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: /dev/zero: it holds more than the 10 MB")


def test_half_a_surrogate_pair_in_a_prompt_is_counted(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BAD.replace("Answer", "\\ud800 Answer", 1))
    result = run("check", "app.py", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert "SF301" in result.stdout


def test_links_that_go_in_circles_are_named_or_passed(tmp_path: Path) -> None:
    (tmp_path / "loop.py").symlink_to("loop.py")
    (tmp_path / "dangling.py").symlink_to("nowhere.py")
    (tmp_path / "folder").symlink_to(".", target_is_directory=True)
    (tmp_path / "app.py").write_text(BAD)
    (tmp_path / "again.py").symlink_to("app.py")
    result = run("check", ".", cwd=tmp_path)
    assert result.returncode == 2
    named = [line.split(":")[1].strip() for line in result.stderr.splitlines()]
    assert named == ["./dangling.py", "./loop.py"]
    assert result.stdout.count("SF301") == 1


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    result = run("check", "nowhere", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: nowhere: no such file or folder\n"


def test_bytes_order_marks_encodings_and_line_ends_keep_their_places(tmp_path: Path) -> None:
    text = BAD.replace('"{question}', '"Grüße {question}').replace("\n", "\r\n")
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\r\n" + text.encode("latin-1"))
    result = run("check", "--output-format", "json", ".", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    found = [(f["path"], f["line"], f["column"]) for f in json.loads(result.stdout)]
    assert found == [("./bom.py", 2, 20), ("./latin.py", 3, 20)]


def pythons() -> list[str]:
    folders = [*os.environ.get("PATH", "").split(os.pathsep)]
    folders += [str(p) for p in Path.home().glob(".pyenv/versions/*/bin")]
    found: dict[str, str] = {}
    for minor in (11, 12, 13, 14):
        path = shutil.which(f"python3.{minor}", path=os.pathsep.join(reversed(folders)))
        if path and minor != sys.version_info.minor:
            found[f"3.{minor}"] = path
    return list(found.values())


NASTY = '''\
from datetime import datetime

def ask(client, history, question, documents):
    ä = "ü"
    text = (f"{ä} "  # ein Kommentar
            f"""{datetime
                 .now()} and {', '.join(d["text"]
                 for d in documents)!s:>9}
  {question = } {{}} LONG_TEXT""" f'{question!r} LONG_TEXT')
    client.create(messages=[{"role": "system", "content": text}, *history])
'''


@pytest.mark.parametrize("python", pythons())
def test_places_do_not_depend_on_the_interpreter(python: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(NASTY.replace("LONG_TEXT", LONG), encoding="utf-8")
    code = (
        "import json, sys\n"
        "from stemfirst_lint.check import check_paths\n"
        "from stemfirst_lint.config import Config\n"
        "from dataclasses import asdict\n"
        "report = check_paths(('app.py',), Config())\n"
        "holes = [h for s in report.sites for h in s.template.holes]\n"
        "print([(h.source, str(h.location), str(h.value_location),\n"
        "        [str(e.location) for e in h.verdict.evidence]) for h in holes])\n"
        "print([(f.code, str(f.location)) for f in report.findings])\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'sdk'}{os.pathsep}{ROOT / 'linter'}"}
    here, there = (
        subprocess.run(
            [each, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=True,
        ).stdout
        for each in (sys.executable, python)
    )  # fmt: skip
    assert "SF101" in here
    assert "app.py:6:18" in here  # the clock's expression, in the second literal
    assert here == there


def test_a_comment_silences_the_code_that_it_names(tmp_path: Path) -> None:
    first, second, third = BAD.splitlines()
    for comment, finds in (
        ("# stemfirst: ignore[SF301] measured, it does not matter", 0),
        ("# stemfirst: ignore", 0),
        ("# stemfirst: ignore[SF1] clocks", 1),
        ("# noqa", 1),
    ):
        (tmp_path / "app.py").write_text("\n".join([first, f"{second}  {comment}", third, ""]))
        assert run("check", cwd=tmp_path).returncode == finds, comment
        (tmp_path / "app.py").write_text("\n".join([first, f"    {comment}", second, third, ""]))
        assert run("check", cwd=tmp_path).returncode == finds, comment


def test_a_comment_with_an_unknown_code_is_reported(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        BAD.replace("client.create", "prompt = 1  # stemfirst: ignore[SF999] x\n    client.create")
    )
    result = run("check", "--select", "SF9", cwd=tmp_path)
    assert result.returncode == 1
    assert "app.py:3:17: SF902 `SF999` is no rule" in result.stdout


def test_select_and_ignore_take_codes_and_prefixes(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BAD)
    assert run("check", "--select", "SF1,SF2", cwd=tmp_path).returncode == 0
    assert run("check", "--select", "SF1", "--select", "SF3", cwd=tmp_path).returncode == 1
    assert run("check", "--ignore", "SF301", cwd=tmp_path).returncode == 0
    result = run("check", "--select", "E501", cwd=tmp_path)
    assert result.returncode == 2
    assert "no rule 'E501'; the rules are SF101" in result.stderr


CONFIGS = {
    'ignore = ["SF301"]': (0, ""),
    'select = ["SF1"]': (0, ""),
    'exclude = ["app.py"]': (0, ""),
    "min-gain = 100000": (0, ""),
    'tiers = { question = "static" }': (0, ""),
    "min-gain = 1": (1, ""),
    "mingain = 1": (2, "[tool.stemfirst] has no key 'mingain'; the keys are select"),
    'min-gain = "1"': (2, "min-gain is a number of tokens from 0 up, got '1'"),
    'tiers = { question = "often" }': (2, "tiers.question: no tier is called 'often'"),
    'select = ["X"]': (2, "select: no rule 'X'"),
    'select = "SF1"': (2, "select is a list of strings, got 'SF1'"),
    "=": (2, "does not parse"),
}


@pytest.mark.parametrize("line", CONFIGS)
def test_pyproject_is_obeyed_or_corrected(line: str, tmp_path: Path) -> None:
    code, message = CONFIGS[line]
    (tmp_path / "pyproject.toml").write_text(f"[tool.stemfirst]\n{line}\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").write_text(BAD)
    result = run("check", "src", cwd=tmp_path)
    assert result.returncode == code, result.stdout + result.stderr
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == (code == 2)


def test_settings_that_are_no_table_are_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool.stemfirst = 3\n")
    (tmp_path / "app.py").write_text(BAD)
    result = run("check", cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.endswith("[tool.stemfirst] is a table of settings, got 3")


def test_tests_and_foreign_folders_are_passed_over(tmp_path: Path) -> None:
    for folder in ("tests", ".venv/lib", "node_modules", "build"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "app.py").write_text(BAD)
    (tmp_path / "test_app.py").write_text(BAD)
    assert run("check", cwd=tmp_path).returncode == 0
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "app.py").write_text(BAD)
    assert run("check", cwd=tmp_path).returncode == 1


def test_a_check_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("x = 1\n")
    code = (
        "import sys\nfrom stemfirst_lint.check import check_paths\n"
        "from stemfirst_lint.config import load_config\n"
        "check_paths(('app.py',), load_config('.'))\n"
        "heavy = {'torch', 'transformers', 'libcst', 'tokenizers', 'tiktoken', 'fastapi',\n"
        "         'importlib.metadata', 'tomllib', 'asyncio', 'stemfirst_lint.fix'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'sdk'}{os.pathsep}{ROOT / 'linter'}"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert result.stdout.strip() == "[]"
