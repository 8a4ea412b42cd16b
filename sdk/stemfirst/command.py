"""The group of subcommands as click runs it: `cli` is its table.

Knows click; imports no subcommand before it is called.
"""

from __future__ import annotations

import click

from stemfirst.cli import COMMANDS, load


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


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="stemfirst", prog_name="stemfirst")
def app() -> None:
    """Keep the stable part of every prompt first, and see what that saved."""
