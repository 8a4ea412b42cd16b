"""The command `stemfirst`: a table of subcommands, each imported when it is named.

Knows where each subcommand lives. Does not import any of them, nor any package of theirs,
before one is asked for: `check` must start as fast as Python does. What `check` showed before is
shown again without the parser of options, if nothing changed since.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from typing import NoReturn

    import click

COMMANDS = {
    "check": (
        "stemfirst_lint.cli.check:check",
        "Find varying text that stands before stable text.",
    ),
    "fix": ("stemfirst_lint.cli.fix:fix", "Rewrite prompts so that stable content comes first."),
    "verify": (
        "stemfirst_lint.cli.verify:verify",
        "Ask a model what it says to prompts before and after their fix.",
    ),
    "lock": ("stemfirst_lint.cli.lock:lock", "Pin stable prefixes, or check that they stand."),
    "audit": ("stemfirst_lint.cli.audit:audit", "Find what recorded requests lost, and why."),
    "explain": ("stemfirst.explain:explain", "Show where a request leaves what was cached."),
    "rule": ("stemfirst_lint.cli.rule:rule", "Explain a rule: what, why, fix, examples."),
    "lsp": ("stemfirst_lint.cli.lsp:lsp", "Serve editors: findings, evidence and fixes."),
    "serve": (
        "stemfirst_server.cli:serve",
        "Serve a model with a prefix cache that reports savings.",
    ),
    "bench": (
        "stemfirst_server.bench.cli:bench",
        "Ask a server much, and print its latencies, hits and savings.",
    ),
    "demo": ("stemfirst.demo.cli:demo", "Check, fix, serve and compare an example app."),
}
"""Subcommand -> (where it lives, what its line in `stemfirst --help` says)."""

_CHECK = COMMANDS["check"]

EXTRA_OF = {"torch": "server", "transformers": "server", "fastapi": "server", "uvicorn": "server",
            "pydantic": "server", "prometheus_client": "server", "tokenizers": "server",
            "jinja2": "server", "numpy": "server", "llguidance": "server", "openai": "client",
            "rich": "demo", "pygls": "lsp", "lsprotocol": "lsp"}  # fmt: skip
"""Top-level module -> the extra of this distribution that brings it."""


def load(target: str) -> click.Command:
    """Import `module:attribute` and return the command there.

    Raises:
        click.ClickException: a package that the command needs is not installed; the message
            names the extra that brings it.
    """
    import click

    module_name, _, attribute = target.partition(":")
    try:
        command = getattr(import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        missing = _missing_extra(error)
        if missing is None:
            raise
        raise missing from None
    assert isinstance(command, click.Command)
    return command


def _missing_extra(error: ModuleNotFoundError) -> click.ClickException | None:
    """Return what to install, or None where no extra of ours brings the package."""
    missing = (error.name or "").partition(".")[0]
    if missing not in EXTRA_OF:
        return None
    import click

    return click.ClickException(
        f'this command needs the package {missing!r}: pip install "stemfirst[{EXTRA_OF[missing]}]"'
    )


WITHOUT_OPTIONS = ("stemfirst_lint.again:repeated", "stemfirst_lint.cli.checking:check_plainly")
"""What may answer `check` before its options are parsed: each returns an exit code, or None."""


def _answered() -> int | None:
    if sys.argv[1:2] != ["check"] or COMMANDS["check"] is not _CHECK:
        return None
    for target in WITHOUT_OPTIONS:
        module_name, _, attribute = target.partition(":")
        found = getattr(import_module(module_name), attribute)(sys.argv[2:])
        if found is not None:
            assert isinstance(found, int)
            return found
    return None


def _fail(error: Exception) -> NoReturn:
    # Commands import what is heavy when they run, and so miss it only then.
    hint = _missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
    if hint is not None:
        hint.show()
    else:
        import traceback

        traceback.print_exception(error)
    sys.exit(2)


def main() -> None:
    """Run the command line; usage errors and our own failures exit with 2."""
    try:
        exit_code = _answered()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 see below
        _fail(error)
    if exit_code is not None:
        sys.exit(exit_code)
    import click

    from stemfirst.command import app

    try:
        # An exit code, where the subcommand set one.
        result = app(prog_name="stemfirst", standalone_mode=False)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except Exception as error:  # noqa: BLE001 Python would exit with 1, which says "findings"
        _fail(error)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
