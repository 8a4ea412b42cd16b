"""What the user asked for: `[tool.stemfirst]` of the nearest pyproject.toml, then the options.

Knows the keys, their types and their defaults. Unknown keys are errors that name them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

from stemfirst.tiers import Tier

from stemfirst_lint.errors import ConfigError
from stemfirst_lint.files import matches
from stemfirst_lint.source import OBSERVERS, is_file

DEFAULT_MIN_GAIN_TOKENS = 128
"""Eight pages of the bundled server."""

CODES = (
    "SF101", "SF102", "SF103", "SF104", "SF105", "SF106", "SF107", "SF108", "SF109",
    "SF201", "SF202", "SF203", "SF204", "SF205", "SF206",
    "SF301", "SF302", "SF303", "SF304",
    "SF401", "SF402", "SF403", "SF404", "SF405", "SF407",
    "SF501", "SF502", "SF503", "SF504", "SF505", "SF506", "SF507", "SF508",
    "SF701", "SF702", "SF703", "SF901", "SF902",
)  # fmt: skip
"""Every code that can be selected; a test holds it to the rules."""

OPT_IN = frozenset({"SF204", "SF303", "SF405"})
"""Codes that are looked for only where they are named in full; a test holds it to the rules."""


CLOCKS = ("move", "day", "session")
"""What `fix` can do with a clock."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one run.

    Attributes:
        select, extend_select, ignore: codes or prefixes; see `wants`.
        per_file_ignores: pairs of a pattern over paths and the codes that are ignored there.
        exclude: patterns over paths relative to `root`, or over single names.
        respects_gitignore: leave out what git ignores, below folders.
        forces_exclude: leave out what is excluded even where it is named itself.
        min_gain: tokens; what forfeits less is not reported.
        model: the folder of a model to count with, or a hosted model's name; None for the
            default.
        tiers: how often values change, by name.
        plugins: entry points of the group `stemfirst.rules` that bring more rules.
        baseline: a file of findings that are known and not reported, or None.
        clock: what `fix` does with clocks: `move`, show the `day` alone, or read once a `session`.
        prompts: patterns of prompt files that code reads out of sight.
        root: the folder that patterns are relative to.
        source: the file that the settings come from, or None.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_gain: int = DEFAULT_MIN_GAIN_TOKENS
    model: str | None = None
    tiers: dict[str, Tier] = field(default_factory=dict)
    root: str = "."
    extend_select: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    respects_gitignore: bool = True
    forces_exclude: bool = False
    plugins: tuple[str, ...] = ()
    baseline: str | None = None
    clock: str = "move"
    prompts: tuple[str, ...] = ()
    source: str | None = None

    def wants(self, code: str) -> bool:
        """Return True if findings of a code are asked for: the longest prefix decides.

        Without `select` all are but those that must be named in full, `OPT_IN`. Where `select` and
        `ignore` say the same, `ignore` wins.
        """
        if code in OPT_IN and code not in (*self.select, *self.extend_select):
            return False
        chosen = _longest(code, (*(self.select or ("",)), *self.extend_select))
        return chosen is not None and (_longest(code, self.ignore) or -1) < max(chosen, 0)

    def wants_at(self, code: str, path: str) -> bool:
        """Return True if findings of a code are asked for in a file."""
        if not self.wants(code):
            return False
        return not any(
            code.startswith(codes) and matches(path, pattern, self.root)
            for pattern, codes in self.per_file_ignores
        )

    def with_options(
        self,
        *,
        select: tuple[str, ...] = (),
        extend_select: tuple[str, ...] = (),
        ignore: tuple[str, ...] = (),
        per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = (),
        min_gain: int | None = None,
        model: str | None = None,
        respects_gitignore: bool | None = None,
        forces_exclude: bool | None = None,
        baseline: str | None = None,
    ) -> Config:
        """Return these settings with those of the command line on top.

        Raises:
            ConfigError: an option has a value that we cannot obey.
        """
        any_code = bool(self.plugins)
        for _, codes in per_file_ignores:
            _codes("--per-file-ignores", codes, any_code)
        found = replace(
            self,
            select=_codes("--select", select, any_code) or self.select,
            extend_select=(
                *self.extend_select,
                *_codes("--extend-select", extend_select, any_code),
            ),
            ignore=(*self.ignore, *_codes("--ignore", ignore, any_code)),
            per_file_ignores=(*self.per_file_ignores, *per_file_ignores),
            min_gain=self.min_gain if min_gain is None else min_gain,
            model=model or self.model,
            respects_gitignore=(
                self.respects_gitignore if respects_gitignore is None else respects_gitignore
            ),
            forces_exclude=self.forces_exclude if forces_exclude is None else forces_exclude,
            baseline=baseline or self.baseline,
        )
        if found.min_gain < 0:
            raise ConfigError(f"min-gain is a number of tokens from 0 up, got {found.min_gain}")
        return found


def _longest(code: str, prefixes: tuple[str, ...]) -> int | None:
    """The length of the longest of the prefixes that a code begins with."""
    return max((len(prefix) for prefix in prefixes if code.startswith(prefix)), default=None)


def load_config(start: str) -> Config:
    """Return the settings of the nearest pyproject.toml at or above a file or folder.

    Raises:
        ConfigError: the file does not parse, or has an unknown key or a wrong value.
    """
    folder = os.path.abspath(start)
    if not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    path = _nearest(folder, {})
    return Config() if path is None else read_config(path)


