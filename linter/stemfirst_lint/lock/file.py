"""The file `stemfirst.lock`: its format, reading and writing. Holds digests, never text."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass

from stemfirst.locks import NAME as NAME
from stemfirst.locks import VERSION

from stemfirst_lint.errors import ConfigError
from stemfirst_lint.lock.prefixes import Prefix
from stemfirst_lint.writing import write_whole

_REMEDY = "write it with `stemfirst lock`"


@dataclass(frozen=True, slots=True)
class Locked:
    """What a lock holds: the paths it was made from, and by key the digests of blocks."""

    paths: tuple[str, ...]
    prefixes: dict[str, tuple[str, ...]]


def write_lock(path: str, paths: Iterable[str], prefixes: dict[str, Prefix]) -> bool:
    """Write a lock if it would say something else than it does, and return whether.

    Raises:
        ConfigError: the file cannot be written.
    """
    value = {
        "version": VERSION,
        "paths": list(paths),
        "prefixes": {key: list(prefixes[key].digests) for key in sorted(prefixes)},
    }
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    data = text.encode()
    try:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                if file.read() == data:
                    return False
        write_whole(path, data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}; choose another --file") from None
    return True


def read_lock(path: str) -> Locked:
    """Return what a lock holds.

    Raises:
        ConfigError: it is not there, or is no lock.
    """
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
        if value["version"] != VERSION:
            raise ConfigError(f"{path}: version {value['version']!r} is not known; {_REMEDY}")
        return Locked(
            tuple(str(each) for each in value["paths"]),
            {str(key): tuple(map(str, blocks)) for key, blocks in value["prefixes"].items()},
        )
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {_REMEDY}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{path} {_what_is_wrong(path)}") from None


def _what_is_wrong(path: str) -> str:
    with open(path, "rb") as file:
        data = file.read()
    if b"<<<<<<<" in data and b">>>>>>>" in data:
        return "holds git's conflict marks; delete it and write it with `stemfirst lock`"
    if not data.strip():
        return "is empty; delete it and write it with `stemfirst lock`"
    return "is no lock; delete it, or name another --file, and write it with `stemfirst lock`"
