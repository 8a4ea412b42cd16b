"""The linter's page is true: its settings are read and its options exist."""

import re
from pathlib import Path

from stemfirst_lint.cli.check import check
from stemfirst_lint.cli.fix import fix
from stemfirst_lint.cli.lock import lock
from stemfirst_lint.config import read_config

PAGE = (Path(__file__).parents[3] / "docs" / "linter.md").read_text("utf-8")
SETTINGS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_the_settings_of_the_page_are_read(tmp_path: Path) -> None:
    (text,) = SETTINGS
    (tmp_path / "pyproject.toml").write_text(text)
    config = read_config(str(tmp_path / "pyproject.toml"))
    assert config.plugins == ("acme",)
    assert config.per_file_ignores == (("scripts/*", ("SF3",)),)


def test_the_options_of_the_page_exist() -> None:
    options = {
        name
        for command in (check, fix, lock)
        for option in command.params
        for name in (*option.opts, *option.secondary_opts)
    }
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= options
