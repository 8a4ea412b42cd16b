"""The command `stemfirst`: a table of subcommands, each imported when it is named.

Knows where each subcommand lives. Does not import any of them, nor any package of theirs,
before one is asked for: `check` must start as fast as Python does.
"""

from __future__ import annotations

import sys
from importlib import import_module

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

EXTRA_OF = {"torch": "server", "transformers": "server", "fastapi": "server", "uvicorn": "server",
            "pydantic": "server", "prometheus_client": "server", "tokenizers": "server",
            "jinja2": "server", "numpy": "server", "llguidance": "server", "openai": "client",
            "rich": "demo", "pygls": "lsp", "lsprotocol": "lsp"}  # fmt: skip
"""Top-level module -> the extra of this distribution that brings it."""


class LazyGroup(click.Group):
    """A click group whose subcommands are imported when they are called.

    A name that the table lacks is looked up among the entry points of the group
    `stemfirst.commands`, so that other distributions can add subcommands; that scan costs
    more than `check` takes to start, and so it comes last.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the built-in subcommands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one subcommand, or None where nobody offers that name."""
        if cmd_name in COMMANDS:
            return load(COMMANDS[cmd_name][0])
        from importlib.metadata import entry_points

        for point in entry_points(group="stemfirst.commands", name=cmd_name):
            command = point.load()
            return command if isinstance(command, click.Command) else None
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table's own lines, so that `--help` imports no subcommand."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def load(target: str) -> click.Command:
    """Import `module:attribute` and return the command there.

    Raises:
        click.ClickException: a package that the command needs is not installed; the message
            names the extra that brings it.
    """
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
    return click.ClickException(
        f'this command needs the package {missing!r}: pip install "stemfirst[{EXTRA_OF[missing]}]"'
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="stemfirst", prog_name="stemfirst")
def app() -> None:
    """Keep the stable part of every prompt first, and see what that saved."""


def main() -> None:
    """Run the command line; usage errors and our own failures exit with 2."""
    try:
        # An exit code, where the subcommand set one.
        result = app(prog_name="stemfirst", standalone_mode=False)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except Exception as error:  # noqa: BLE001 Python would exit with 1, which says "findings"
        # Commands import what is heavy when they run, and so miss it only then.
        hint = _missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
        if hint is not None:
            hint.show()
            sys.exit(2)
        import traceback

        traceback.print_exc()
        sys.exit(2)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
