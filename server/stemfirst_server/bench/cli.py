"""`stemfirst bench`: flags to a workload, a run, and figures on the terminal or as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import click
from stemfirst.errors import StemfirstError

from stemfirst_server.bench.asking import Endpoint, Outcome
from stemfirst_server.bench.figures import Figures, figures, shown
from stemfirst_server.bench.running import run
from stemfirst_server.bench.workloads import (
    Session,
    multi_turn,
    poisson,
    shared_prefix,
    trace,
)
from stemfirst_server.finite import FiniteRange

WORKLOADS = ("shared-prefix", "multi-turn", "trace")


@click.command()
@click.option(
    "--url", default="http://127.0.0.1:8000/v1", show_default=True, help="Base URL of the server."
)
@click.option("--model", metavar="NAME", help="Default: the first that the server lists.")
@click.option("--api-key", envvar="OPENAI_API_KEY", help="Also: OPENAI_API_KEY.")
@click.option(
    "--workload", default="shared-prefix", show_default=True, type=click.Choice(WORKLOADS)
)
@click.option(
    "--trace",
    "trace_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON lines in Mooncake's schema, for --workload trace.",
)
@click.option("--requests", default=100, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--concurrency",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    help="Most requests (conversations) at once.",
)
@click.option(
    "--rate",
    type=FiniteRange(min=0, min_open=True),
    help="Requests (conversations) a second, at random times; default: as fast as they go.",
)
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=FiniteRange(min=0, min_open=True),
    help="Play a trace so much faster.",
)
@click.option("--prefixes", default=4, show_default=True, type=click.IntRange(min=1))
@click.option("--turns", default=5, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--prefix-words", default=1000, show_default=True, type=click.IntRange(min=0), help="~ tokens."
)
@click.option("--question-words", default=30, show_default=True, type=click.IntRange(min=1))
@click.option("--output-tokens", default=32, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--ignore-eos/--no-ignore-eos",
    default=False,
    help="Ask for answers of full length (vLLM, SGLang and stemfirst know the field).",
)
@click.option("--warmup", default=0, show_default=True, type=click.IntRange(min=0))
@click.option(
    "--timeout",
    "timeout_s",
    default=600.0,
    show_default=True,
    type=FiniteRange(min=0, min_open=True),
    help="Seconds after which a request counts as failed.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Figures as JSON on standard output.")
def bench(
    url: str, model: str | None, api_key: str | None, timeout_s: float, as_json: bool,
    concurrency: int, ignore_eos: bool, warmup: int, **asked: Any,
) -> int:  # fmt: skip
    """Ask an OpenAI-compatible server much, and say how it did.

    Prints percentiles of the time to first token (TTFT), per output token (TPOT) and to the end
    (E2E), the share of prompt tokens from the cache, and what the server says that saved. Exit
    code 1 means that requests failed.
    """
    try:
        sessions = _sessions(asked)
        endpoint = Endpoint(url, api_key=api_key, timeout_s=timeout_s)
        found = asyncio.run(
            _bench(sessions, endpoint, model, concurrency, ignore_eos, warmup, asked)
        )
    except StemfirstError as error:
        raise click.ClickException(str(error)) from None
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else shown(found))
    return 1 if found.errors else 0


async def _bench(
    sessions: list[Session],
    endpoint: Endpoint,
    model: str | None,
    concurrency: int,
    ignore_eos: bool,
    warmup: int,
    asked: dict[str, Any],
) -> Figures:
    name = model or await endpoint.first_model()
    extra: dict[str, Any] = {"temperature": 0}
    if ignore_eos:
        extra["ignore_eos"] = True
    try:
        if warmup:
            # Prompts that the run itself does not ask: connections and code are warm, no cache is.
            first = shared_prefix(
                requests=warmup, prefixes=1, prefix_words=20, question_words=5,
                output_tokens=4, seed=asked["seed"] + 1_000_003,
            )  # fmt: skip
            await run(first, endpoint, model=name, concurrency=concurrency, extra=extra)
        count = sum(len(session.turns) for session in sessions)
        with click.progressbar(
            length=count, label="asking", file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as bar:

            def told(outcome: Outcome) -> None:
                bar.update(1)

            outcomes, seconds = await run(
                sessions, endpoint, model=name, concurrency=concurrency, extra=extra,
                on_outcome=told,
            )  # fmt: skip
    finally:
        endpoint.close()
    return figures(outcomes, seconds)


def _sessions(asked: dict[str, Any]) -> list[Session]:
    common = {
        name: asked[name] for name in ("prefix_words", "question_words", "output_tokens", "seed")
    }
    match asked["workload"]:
        case "trace":
            if asked["trace_file"] is None:
                raise click.UsageError("--workload trace needs --trace FILE")
            return trace(asked["trace_file"], most_requests=asked["requests"], speed=asked["speed"])
        case "multi-turn":
            count = -(-asked["requests"] // asked["turns"])
            sessions = multi_turn(sessions=count, turns=asked["turns"], **common)
        case _:
            sessions = shared_prefix(
                requests=asked["requests"], prefixes=asked["prefixes"], **common
            )
    if asked["rate"] is not None:
        return poisson(sessions, rate=asked["rate"], seed=asked["seed"])
    return sessions
