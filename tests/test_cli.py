"""The command `stemfirst` itself: its table, its exit codes, its errors."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import click
import pytest
from stemfirst.cli import COMMANDS, EXTRA_OF, load


def stemfirst(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_subcommand_and_imports_none() -> None:
    done = stemfirst("--help")
    assert done.returncode == 0
    for name, (_, line) in COMMANDS.items():
        assert name in done.stdout
        assert line.split()[0] in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_version_is_the_distributions() -> None:
    import stemfirst as package

    assert stemfirst("--version").stdout.split()[-1] == package.__version__


@pytest.mark.parametrize("name", COMMANDS)
def test_every_row_of_the_table_leads_to_a_command(name: str) -> None:
    target = COMMANDS[name][0]
    if target.startswith("stemfirst_server") and find_spec("torch") is None:
        pytest.skip("the server extra is not installed")
    assert isinstance(load(target), click.Command)


def test_an_unknown_subcommand_exits_with_two() -> None:
    done = stemfirst("chekc", ".")
    assert done.returncode == 2
    assert "chekc" in done.stderr


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name="torch")

    monkeypatch.setattr("stemfirst.cli.import_module", fail)
    with pytest.raises(click.ClickException, match=r"stemfirst\[server\]"):
        load(COMMANDS["serve"][0])
    assert set(EXTRA_OF.values()) == {"client", "server", "demo", "lsp"}


def test_a_defect_of_ours_exits_with_two_not_one() -> None:
    code = (
        "import stemfirst.cli as c\n"
        "c.COMMANDS['check'] = ('json:no_such_name', '')\n"
        "import sys; sys.argv = ['stemfirst', 'check']\n"
        "c.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no_such_name" in done.stderr


@pytest.mark.parametrize(("name", "missing"), [("serve", "uvicorn"), ("demo", "rich")])
def test_an_extra_that_is_missed_on_the_way_is_named(name: str, missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['stemfirst', {name!r}]; "
        "from stemfirst.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"needs the package '{missing}': pip install" in line
