"""`serve --config`: one TOML file whose names are those of the flags.

    model = "./my-model"
    port = 8000
    max-num-seqs = 32
    served-model-name = ["support", "support-v2"]
    enable-prefix-caching = true

A flag on the command line wins, then an environment variable, then the file. Knows click's
parameters; does not know what they mean.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

import click


def read_config(ctx: click.Context, parameter: click.Parameter, file: Path | None) -> Path | None:
    """Make the file's values the command's defaults; a click callback, to be called early.

    Raises:
        click.BadParameter: the file cannot be read, is no TOML, or names what is no flag.
    """
    if file is None:
        return None
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{file} is not TOML: {error}") from None
    known = _flags(ctx.command, parameter)
    values: dict[str, Any] = {}
    for name, value in content.items():
        option = known.get(name)
        if option is None:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else "its names are those of the flags"
            raise click.BadParameter(f"{file}: {name} is unknown: {hint}")
        values[str(option.name)] = _fit(option, name, value, file)
    ctx.default_map = {**(ctx.default_map or {}), **values}
    return file


def _flags(command: click.Command, skipped: click.Parameter) -> dict[str, click.Option]:
    found = {}
    for option in command.params:
        if isinstance(option, click.Option) and option is not skipped:
            for flag in option.opts:
                found[flag.removeprefix("--")] = option
    return found


def _fit(option: click.Option, name: str, value: object, file: Path) -> object:
    """Return the value as click takes it.

    Raises:
        click.BadParameter: it is of another kind than the flag's.
    """
    if option.is_flag and not isinstance(value, bool):
        raise click.BadParameter(f"{file}: {name} must be true or false, got {value!r}")
    if not option.is_flag and isinstance(value, bool | dict):
        raise click.BadParameter(f"{file}: {name} must be a value like the flag's, got {value!r}")
    if option.multiple:
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]
    if isinstance(value, list):
        raise click.BadParameter(f"{file}: {name} is one value, got a list")
    return value
