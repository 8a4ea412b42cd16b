"""What the user asked for: `[tool.stemfirst]` of the nearest pyproject.toml, then the options.

Knows the keys, their types and their defaults. Unknown keys are errors that name them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

from stemfirst.tiers import Tier

from stemfirst_lint.errors import ConfigError

DEFAULT_MIN_GAIN_TOKENS = 128
"""Eight pages of the bundled server."""

CODES = ("SF101", "SF103", "SF201", "SF301", "SF902")
"""Every code that can be selected; a test holds it to the rules."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one run; `root` is the folder that patterns are relative to."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_gain: int = DEFAULT_MIN_GAIN_TOKENS
    model: str | None = None
    tiers: dict[str, Tier] = field(default_factory=dict)
    root: str = "."

    def wants(self, code: str) -> bool:
        """Return True if findings of a code are asked for: selected, and not ignored."""
        is_selected = not self.select or any(code.startswith(prefix) for prefix in self.select)
        return is_selected and not any(code.startswith(prefix) for prefix in self.ignore)

    def with_options(
        self,
        *,
        select: tuple[str, ...] = (),
        ignore: tuple[str, ...] = (),
        min_gain: int | None = None,
        model: str | None = None,
    ) -> Config:
        """Return these settings with those of the command line on top.

        Raises:
            ConfigError: an option has a value that we cannot obey.
        """
        found = replace(
            self,
            select=_codes("--select", select) or self.select,
            ignore=(*self.ignore, *_codes("--ignore", ignore)),
            min_gain=self.min_gain if min_gain is None else min_gain,
            model=model or self.model,
        )
        if found.min_gain < 0:
            raise ConfigError(f"min-gain is a number of tokens from 0 up, got {found.min_gain}")
        return found


def load_config(start: str) -> Config:
    """Return the settings of the nearest pyproject.toml at or above a file or folder.

    Raises:
        ConfigError: the file does not parse, or has an unknown key or a wrong value.
    """
    folder = os.path.abspath(start)
    if not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    while True:
        path = os.path.join(folder, "pyproject.toml")
        if os.path.isfile(path):
            return read_config(path)
        parent = os.path.dirname(folder)
        if parent == folder:
            return Config()
        folder = parent


def read_config(path: str) -> Config:
    """Return the settings of one pyproject.toml; the defaults if it has no table of ours.

    Raises:
        ConfigError: see `load_config`.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    root = os.path.dirname(path)
    if b"stemfirst" not in data:
        return Config(root=root)
    import tomllib

    try:
        table = tomllib.loads(data.decode()).get("tool", {}).get("stemfirst", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ConfigError(f"{path} does not parse: {error}") from None
    return _from_table(path, table, root)


_KEYS = ("select", "ignore", "exclude", "min-gain", "model", "tiers")


def _from_table(path: str, table: dict[str, Any], root: str) -> Config:
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise ConfigError(
            f"{path}: [tool.stemfirst] has no key {unknown[0]!r}; the keys are {', '.join(_KEYS)}"
        )
    min_gain = table.get("min-gain", DEFAULT_MIN_GAIN_TOKENS)
    if not isinstance(min_gain, int) or isinstance(min_gain, bool) or min_gain < 0:
        raise ConfigError(f"{path}: min-gain is a number of tokens from 0 up, got {min_gain!r}")
    model = table.get("model")
    if model is not None and not isinstance(model, str):
        raise ConfigError(f"{path}: model is the path of a model's folder, got {model!r}")
    tiers = table.get("tiers", {})
    if not isinstance(tiers, dict):
        raise ConfigError(f"{path}: tiers is a table from a name to a tier, got {tiers!r}")
    declared: dict[str, Tier] = {}
    for name, label in tiers.items():
        try:
            declared[name] = Tier.parse(str(label))
        except ValueError as error:
            raise ConfigError(f"{path}: tiers.{name}: {error}") from None
    return Config(
        select=_codes(f"{path}: select", _strings(path, "select", table)),
        ignore=_codes(f"{path}: ignore", _strings(path, "ignore", table)),
        exclude=_strings(path, "exclude", table),
        min_gain=min_gain,
        model=os.path.join(root, model) if model is not None else None,
        tiers=declared,
        root=root,
    )


def _strings(path: str, key: str, table: dict[str, Any]) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{path}: {key} is a list of strings, got {value!r}")
    return tuple(value)


def _codes(where: str, codes: tuple[str, ...]) -> tuple[str, ...]:
    for code in codes:
        if not any(known.startswith(code) for known in CODES) or not code:
            raise ConfigError(f"{where}: no rule {code!r}; the rules are {', '.join(CODES)}")
    return codes
