"""Prompts that stand in YAML, JSON and TOML files are read where they are, as their parsers do."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stemfirst_lint.check import Report, check_paths
from stemfirst_lint.config import Config
from stemfirst_lint.value_files import values_in

Check = Callable[..., Report]
RULES = "Answer politely and never promise what the policy does not grant. " * 16
SEND = '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
ASK = "def ask(client, question):\n"

YAML = """\
# prompts of the shop
version: 2
qa: &base   # the first
  system: "You are \\"terse\\".\\tAlways."
  'user': |
    {question}

      Indented. %s
  other: plain text # a comment
items:
  - name: first
    text: >-
      Folded {x}
      over lines.

      A new one.
  - name: 'it''s'
    text: |
      second
-odd: no
empty:
last: end
"""
TOML = '''\
title = "a \\u0041 {x}" # comment
[qa]
user = """
{question}
%s"""
raw = \'\'\'
C:\\new {y}\'\'\'
"quoted key" = 'single'
long = """\\
   joined \\
   here"""
[[items]]
text = "one"
[[items]]
text = "two"
number = 3
'''


def flat(value: Any, keys: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], str]:
    """Every string of nested values by its keys."""
    found: dict[tuple[Any, ...], str] = {}
    if isinstance(value, dict):
        for key, item in value.items():
            found |= flat(item, (*keys, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found |= flat(item, (*keys, number))
    elif isinstance(value, str):
        found[keys] = value
    return found


def test_yaml_is_read_as_its_parser_does() -> None:
    yaml = pytest.importorskip("yaml")
    read = {k: run.text.rstrip("\n") for k, run in values_in("p.yaml", YAML % RULES).items()}
    parsed = {k: v.rstrip("\n") for k, v in flat(yaml.safe_load(YAML % RULES)).items()}
    assert {key: read.get(key) for key in parsed} == parsed


def test_toml_is_read_as_its_parser_does() -> None:
    read = {keys: run.text for keys, run in values_in("p.toml", TOML % RULES).items()}
    assert read == flat(tomllib.loads(TOML % RULES))


@pytest.mark.parametrize("path", ["p.yaml", "p.toml", "p.json"])
def test_places_lead_to_the_characters(path: str) -> None:
    text = {"p.yaml": YAML, "p.toml": TOML}.get(path, json.dumps({"a": ["x\n{y} \u00e9"]}))
    for run in values_in(path, text).values():
        for index, character in enumerate(run.text):
            if character.isalnum() and character.isascii():
                at = run.offset(index)
                assert text[at] == character or text[at] == "\\"


UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NESTED = st.recursive(
    st.text(max_size=6) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@UNHURRIED
@given(NESTED, st.booleans(), st.sampled_from([None, 2]))
def test_json_is_read_as_its_parser_does(value: Any, is_ascii: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent)
    read = {keys: run.text for keys, run in values_in("p.json", text).items()}
    if not isinstance(value, str) and "\\ud" not in text:  # half a pair is two escapes
        assert read == flat(value)


@UNHURRIED
@given(
    st.text(alphabet="ab:-|> '\"\n\\{}[]#=&\t.,"), st.sampled_from(["a.yaml", "a.json", "a.toml"])
)
def test_any_text_is_read_without_an_error(text: str, path: str) -> None:
    for run in values_in(path, text).values():
        assert 0 <= run.start <= run.end <= len(text)


LOADED = {
    "yaml from a file that is opened": (
        "import yaml\n\n"
        'with open("prompts.yaml") as file:\n    PROMPTS = yaml.safe_load(file)\n\n'
        + ASK
        + '    text = PROMPTS["qa"]["user"].format(question=question)\n'
        + SEND
    ),
    "yaml by its path": (
        "import yaml\nfrom pathlib import Path\n\n"
        'PROMPTS = yaml.safe_load((Path(__file__).parent / "prompts.yaml").read_text())\n\n'
        + ASK
        + '    section = PROMPTS["qa"]\n    text = section.get("user").format(question=question)\n'
        + SEND
    ),
    "yaml through a loader of the project": (
        "import yaml\n\n"
        "def load_prompts(path):\n    with open(path) as file:\n"
        "        return yaml.safe_load(file)\n\n"
        'PROMPTS = load_prompts("prompts.yaml")\n\n'
        + ASK
        + '    text = PROMPTS["qa"]["user"].format(question=question)\n'
        + SEND
    ),
    "yaml from the resources of a package": (
        "import yaml\nfrom importlib import resources\n\n"
        "class Asker:\n"
        "    def __init__(self):\n"
        '        text = resources.files("app").joinpath("prompts.yaml").read_text()\n'
        "        self.prompts = yaml.safe_load(text)\n\n"
        "    def ask(self, client, question):\n"
        '        text = self.prompts["qa"]["user"].format(question=question)\n    '
        + SEND
    ),
    "yaml by a key that varies": (
        'import yaml\n\nPROMPTS = yaml.safe_load(open("prompts.yaml"))\n\n'
        "def ask(client, question, kind):\n"
        '    text = PROMPTS[kind]["user"].format(question=question)\n' + SEND
    ),
    "yaml in another module": (
        "from app import load\n\n" + ASK
        + '    text = load.PROMPTS["qa"]["user"].format(question=question)\n' + SEND
    ),
    "json": (
        'import json\n\nPROMPTS = json.load(open("prompts.json"))\n\n'
        + ASK
        + '    text = PROMPTS["qa"]["user"].format(question=question)\n'
        + SEND
    ),
    "toml": (
        'import tomllib\n\nwith open("prompts.toml", "rb") as file:\n'
        "    PROMPTS = tomllib.load(file)\n\n"
        + ASK
        + '    text = PROMPTS["qa"]["user"].format(question=question)\n'
        + SEND
    ),
    "yaml, a template class": (
        'import yaml\n\nPROMPTS = yaml.safe_load(open("prompts.yaml"))\n\n'
        'QA = PromptTemplate.from_template(PROMPTS["qa"]["user"])\n'
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", LOADED)
def test_a_value_that_code_takes_out_of_a_file_is_checked_where_it_stands(
    title: str, tmp_path: Path
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "load.py").write_text(
        'import yaml\n\nPROMPTS = yaml.safe_load(open("prompts.yaml"))\n'
    )
    (folder / "main.py").write_text(LOADED[title])
    (folder / "prompts.yaml").write_text(YAML % RULES)
    (folder / "prompts.toml").write_text(TOML % RULES)
    user = {"qa": {"user": "{question}\n\n" + RULES}}
    (folder / "prompts.json").write_text(json.dumps(user, indent=2))
    found = check_paths((str(tmp_path),), Config(root=str(tmp_path))).findings
    assert [finding.code for finding in found] == ["SF301"]
    place = found[0].location
    assert place.path.endswith((".yaml", ".json", ".toml"))
    line = Path(place.path).read_text().splitlines()[place.line - 1]
    assert line[place.column - 1 : place.end_column - 1] == "{question}"


@pytest.mark.parametrize(
    ("marker", "call"),
    [
        ("${question}", "Template(PROMPTS['user']).substitute(question=question)"),
        ("{{ question }}", "jinja2.Template(PROMPTS['user']).render(question=question)"),
        ("{{question}}", "PROMPTS['user'].replace('{{question}}', question)"),
    ],
)
def test_holes_of_other_syntaxes_are_filled(marker: str, call: str, tmp_path: Path) -> None:
    (tmp_path / "prompts.yaml").write_text(f"user: |\n  Q: {marker}\n\n  {RULES}\n")
    (tmp_path / "app.py").write_text(
        "import jinja2, yaml\nfrom string import Template\n\n"
        'PROMPTS = yaml.safe_load(open("prompts.yaml"))\n\n' + ASK + f"    text = {call}\n" + SEND
    )
    found = check_paths((str(tmp_path),), Config(root=str(tmp_path))).findings
    assert [(finding.code, finding.location.line) for finding in found] == [("SF301", 2)]


def test_a_value_that_is_not_there_or_stays_is_silent(tmp_path: Path) -> None:
    (tmp_path / "prompts.yaml").write_text(f"user: |\n  {RULES}\n\n  {{question}}\n")
    (tmp_path / "app.py").write_text(
        'import yaml\n\nPROMPTS = yaml.safe_load(open("prompts.yaml"))\n\n' + ASK
        + '    text = PROMPTS["user"].format(question=question)\n' + SEND
        + '    text = PROMPTS["nobody"].format(question=question)\n' + SEND
        + '    text = yaml.safe_load(open("none.yaml"))["user"].format(question=question)\n' + SEND
    )  # fmt: skip
    report = check_paths((str(tmp_path),), Config(root=str(tmp_path)))
    assert report.findings == ()
    assert report.prompts == 1


def test_files_of_values_that_the_settings_name_are_checked(tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "a.yaml").write_text(YAML % RULES)
    (folder / "b.toml").write_text(TOML % RULES)
    (folder / "c.json").write_text(json.dumps({"qa": [{"user": "{question}\n" + RULES}]}))
    config = Config(root=str(tmp_path), prompts=("prompts/*",))
    found = check_paths((str(tmp_path),), config).findings
    assert [(Path(f.location.path).name, f.code) for f in found] == [
        ("a.yaml", "SF301"),
        ("b.toml", "SF301"),
        ("c.json", "SF301"),
    ]


def test_jinja_in_a_value_brings_the_files_that_it_includes(tmp_path: Path) -> None:
    (tmp_path / "prompts.yaml").write_text(
        "user: |\n  Asked:\n  {{ question }}\n  {% include 'rules.md' %}\n"
    )
    (tmp_path / "rules.md").write_text(RULES)
    (tmp_path / "app.py").write_text(
        'import jinja2, yaml\n\nPROMPTS = yaml.safe_load(open("prompts.yaml"))\n\n' + ASK
        + '    text = jinja2.Template(PROMPTS["user"]).render(question=question)\n' + SEND
    )  # fmt: skip
    found = check_paths((str(tmp_path),), Config(root=str(tmp_path))).findings
    assert [(finding.code, finding.location.line) for finding in found] == [("SF301", 3)]
