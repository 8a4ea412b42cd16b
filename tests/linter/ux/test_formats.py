"""Every output format says the same, in the words of who reads it."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pydantic import BaseModel
from sarif_pydantic import Sarif

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "findings.schema.json").read_bytes())
CLOCK = (
    "from datetime import datetime\n\n"
    "def ask(client, history):\n"
    '    systém = f"""Now: {datetime.now()}\n'
    '<b> & "quotes", 100%: LONG"""\n'
    '    client.create(messages=[{"role": "system", "content": systém}, *history])\n'
)


# In the standard (3.14.27 and 3.20.21), and not in the package's models.
ALSO_SARIF = {"log.runs[].columnKind", "log.runs[].invocations[].toolExecutionNotifications"}


def assert_is_sarif(log: object) -> None:
    """Fail unless every field has the type of SARIF 2.1.0, and none is of our own making.

    No package brings the standard's own schema; `STEMFIRST_SARIF_SCHEMA` names a copy of it.
    """
    schema = os.environ.get("STEMFIRST_SARIF_SCHEMA")
    if schema:
        jsonschema.validate(log, json.loads(Path(schema).read_text("utf-8")))
    unknown = set(unknown_fields(Sarif.model_validate(log), "log"))
    assert unknown <= ALSO_SARIF


def unknown_fields(value: object, path: str) -> Iterator[str]:
    """Yield the path of every field that the format does not have."""
    if isinstance(value, BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or {} if name != "$schema")
        for name in value.model_fields_set:
            yield from unknown_fields(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from unknown_fields(item, f"{path}[]")


@pytest.fixture
def project(sources, tmp_path) -> Path:
    (tmp_path / "bad, really.py").write_text(sources.bad)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "clock.py").write_text(CLOCK.replace("LONG", sources.long), "utf-8")
    (tmp_path / "broken.py").write_text("def f(:\n")
    return tmp_path


def test_full_shows_the_source_with_carets_below_what_varies(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.bad)
    lines = stemfirst("check", "app.py").stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if " | " in line)
    assert lines[at].startswith(' 2 | text = f"Question: {question}')
    assert lines[at].endswith("…")
    carets = lines[at + 1]
    assert lines[at][carets.index("^") : carets.rindex("^") + 1] == "{question}"
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(
    "line",
    [
        '\tx = f"表{question} LONG"',
        'x = "' + "a" * 200 + '" f"{question} LONG"',
        'x = f"\x1b[31m{question} LONG"',
    ],
)
def test_full_never_sends_control_characters_and_keeps_to_the_width(
    line: str, stemfirst, sources, tmp_path
) -> None:
    text = f"def ask(client, question):\n\t{line.strip()}\n".replace("LONG", sources.long)
    text += '\tclient.create(messages=[{"role": "user", "content": x}])\n'
    (tmp_path / "app.py").write_text(text, "utf-8")
    shown = stemfirst("check", "app.py").stdout
    excerpt, carets = (part for part in shown.splitlines() if " | " in part)
    assert "\x1b" not in shown
    assert "\t" not in shown
    assert "{question}" in excerpt
    assert len(carets) <= 80
    wide = excerpt.count("表")  # takes two columns
    assert excerpt[carets.index("^") - wide :].startswith("{question}")


def test_colour_is_for_those_who_want_it(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.bad)
    plain = stemfirst("check", "app.py").stdout
    coloured = stemfirst("check", "app.py", FORCE_COLOR="1").stdout
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
    assert stemfirst("check", "app.py", FORCE_COLOR="1", NO_COLOR="1").stdout == plain


def test_concise_is_one_line_a_finding(stemfirst, project) -> None:
    done = stemfirst("check", "--output-format", "concise")
    *lines, last = done.stdout.splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines] == ["SF301", "SF101"]
    assert lines[1].startswith("./sub/clock.py:4:23: SF101 ")
    assert last.startswith("Found 2 findings in 2 files")


def test_explain_prints_all_evidence_in_either_format_for_people(stemfirst, project) -> None:
    full = stemfirst("check").stdout
    assert stemfirst("check", "--explain").stdout == full
    concise = stemfirst("check", "--explain", "--output-format", "concise").stdout.splitlines()
    steps = [line for line in full.splitlines() if line.startswith("    - ")]
    assert steps
    assert [line for line in concise if line.startswith("    - ")] == steps


