"""Rules of other distributions, and completion in a shell."""

import shutil
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "lint_plugin"


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """The example as an installer would leave it, in a folder for PYTHONPATH."""
    folder = tmp_path / "site"
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = folder / f"acme_rules-{project['version']}.dist-info"
    info.mkdir(parents=True)
    shutil.copy(EXAMPLE / "acme_rules.py", folder)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-rules\nVersion: 1.0\n")
    points = project["entry-points"]["stemfirst.rules"]
    lines = [f"{name} = {target}" for name, target in points.items()]
    lines += ["broken = acme_rules:nothing", "no_rule = acme_rules:COMPETITORS"]
    (info / "entry_points.txt").write_text("\n".join(["[stemfirst.rules]", *lines, ""]))
    paths = (folder, ROOT / "sdk", ROOT / "linter")
    return ":".join(str(path) for path in paths)


def settings(tmp_path: Path, plugin: str, more: str = "") -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.stemfirst]\nplugins = ["{plugin}"]\n{more}')


SOURCE = (
    "def ask(client, question):\n"
    '    text = f"Never recommend Globex. {question}"\n'
    '    client.create(messages=[{"role": "user", "content": text}])\n'
)


def test_a_plugin_that_is_named_adds_its_rules(stemfirst, installed, tmp_path) -> None:
    (tmp_path / "app.py").write_text(SOURCE)
    assert stemfirst("check", "app.py", PYTHONPATH=installed).returncode == 0
    settings(tmp_path, "acme")
    for _ in range(2):  # the second time from the cache
        done = stemfirst("check", "app.py", "--output-format=concise", PYTHONPATH=installed)
        assert done.returncode == 1, done.stderr
        assert "app.py:2:14: ACME101 the prompt names Globex" in done.stdout
    settings(tmp_path, "acme", 'ignore = ["ACME"]\n')
    assert stemfirst("check", "app.py", PYTHONPATH=installed).returncode == 0
    settings(tmp_path, "acme")
    silent = SOURCE.replace('}"\n', '}"  # stemfirst: ignore[ACME101] agreed\n')
    (tmp_path / "app.py").write_text(silent)
    assert stemfirst("check", "app.py", PYTHONPATH=installed).returncode == 0


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ("missing", "no plugin 'missing' is installed"),
        ("broken", "plugin 'broken' does not load"),
        ("no_rule", "which is no subclass of Rule"),
    ],
)
def test_a_plugin_that_is_none_is_an_error(
    plugin: str, message: str, stemfirst, installed, tmp_path
) -> None:
    (tmp_path / "app.py").write_text(SOURCE)
    settings(tmp_path, plugin)
    done = stemfirst("check", "app.py", PYTHONPATH=installed)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str, stemfirst) -> None:
    script = stemfirst(_STEMFIRST_COMPLETE=f"{shell}_source")
    assert script.returncode == 0, script.stderr
    assert "_STEMFIRST_COMPLETE" in script.stdout
    given = {"bash": {"COMP_WORDS": "stemfirst check --output-fo", "COMP_CWORD": "2"},
             "zsh": {"COMP_WORDS": "stemfirst check --output-fo", "COMP_CWORD": "2"},
             "fish": {"COMP_WORDS": "stemfirst check", "COMP_CWORD": "--output-fo"}}  # fmt: skip
    offered = stemfirst(_STEMFIRST_COMPLETE=f"{shell}_complete", **given[shell])
    assert "--output-format" in offered.stdout
