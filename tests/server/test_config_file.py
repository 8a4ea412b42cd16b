"""`serve --config`, and what else stands in deploy/."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from stemfirst_server.cli import serve

ROOT = Path(__file__).parents[2]


def parsed(tmp_path: Path, text: str, *flags: str, **env: str) -> dict[str, Any]:
    """Return what `serve` would be called with, or raise what click raises."""
    file = tmp_path / "server.toml"
    file.write_text(text, "utf-8")
    found: dict[str, Any] = {}
    command = click.Command(
        "serve", params=serve.params, callback=lambda **values: found.update(values)
    )
    done = CliRunner(env=env).invoke(command, ["--config", str(file), *flags])
    if done.exit_code:
        raise click.UsageError(" ".join(done.output.split()))
    return found


def test_the_file_sets_what_flags_set(tmp_path: Path) -> None:
    found = parsed(
        tmp_path,
        'model = "./m"\nport = 9000\nmax-num-seqs = 3\nserved-model-name = ["a", "b"]\n'
        "enable-prefix-caching = false\ndeterministic = true\nshutdown-timeout = 5\n"
        'state-dir = "state"\n',
    )
    assert found["model"] == "./m"
    assert found["port"] == 9000
    assert found["max_running"] == 3
    assert found["served_names"] == ("a", "b")
    assert found["has_prefix_cache"] is False
    assert found["is_deterministic"] is True
    assert found["shutdown_s"] == 5.0
    assert found["state_dir"] == Path("state")


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = 'port = 9000\napi-key = "file"\nmax-num-seqs = 3\n'
    found = parsed(tmp_path, text, "--port", "1", STEMFIRST_API_KEY="environment")
    assert (found["port"], found["api_keys"], found["max_running"]) == (1, ("environment",), 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", "prot is unknown: did you mean port?"),
        ("config = 'x'", "config is unknown"),
        ("[port]\nx = 1", "port must be a value"),
        ("port = 'abc'", "'abc' is not a valid integer"),
        ("port = 70000", "70000 is not in the range"),
        ("gpu-price-per-hour = nan", "nan is no finite number"),
        ("gpu-price-per-hour = inf", "inf is no finite number"),
        ("port = [1]", "port is one value"),
        ("deterministic = 'yes'", "deterministic must be true or false"),
        ("port = ", "is not TOML"),
    ],
)
def test_what_makes_no_sense_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        parsed(tmp_path, text)
    assert words in str(caught.value)


def flags_of(line: str) -> set[str]:
    return {word.partition("=")[0] for word in shlex.split(line) if word.startswith("--")}


KNOWN = {flag for option in serve.params for flag in (*option.opts, *option.secondary_opts)}


def test_the_unit_runs_the_command_with_flags_that_exist() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy" / "stemfirst.service", "utf-8")
    line = unit["Service"]["ExecStart"]
    assert "stemfirst serve" in line
    assert flags_of(line) <= KNOWN
    shutdown_s = float(re.findall(r"--shutdown-timeout (\d+)", line)[0])
    assert float(unit["Service"]["TimeoutStopSec"]) > shutdown_s


@pytest.mark.parametrize("name", ["Dockerfile.cpu", "Dockerfile.cuda"])
def test_images_copy_what_exists_and_run_flags_that_exist(name: str) -> None:
    text = (ROOT / "deploy" / name).read_text("utf-8").replace("\\\n", " ")
    copied = [path for line in re.findall(r"(?m)^COPY (.+)$", text) for path in line.split()[:-1]]
    assert all((ROOT / path).exists() for path in copied)
    assert {"sdk", "linter", "server", "pyproject.toml"} <= set(copied)
    (entry,) = re.findall(r'(?m)^ENTRYPOINT \["stemfirst", "serve", (.+)\]$', text)
    assert flags_of(entry.replace(",", " ")) <= KNOWN
    assert re.search(r"(?m)^USER (?!root)", text)
