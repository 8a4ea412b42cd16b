"""Which expressions may be evaluated in another order without anybody noticing.

Knows Python's expressions. Does not know what the names mean: an attribute is taken to be a plain
attribute, as everywhere in linting.
"""

from __future__ import annotations

import ast
from enum import Enum
from functools import lru_cache

_PURE_FUNCTIONS = frozenset(
    [
        "abs",
        "all",
        "any",
        "bool",
        "bytes",
        "dict",
        "enumerate",
        "float",
        "frozenset",
        "getattr",
        "hash",
        "int",
        "isinstance",
        "len",
        "list",
        "max",
        "min",
        "range",
        "repr",
        "reversed",
        "round",
        "set",
        "sorted",
        "str",
        "sum",
        "tuple",
        "type",
        "zip",
    ]
)
_PURE_METHODS = frozenset(
    [
        "as_posix",
        "astimezone",
        "capitalize",
        "casefold",
        "count",
        "ctime",
        "date",
        "dedent",
        "dumps",
        "encode",
        "endswith",
        "expandtabs",
        "find",
        "format",
        "get",
        "hex",
        "isoformat",
        "items",
        "join",
        "keys",
        "lower",
        "lstrip",
        "model_dump",
        "model_dump_json",
        "model_json_schema",
        "now",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rstrip",
        "shorten",
        "split",
        "splitlines",
        "startswith",
        "strftime",
        "strip",
        "time",
        "timestamp",
        "title",
        "today",
        "upper",
        "utcnow",
        "uuid1",
        "uuid4",
        "values",
        "zfill",
        "indent",
        "gmtime",
        "localtime",
        "monotonic",
        "perf_counter",
        "time_ns",
        "weekday",
        "year",
        "getcwd",
        "gethostname",
        "getenv",
    ]
)


class Effect(Enum):
    """What an expression does besides having a value."""

    NONE = "none"
    """Names, attributes, constants, known functions: may move."""
    CALL = "call"
    """Calls something we do not know, awaits or yields: the order may matter."""
    BINDS = "binds"
    """Binds a name (`:=`) that a later expression may read: never moves."""


@lru_cache(maxsize=1024)
def effect_of(source: str) -> Effect:
    """Return what evaluating `source` does; what does not parse counts as `CALL`."""
    try:
        tree = ast.parse(f"(\n{source}\n)", mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Newer grammar than this interpreter's, or no expression at all: assume the worst.
        return Effect.CALL
    effect = Effect.NONE
    for node in ast.walk(tree):
        if isinstance(node, ast.NamedExpr):
            return Effect.BINDS
        if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom) or (
            isinstance(node, ast.Call) and not _is_pure_call(node)
        ):
            effect = Effect.CALL
    return effect


def _is_pure_call(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id in _PURE_FUNCTIONS
    return isinstance(call.func, ast.Attribute) and call.func.attr in _PURE_METHODS
