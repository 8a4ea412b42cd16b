"""The five steps of the demo: check, fix, serve, replay before and after, compare.

Knows the order and the commands. Does not know how figures are added up (`comparison`) or how
they look (`display`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stemfirst.demo.comparison import Call, gain, predicted_tokens, totals
from stemfirst.demo.display import Display
from stemfirst.demo.led import DemoError, LedReplay
from stemfirst.server_process import ServerProcess

FILE_OF_KIND = {"agent": "prompts.py", "triage": "triage.py"}
"""Kind of call -> the file that holds its prompt."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo is run on.

    Attributes:
        app: folder of the app, in the shape of `examples/support_agent`.
        model: a model folder or id; None serves the embedded demo model.
        gpu_price_per_hour: in US dollars.
        keep: folder that the rewritten copy is left in; None throws it away.
    """

    app: Path
    model: str | None
    gpu_price_per_hour: float
    keep: Path | None


def bundled_app() -> Path:
    """Return the folder of the example app: in the wheel, or in the checkout.

    Raises:
        DemoError: neither has it.
    """
    packaged = Path(__file__).parent / "support_agent"
    checkout = Path(__file__).parents[3] / "examples" / "support_agent"
    for folder in (packaged, checkout):
        if (folder / "agent.py").is_file():
            return folder
    raise DemoError("the example app is missing: run from a checkout, or name one with --app")


def run(options: Options, display: Display) -> None:
    """Tell the whole story on the display.

    Raises:
        DemoError: a step failed.
        ServerStartError: the server did not start.
    """
    display.intro(options.app)
    with _copy(options) as copy:
        tokenizer = options.model or _demo_model_folder()
        display.step("Check the app: stemfirst check")
        before = _forfeited(options.app, tokenizer)
        display.output(_run("check", ".", *_model_flag(tokenizer), cwd=options.app))
        display.step("Rewrite a copy: stemfirst fix")
        display.diff(_run("fix", "--diff", ".", *_model_flag(tokenizer), cwd=copy))
        display.output(_run("fix", ".", *_model_flag(tokenizer), cwd=copy))
        after = _forfeited(copy, tokenizer)
        display.forfeited(before, after)
        display.step("Serve a model: stemfirst serve")
        with _server(options, display) as server:
            display.served(server.url, options.model)
            display.step("Replay the recorded conversations through both versions")
            apps = {"before": options.app, "after": copy}
            calls_before, calls_after = _replay(apps, server, display)
        display.step("Compare")
        before_total, after_total = totals(calls_before), totals(calls_after)
        display.table(before_total, after_total, options.gpu_price_per_hour)
        display.gain(
            gain(calls_before, calls_after), before_total.prefill_ms - after_total.prefill_ms
        )
        display.prediction(
            predicted_tokens(calls_after, before, after),
            sum(call.cached_tokens for call in calls_after)
            - sum(call.cached_tokens for call in calls_before),
        )
        display.outro(options, copy if options.keep else None)


def _demo_model_folder() -> str:
    """Return the folder with the demo model's tokenizer and chat template, without importing it."""
    from importlib.util import find_spec

    spec = find_spec("stemfirst_server")
    if spec is None or not spec.submodule_search_locations:
        raise DemoError('the demo needs the server: pip install "stemfirst[demo]"')
    return str(Path(next(iter(spec.submodule_search_locations))) / "demo_model")


@contextmanager
def _copy(options: Options) -> Iterator[Path]:
    """Yield a copy of the app, in `keep` or in a folder that is removed afterwards."""
    if not (options.app / "agent.py").is_file():
        raise DemoError(f"{options.app} has no agent.py: --app takes a folder like the example's")
    ignore = shutil.ignore_patterns("__pycache__")
    if options.keep is not None:
        if options.keep.exists():
            raise DemoError(f"{options.keep} exists already; name a folder that does not")
        shutil.copytree(options.app, options.keep, ignore=ignore)
        yield options.keep
        return
    with tempfile.TemporaryDirectory(prefix="stemfirst-demo-") as folder:
        copy = Path(folder) / options.app.name
        shutil.copytree(options.app, copy, ignore=ignore)
        yield copy


def _run(command: str, *arguments: str, cwd: Path) -> str:
    """Return what a subcommand prints; findings are no failure."""
    done = subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", command, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        # Paths in the output are shown as from inside the app's folder.
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
        check=False,
    )
    if done.returncode not in (0, 1):
        raise DemoError(f"stemfirst {command} failed:\n{done.stderr or done.stdout}")
    return done.stdout


def _model_flag(tokenizer: str) -> tuple[str, ...]:
    # An id of a hub is nothing that a linter can read a tokenizer from.
    return ("--model", tokenizer) if Path(tokenizer).is_dir() else ()


def _forfeited(app: Path, tokenizer: str) -> dict[str, int]:
    """Return the forfeited tokens a call by kind of prompt, as the linter counts them in source."""
    output = _run("check", ".", "--output-format", "json", *_model_flag(tokenizer), cwd=app)
    worst = dict.fromkeys(FILE_OF_KIND, 0)
    for finding in json.loads(output):
        for kind, file in FILE_OF_KIND.items():
            # Several rules can find the same loss, so the largest counts, not the sum.
            if Path(finding["path"]).name == file and finding["forfeited_tokens"]:
                worst[kind] = max(worst[kind], finding["forfeited_tokens"])
    return worst


@contextmanager
def _server(options: Options, display: Display) -> Iterator[ServerProcess]:
    arguments: list[str] = ["--gpu-price-per-hour", str(options.gpu_price_per_hour)]
    if options.model is not None:
        arguments += ["--model", options.model]
    with display.waiting("loading the model and measuring its prefill") as on_wait:
        server = ServerProcess(arguments, timeout_s=600, on_wait=on_wait)
        server.__enter__()
    try:
        yield server
    finally:
        server.__exit__(None, None, None)


def _replay(apps: Mapping[str, Path], server: ServerProcess, display: Display) -> list[list[Call]]:
    """Return the calls of each version, made in turn.

    Each call of one version is followed by the same call of the other, so that whatever else the
    machine does meanwhile slows both alike.
    """
    with ExitStack() as stack:
        replays = [
            stack.enter_context(LedReplay(app, version, server.base_url))
            for version, app in apps.items()
        ]
        most = max(_recorded_calls(app) for app in apps.values())
        advance = stack.enter_context(display.progress(" and ".join(apps), most))
        while sum(replay.step() for replay in replays):  # each of them, whatever the others did
            advance()
        return [replay.calls for replay in replays]


def _recorded_calls(app: Path) -> int:
    recorded = json.loads((app / "recording.json").read_text("utf-8"))
    turns = [turn for conversation in recorded["conversations"] for turn in conversation["turns"]]
    return len(recorded["tickets"]) + sum(len(turn["steps"]) for turn in turns)
