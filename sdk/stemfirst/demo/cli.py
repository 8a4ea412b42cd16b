"""`stemfirst demo`: the whole loop on an example app, with one table at the end."""

from __future__ import annotations

from pathlib import Path

import click

from stemfirst.errors import StemfirstError


@click.command()
@click.option(
    "--app",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder in the shape of examples/support_agent (default: that one).",
)
@click.option("--model", help="A model folder or id to serve (default: the embedded demo model).")
@click.option(
    "--gpu-price-per-hour",
    type=click.FloatRange(min=0, min_open=True),
    default=2.50,
    show_default=True,
    help="US dollars that an hour of the machine costs.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Leave the rewritten app in this folder, which must not exist.",
)
def demo(app: Path | None, model: str | None, gpu_price_per_hour: float, keep: Path | None) -> None:
    """Check an example app, rewrite a copy, and serve both the same traffic.

    Takes one to three minutes on two cores and leaves nothing behind.
    """
    from stemfirst.demo.display import Display
    from stemfirst.demo.story import Options, bundled_app, run

    try:
        chosen = (app or bundled_app()).resolve()
        run(Options(chosen, model, gpu_price_per_hour, keep and keep.resolve()), Display())
    except StemfirstError as error:
        raise click.ClickException(str(error)) from None
