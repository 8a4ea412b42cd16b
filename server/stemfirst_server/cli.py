"""`stemfirst serve`: flags to settings, and the process's exit code.

Heavy imports wait until the flags are known to be right, so that `--help` is quick.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from stemfirst_server.config_file import read_config
from stemfirst_server.finite import FiniteRange

LEVELS = ("debug", "info", "warning", "error")
PARSERS = (
    "hermes",
    "qwen3_coder",
    "llama3_json",
    "mistral",
    "mistral_args",
    "deepseek_v3",
    "deepseek_v31",
    "openai",
)


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TOML",
    is_eager=True,
    expose_value=False,
    callback=read_config,
    help="File of settings, named as these flags; a flag wins over it.",
)
@click.option(
    "--model", metavar="PATH_OR_ID", help="Checkpoint folder or hub id; default: the demo model."
)
@click.option(
    "--served-model-name",
    "served_names",
    multiple=True,
    metavar="NAME",
    help="What requests call the model; may be repeated. Default: its folder's name or its id.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 takes a free one and prints it.",
)
@click.option(
    "--dtype",
    default="auto",
    show_default=True,
    help="auto (the checkpoint's), float32, bfloat16, float16, or fastest: on a CPU, whichever of "
    "float32 and bfloat16 a measurement finds faster.",
)
@click.option(
    "--one-dnn/--no-one-dnn",
    "has_one_dnn",
    default=True,
    help="On a CPU, let oneDNN compute float32 layers where a measurement finds it faster than "
    "torch's BLAS (default).",
)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    metavar="N",
    help="Threads on the CPU; 0 measures which number is fastest. Default: torch's choice.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--max-model-len",
    "context_tokens",
    type=click.IntRange(min=1),
    metavar="TOKENS",
    help="Longest prompt and answer together; default: the model's own limit.",
)
@click.option(
    "--max-output-tokens",
    "most_output_tokens",
    type=click.IntRange(min=1),
    metavar="TOKENS",
    help="Most tokens of an answer, whatever a request asks for or leaves out; it then ends with "
    "finish_reason length. Default: up to the end of the context.",
)
@click.option("--page", default=16, show_default=True, help="Tokens in a page; a power of two.")
@click.option(
    "--pool-tokens",
    type=click.IntRange(min=1),
    metavar="TOKENS",
    help="KV memory in tokens; default: a share of the free memory.",
)
@click.option(
    "--kv-dtype",
    "--kv-cache-dtype",
    "kv_dtype",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "int8", "fp8"]),
    help="How KV is stored: as the model computes, or in eight bits, which holds two to four times "
    "the tokens in the same memory and changes answers a little.",
)
@click.option(
    "--chunk-tokens",
    default=512,
    show_default=True,
    type=click.IntRange(min=1),
    help="Most prompt tokens computed in one step.",
)
@click.option(
    "--max-num-seqs",
    "max_running",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="Most requests that decode together.",
)
@click.option(
    "--max-queued-requests",
    "most_queued",
    default=256,
    show_default=True,
    type=click.IntRange(min=0),
    help="Most requests that wait beside those; more get 429 and a time to try again.",
)
@click.option(
    "--enable-prefix-caching/--no-prefix-caching",
    " /--no-enable-prefix-caching",
    "has_prefix_cache",
    default=True,
    help="Reuse the KV of prefixes that were seen before (default), or compute all anew.",
)
@click.option(
    "--speculate",
    "speculate_tokens",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="TOKENS",
    help="Guess up to so many next tokens from the text so far and check them in one step. Answers "
    "stay the same; what copies its prompt comes faster.",
)
@click.option(
    "--attention",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "reference"]),
    help="auto: the fastest path that agrees with the reference here (on CUDA our kernels, on a "
    "CPU shared prefixes read once). reference: the plain path, to compare with.",
)
@click.option(
    "--cuda-graphs/--no-cuda-graphs",
    "has_cuda_graphs",
    default=False,
    help="Replay recorded decode steps on CUDA, each verified at start; off until it was measured "
    "on a GPU.",
)
@click.option(
    "--deterministic",
    "is_deterministic",
    is_flag=True,
    help="Same prompt, same numbers, bit for bit, whatever is cached or runs beside it; slower.",
)
@click.option(
    "--gpu-price-per-hour",
    "price_per_hour",
    type=FiniteRange(min=0),
    metavar="USD",
    help="What the device costs an hour; reports then say money too.",
)
@click.option(
    "--calibration-seconds",
    "calibration_s",
    default=6.0,
    show_default=True,
    type=FiniteRange(min=0),
    help="Time to measure prefill before the first request; 0: learn from traffic only.",
)
@click.option(
    "--shadow-rate",
    default=0.0,
    show_default=True,
    type=FiniteRange(min=0, max=1),
    help="Share of the requests with a hit to compute again without the cache, when nothing else "
    "runs, to measure how far the estimates of what it saves are off.",
)
@click.option(
    "--host-cache-gib",
    type=FiniteRange(min=0),
    metavar="GIB",
    help="Memory of the host for KV that the device gives up. Default: none.",
)
@click.option(
    "--disk-cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where KV that the host gives up is kept, over restarts too; this server's alone.",
)
@click.option(
    "--disk-cache-gib",
    default=8.0,
    show_default=True,
    type=FiniteRange(min=0),
    metavar="GIB",
    help="Most that --disk-cache holds.",
)
@click.option(
    "--api-key",
    "api_keys",
    multiple=True,
    envvar="STEMFIRST_API_KEY",
    metavar="KEY",
    help="Accept only requests with this key, each key with a cache of its own; may be "
    "repeated. Also: STEMFIRST_API_KEY.",
)
@click.option(
    "--api-keys-file",
    "keys_file",
    type=click.Path(path_type=Path),
    metavar="TOML",
    help="Tenants, their hashed keys and limits: see docs/security.md.",
)
@click.option(
    "--admin-key",
    "admin_keys",
    multiple=True,
    envvar="STEMFIRST_ADMIN_KEY",
    metavar="KEY",
    help="Key of the operator's routes where keys are asked for: /metrics, /v1/savings/tenants and "
    "/v1/admin (flush, drain, reload, shared prefixes). Also: STEMFIRST_ADMIN_KEY.",
)
@click.option(
    "--shutdown-timeout",
    "shutdown_s",
    default=30.0,
    show_default=True,
    type=FiniteRange(min=0),
    help="Seconds that SIGTERM leaves to running requests.",
)
@click.option(
    "--tool-call-parser",
    type=click.Choice(PARSERS),
    help="How the model spells calls of tools; default: as its chat template does.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where sums of savings by tenant and day are kept over restarts.",
)
@click.option(
    "--write-timeout",
    "write_timeout_s",
    default=60.0,
    show_default=True,
    type=FiniteRange(min=0.1),
    help="Seconds after which a stream that nobody reads is ended.",
)
@click.option(
    "--log-format",
    default="text",
    show_default=True,
    type=click.Choice(["text", "json"]),
    help="Lines for people, or one JSON object a line.",
)
@click.option(
    "--log-text",
    "logs_text",
    is_flag=True,
    help="Log prompts and answers too, at level info; without it no log holds any of them.",
)
@click.option("--log-level", default="info", show_default=True, type=click.Choice(LEVELS))
def serve(log_level: str, log_format: str, **flags: object) -> None:
    """Serve a model with a prefix cache that reports what it saved.

    Speaks OpenAI's API under /v1 (chat/completions, completions, responses, models) and Anthropic's
    (messages). Without --model it serves a small model of random weights: its text is noise, its
    timings are real.
    """
    from stemfirst_server.errors import ConfigError
    from stemfirst_server.logs import formatter
    from stemfirst_server.serving import ServerProcess, base_url, is_loopback, listen
    from stemfirst_server.settings import ServeSettings

    # Threads of a matrix product that spin for one another lose the core to whoever else runs:
    # with five busy processes on two cores a layer took 14 times as long. Read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(log_format))
    logging.basicConfig(level=log_level.upper(), handlers=[handler])
    quiet_below = logging.DEBUG if log_level == "debug" else logging.WARNING
    for name in ("uvicorn", "asyncio", "httpx", "httpcore", "urllib3", "filelock"):
        logging.getLogger(name).setLevel(quiet_below)
    settings = ServeSettings(**flags)  # type: ignore[arg-type]
    try:
        settings.engine_config()  # said now, not after a model was loaded
        keys = settings.keys()
        listener = listen(settings.host, settings.port)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    log = logging.getLogger("stemfirst.serve")
    log.info("starting at %s", base_url(listener))
    if settings.logs_text:
        log.warning("prompts and answers stand in this log: --log-text")
    if not keys.are_asked_for and not is_loopback(listener):
        log.warning("anyone who reaches this address may ask: --api-keys-file or --api-key")
    ServerProcess(settings, listener).run()
