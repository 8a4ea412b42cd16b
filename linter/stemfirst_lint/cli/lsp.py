"""The command `stemfirst lsp`: a language server over standard input and output."""

from __future__ import annotations

import click


@click.command()
def lsp() -> None:
    """Serve editors: findings as you type, evidence on hover, fixes as quick fixes.

    Speaks the Language Server Protocol over standard input and output; editors start it.
    """
    from stemfirst_lint.lsp.server import make_server

    make_server().start_io()
