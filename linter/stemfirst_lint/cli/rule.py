"""The command `stemfirst rule`: a rule's page, or all of them."""

from __future__ import annotations

import sys

import click


@click.command()
@click.argument("code", required=False)
@click.option("--all", "every", is_flag=True, help="Print the pages of all rules.")
def rule(code: str | None, every: bool) -> None:
    """Explain a rule: what, why, fix, examples.

    CODE is a rule's code or name, such as SF301 or hole-before-static; without it the rules are
    listed.
    """
    from stemfirst_lint.config import OPT_IN
    from stemfirst_lint.manual import pages

    found = pages()
    if every:
        click.echo("\n".join(found.values()).rstrip("\n"))
        return
    titles = {key: text.partition("\n")[0][2:] for key, text in found.items()}
    if code is None:
        for key, title in titles.items():
            off = "  (off unless it is named in full)" if key in OPT_IN else ""
            click.echo(title.replace("`", "") + off)
        return
    wanted = code.strip().lower()
    for key, title in titles.items():
        if wanted in (key.lower(), title.partition("`")[2].rstrip("`").lower()):
            click.echo(found[key].rstrip("\n"))
            return
    known = ", ".join(found)
    click.echo(f"error: no rule {code!r}; the rules are {known}", err=True)
    sys.exit(2)
