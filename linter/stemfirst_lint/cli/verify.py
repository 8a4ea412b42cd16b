"""The command `stemfirst verify`: what a model says to each prompt before and after its fix.

Knows options and output; nothing is sent anywhere but to the server that the user named, or to the
bundled one that this command starts and ends. How a server is asked is `asking`'s.
"""

from __future__ import annotations

import json
import os
import sys

import click

from stemfirst_lint.errors import LintError

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.cli.asking import Server
    from stemfirst_lint.fix.changes import Done
    from stemfirst_lint.fix.trial import Agreement, Answer


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option(
    "--risky", "is_risky", is_flag=True, help="Try changes that `fix --risky` makes, too."
)
@click.option(
    "--values",
    "values_path",
    type=click.Path(exists=True, dir_okay=False),
    help="Values for the holes: JSON objects by name, or recorded requests, one a line.",
)
@click.option("--base-url", metavar="URL", help="An OpenAI-compatible server [starts the bundled].")
@click.option("--model", metavar="NAME", help="The model to ask for, or to serve [demo model].")
@click.option(
    "--api-key-env",
    metavar="NAME",
    default="OPENAI_API_KEY",
    show_default=True,
    help="The environment variable that holds the server's key.",
)
@click.option("--max-tokens", type=click.IntRange(1), default=32, show_default=True)
@click.option("--min-gain", type=int, metavar="TOKENS", help="Change from this gain on [128].")
@click.option("--config", "config_path", type=click.Path(), help="Read this pyproject.toml.")
@click.option(
    "--output-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def verify(
    paths: tuple[str, ...],
    is_risky: bool,
    values_path: str | None,
    base_url: str | None,
    model: str | None,
    api_key_env: str,
    max_tokens: int,
    min_gain: int | None,
    config_path: str | None,
    output_format: str,
) -> None:
    """Ask a model what it says to the prompts in PATHS before and after their fix.

    Nothing is written. Each prompt that `fix` would change is rendered with the same values in
    both orders and sent to a server with temperature 0; the report says how many answers are
    equal, how far their log-probabilities lie apart where the server gives them, and how many
    prompt tokens came from the prefix cache. The demo model proves the mechanics; for a verdict
    name your own model.

    Exit status: 0 all answers are equal, 1 some differ, 2 the trial could not be held.
    """
    from stemfirst_lint.config import config_for, read_config
    from stemfirst_lint.fix.apply import fix_paths
    from stemfirst_lint.fix.trial import read_values
    from stemfirst_lint.model import Applicability

    paths = paths or (".",)
    try:
        config = read_config(config_path) if config_path else config_for(paths)
        config = config.with_options(min_gain=min_gain)
        given = []
        if values_path is not None:
            with open(values_path, "rb") as file:
                given = read_values(file.read(), values_path)
        allow = Applicability.RISKY if is_risky else Applicability.REORDER
        outcome = fix_paths(paths, config, allow=allow, write=False)
        for failure in outcome.failures:
            click.echo(f"error: {failure}", err=True)
        changes = [d for r in outcome.changed for d in r.done if d.old_template is not None]
        if not changes:
            click.echo("Nothing to verify: `fix` would move nothing.", err=True)
            sys.exit(2 if outcome.failures else 0)
        trials = _held(changes, given, base_url, model, os.environ.get(api_key_env), max_tokens)
    except (LintError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    if output_format == "json":
        click.echo(json.dumps([trial.as_json() for trial in trials], indent=2))
    else:
        _report(trials, is_demo=base_url is None and model is None)
    is_equal = all(trial.agreement.equal == trial.agreement.pairs for trial in trials)
    sys.exit(2 if outcome.failures else 0 if is_equal else 1)


def _held(
    changes: list[Done],
    given: list[dict[str, object]],
    base_url: str | None,
    model: str | None,
    api_key: str | None,
    max_tokens: int,
) -> list[_Trial]:
    from stemfirst_lint.cli.asking import Server, ServerError

    if base_url is not None:
        if model is None:
            raise ServerError("--base-url needs --model: the name that the server knows it by")
        server = Server(base_url, model, api_key, max_tokens)
        return [_Trial(change, given, server) for change in changes]
    from stemfirst.errors import StemfirstError
    from stemfirst.server_process import ServerProcess

    arguments = ["--model", model] if model is not None else []
    try:
        with ServerProcess([*arguments, "--calibration-seconds", "1"], timeout_s=600) as process:
            server = Server(process.base_url, None, None, max_tokens)
            return [_Trial(change, given, server) for change in changes]
    except StemfirstError as error:
        raise ServerError(str(error)) from None


class _Trial:
    """One change, tried: both versions sent with the same values."""

    def __init__(self, change: Done, given: list[dict[str, object]], server: Server) -> None:
        from stemfirst_lint.fix.trial import agreement, completed, render, values_for

        old, new = change.old_template, change.new_template
        assert old is not None
        assert new is not None
        sets, self.made_up = completed(old, values_for(old, given))
        self.change = change
        site = change.findings[0].site
        role = site.role if site is not None and site.role else "user"
        # A namespace each, where the server has them: no version warms the other's cache.
        self.before = server.ask_all(role, [render(old, values) for values in sets])
        self.after = server.ask_all(role, [render(new, values) for values in sets])
        self.agreement: Agreement = agreement(self.before, self.after)
        self.logprobs_refused = server.logprobs_refused

    def as_json(self) -> dict[str, object]:
        place = self.change.location
        return {
            "path": place.path,
            "line": place.line,
            "applicability": self.change.applicability.value,
            "values": len(self.before),
            "made_up": self.made_up,
            "equal": self.agreement.equal,
            "logprob_distance": self.agreement.logprob_distance,
            "compared_tokens": self.agreement.compared_tokens,
            "logprobs_refused": self.logprobs_refused,
            "before": [_answer_json(answer) for answer in self.before],
            "after": [_answer_json(answer) for answer in self.after],
        }


def _answer_json(answer: Answer) -> dict[str, object]:
    return {
        "text": answer.text,
        "prompt_tokens": answer.prompt_tokens,
        "cached_tokens": answer.cached_tokens,
    }


def _report(trials: list[_Trial], *, is_demo: bool) -> None:
    for trial in trials:
        same = trial.agreement
        click.echo(f"{trial.change.location}: {trial.change.applicability.value}")
        click.echo(f"  answers equal      {same.equal} of {same.pairs}")
        if same.logprob_distance is not None:
            click.echo(
                f"  log-probabilities  {same.logprob_distance:.4f} apart on average over "
                f"{same.compared_tokens:,} tokens"
            )
        elif trial.logprobs_refused is not None:
            click.echo(f"  log-probabilities  refused: {_short(trial.logprobs_refused)}")
        click.echo(f"  tokens from cache  {_hits(trial.before)} -> {_hits(trial.after)}")
        if trial.made_up:
            click.echo(f"  made-up values     {', '.join(trial.made_up)} (give --values)")
        for number, (old, new) in enumerate(zip(trial.before, trial.after, strict=True), 1):
            if old.text != new.text:
                click.echo(f"  answer {number} before    {_short(old.text)}")
                click.echo(f"  answer {number} after     {_short(new.text)}")
                break
    equal = sum(trial.agreement.equal for trial in trials)
    pairs = sum(trial.agreement.pairs for trial in trials)
    verb = "change" if len(trials) == 1 else "changes"
    click.echo(f"{equal} of {pairs} answers are equal over {len(trials)} {verb}.")
    if is_demo:
        click.echo(
            "The demo model shows that the trial works; it has no opinion worth having. "
            "Name your own with --model or --base-url."
        )


def _hits(answers: list[Answer]) -> str:
    total = sum(answer.prompt_tokens for answer in answers)
    if any(answer.cached_tokens is None for answer in answers):
        return f"not reported of {total:,}"
    return f"{sum(answer.cached_tokens or 0 for answer in answers):,} of {total:,}"


def _short(text: str, width: int = 70) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