def config_for(paths: tuple[str, ...]) -> Config:
    """Return the settings that hold for files and folders that are checked together.

    Raises:
        ConfigError: as `load_config`; or they are nearest to files that say different things.
    """
    first = load_config(paths[0])
    if len(paths) == 1:
        return first
    seen: dict[str, str | None] = {}
    same = {first.source}
    for path in paths[1:]:
        folder = os.path.abspath(path)
        source = _nearest(folder if os.path.isdir(folder) else os.path.dirname(folder), seen)
        if source in same:
            continue
        if not _is_same(first, Config() if source is None else read_config(source)):
            raise ConfigError(
                f"{paths[0]} has its settings from {first.source or 'no pyproject.toml'} and "
                f"{path} from {source or 'none'}, and they differ; check them one after the other, "
                "or name one with --config"
            )
        same.add(source)
    return first


def _is_same(one: Config, other: Config) -> bool:
    """Return True if two files' settings say the same, wherever they stand."""
    if one.exclude or one.per_file_ignores or one.prompts:
        return False  # patterns are relative to where they stand
    return replace(one, root="", source=None) == replace(other, root="", source=None)


def _nearest(folder: str, seen: dict[str, str | None]) -> str | None:
    """Return the pyproject.toml at or above a folder, or None; what was seen is remembered."""
    passed: list[str] = []
    found: str | None = None
    while folder not in seen:
        passed.append(folder)
        path = os.path.join(folder, "pyproject.toml")
        if is_file(path):
            found = path
            break
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    else:
        found = seen[folder]
    seen.update(dict.fromkeys(passed, found))
    return found


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
    for observe in OBSERVERS:
        observe(path, data)
    root = os.path.dirname(path)
    if b"stemfirst" not in data:
        return Config(root=root, source=path)
    import tomllib

    try:
        table = tomllib.loads(data.decode()).get("tool", {}).get("stemfirst", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ConfigError(f"{path} does not parse: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: [tool.stemfirst] is a table of settings, got {table!r}")
    return _from_table(path, table, root)


_KEYS = (
    "select", "extend-select", "ignore", "per-file-ignores", "exclude", "force-exclude",
    "respect-gitignore", "baseline", "plugins", "min-gain", "model", "tiers", "fix",
    "prompts",
)  # fmt: skip


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
        raise ConfigError(f"{path}: model is a model's folder or name, got {model!r}")
    tiers = table.get("tiers", {})
    if not isinstance(tiers, dict):
        raise ConfigError(f"{path}: tiers is a table from a name to a tier, got {tiers!r}")
    declared: dict[str, Tier] = {}
    for name, label in tiers.items():
        try:
            declared[name] = Tier.parse(str(label))
        except ValueError as error:
            raise ConfigError(f"{path}: tiers.{name}: {error}") from None
    plugins = _strings(path, "plugins", table)
    baseline = table.get("baseline")
    if baseline is not None and not isinstance(baseline, str):
        raise ConfigError(f"{path}: baseline is the path of a file, got {baseline!r}")

    def codes(key: str) -> tuple[str, ...]:
        return _codes(f"{path}: {key}", _strings(path, key, table), bool(plugins))

    return Config(
        select=codes("select"),
        extend_select=codes("extend-select"),
        ignore=codes("ignore"),
        per_file_ignores=_per_file(path, table.get("per-file-ignores", {}), bool(plugins)),
        exclude=_strings(path, "exclude", table),
        respects_gitignore=_flag(path, "respect-gitignore", table, default=True),
        forces_exclude=_flag(path, "force-exclude", table, default=False),
        min_gain=min_gain,
        model=_model(root, model),
        tiers=declared,
        plugins=plugins,
        baseline=os.path.join(root, baseline) if baseline is not None else None,
        clock=_clock(path, table.get("fix", {})),
        prompts=_strings(path, "prompts", table),
        root=root,
        source=path,
    )


def _model(root: str, model: str | None) -> str | None:
    """A path beside the settings, or a name that is no path."""
    if model is None:
        return None
    path = os.path.join(root, model)
    return path if os.path.exists(path) else model


def _clock(path: str, table: Any) -> str:
    if not isinstance(table, dict) or set(table) - {"clock"}:
        raise ConfigError(f"{path}: [tool.stemfirst.fix] has the key clock alone, got {table!r}")
    clock = table.get("clock", "move")
    if clock not in CLOCKS:
        raise ConfigError(f"{path}: fix.clock is one of {', '.join(CLOCKS)}, got {clock!r}")
    return str(clock)


def _per_file(path: str, table: Any, any_code: bool) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(table, dict):
        raise ConfigError(
            f"{path}: per-file-ignores is a table from a pattern to codes, got {table!r}"
        )
    return tuple(
        (pattern, _codes(f"{path}: per-file-ignores", _strings(path, pattern, table), any_code))
        for pattern in table
    )


def _flag(path: str, key: str, table: dict[str, Any], *, default: bool) -> bool:
    value = table.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{path}: {key} is true or false, got {value!r}")
    return value


def _strings(path: str, key: str, table: dict[str, Any]) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{path}: {key} is a list of strings, got {value!r}")
    return tuple(value)


def _codes(where: str, codes: tuple[str, ...], any_code: bool = False) -> tuple[str, ...]:
    """Check codes; those of plugins, which are not loaded yet, are taken as they are."""
    for code in codes:
        is_known = any(known.startswith(code) for known in CODES) and bool(code)
        if not is_known and (not any_code or code.startswith("SF") or not code):
            raise ConfigError(f"{where}: no rule {code!r}; the rules are {', '.join(CODES)}")
    return codes