def test_json_is_what_its_schema_promises(stemfirst, project) -> None:
    found = json.loads(stemfirst("check", "--output-format", "json").stdout)
    assert len(found) == 2
    jsonschema.validate(found, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert len({finding["fingerprint"] for finding in found}) == 2
    keys = set(SCHEMA["$defs"]["finding"]["properties"])
    assert keys == set(found[0]), "the schema and the output have the same keys"


def test_a_fingerprint_survives_moved_lines(stemfirst, sources, tmp_path) -> None:
    def fingerprints() -> list[str]:
        found = json.loads(stemfirst("check", "--output-format", "json").stdout)
        return [finding["fingerprint"] for finding in found]

    (tmp_path / "app.py").write_text(sources.bad)
    before = fingerprints()
    (tmp_path / "app.py").write_text("import os\n\n" + sources.bad)
    assert fingerprints() == before
    (tmp_path / "app.py").write_text(sources.bad + "\n\n" + sources.bad)
    assert len(set(fingerprints())) == 2


def test_sarif_is_valid_and_names_the_place(stemfirst, project) -> None:
    log = json.loads(stemfirst("check", "--output-format", "sarif").stdout)
    assert_is_sarif(log)
    (run,) = log["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["SF301", "SF101"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "bad%2C%20really.py", "uriBaseId": "SRCROOT"}
    assert place["region"]["startLine"] == 2
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert not run["invocations"][0]["executionSuccessful"]


def test_sarif_without_findings_is_valid_too(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.good)
    assert_is_sarif(json.loads(stemfirst("check", "--output-format=sarif").stdout))


def test_github_gets_an_annotation_a_finding(stemfirst, project) -> None:
    lines = stemfirst("check", "--output-format", "github").stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("::warning title=stemfirst (SF301 hole-before-static),file=")
    assert "file=./bad%2C really.py,line=2,endLine=2,col=" in lines[0]
    assert lines[2].startswith("::error title=stemfirst::./broken.py: does not parse")


def test_gitlab_gets_the_fields_that_it_requires(stemfirst, project) -> None:
    issues = json.loads(stemfirst("check", "--output-format", "gitlab").stdout)
    assert [issue["location"]["path"] for issue in issues] == ["bad, really.py", "sub/clock.py"]
    for issue in issues:
        assert {"description", "check_name", "fingerprint", "severity"} <= set(issue)
        assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
    assert len({issue["fingerprint"] for issue in issues}) == 2


def test_junit_is_xml_with_a_failed_case_a_finding(stemfirst, project) -> None:
    root = ElementTree.fromstring(stemfirst("check", "--output-format", "junit").stdout)
    assert (root.tag, root.get("failures"), root.get("errors")) == ("testsuites", "2", "1")
    assert [case.get("file") for case in root.iter("testcase") if case.get("file")] == [
        "./bad, really.py",
        "./sub/clock.py",
    ]
    assert "SF101" in [failure.get("type") for failure in root.iter("failure")]


def test_junit_of_clean_code_holds_a_test_that_passes(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.good)
    root = ElementTree.fromstring(stemfirst("check", "--output-format", "junit").stdout)
    assert root.get("tests") == "1"
    assert not list(root.iter("failure"))


def test_output_goes_to_a_file_and_findings_can_leave_the_exit_code_alone(
    stemfirst, sources, tmp_path
) -> None:
    (tmp_path / "app.py").write_text(sources.bad)
    done = stemfirst("check", "--exit-zero", "--output-format=json", "-o", "found.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert len(json.loads((tmp_path / "found.json").read_text())) == 1
    failed = stemfirst("check", "--exit-zero", "-o", "no/such/folder.txt")
    assert failed.returncode == 2
    assert "no/such/folder.txt: No such file" in failed.stderr


def test_output_survives_a_terminal_without_unicode(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(sources.bad, "utf-8")
    done = stemfirst("check", "app.py", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert "SF301" in done.stdout
