"""What the linter says that a prompt forfeits, beside what the server reads again.

For each app: `stemfirst check` counts the forfeited tokens of a call in source; then the app's
prompts are sent to the bundled server, once as they are and once as `stemfirst fix` left them;
what a repeated call finds in the cache more than before is what the order had forfeited. The
goal is to be within one page (16 tokens) for each call.

The apps: small ones below, one for each kind of text that `fix` moves; the demo's support agent,
by kind of prompt, replayed from its recording; and the examples, in which nothing is to be found
and so no static or tenant text may be read again.

The linter speaks of two calls of one session that differ in what each request brings. The agent's
recording has other calls, too, which are shown and not compared: a customer's first one (`fix`
leaves the customer's own text in front, so nothing is shared yet), and further calls of one turn,
which find the turn's articles in the cache, too.

    python benchmarks/forfeits.py [--only small,support_agent,examples]
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
from stemfirst import Tier, ledger
from stemfirst.demo.comparison import Call
from stemfirst.server_process import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
PAGE = 16
RULES = "\n\n".join(
    f"Rule {number}: answer kindly and briefly, in the customer's own language, and never promise "
    f"what case {number} of the handbook does not allow."
    for number in range(1, 21)
)
MAKERS = {
    "clock in an f-string": '''
from datetime import datetime
def messages():
    now = (datetime.now()).isoformat()
    prompt = f"""It is {now}.

<RULES>"""
    return [{"role": "system", "content": prompt}, {"role": "user", "content": "Where is it?"}]
''',
    "identity in a format template": '''
SYSTEM_PROMPT = """The customer is {user_name}.

<RULES>"""
def messages(user_name: str):
    prompt = SYSTEM_PROMPT.format(user_name=user_name)
    return [{"role": "system", "content": prompt}, {"role": "user", "content": "Where is it?"}]
''',
    "retrieved text in a sum": '''
RULES = """<RULES>"""
def messages(question: str, context: str):
    prompt = "Context: " + context + "\\n\\n" + RULES
    return [{"role": "system", "content": prompt}, {"role": "user", "content": question}]
''',
    "random id in joined lines": '''
import uuid
RULES = """<RULES>"""
def messages():
    prompt = "\\n\\n".join([f"Request: {uuid.uuid4()}", RULES])
    return [{"role": "system", "content": prompt}, {"role": "user", "content": "Where is it?"}]
''',
}  # fmt: skip


VALUES = {
    "user_name": ("Ada Lovelace", "Charles Babbage", "Mary Shelley", "Grace Hopper"),
    "question": ("parcels", "refunds", "returns", "invoices"),
    "context": tuple(f"An article about {what}." for what in ("mail", "money", "boxes", "tax")),
}


@dataclass(frozen=True)
class Row:
    """One comparison, in tokens a call.

    `measured` is None where fix changed nothing, `predicted` where the linter speaks of other
    calls than these.
    """

    app: str
    predicted: float | None
    measured: float | None
    calls: int

    @property
    def off(self) -> float | None:
        """How far the prediction is off."""
        if self.measured is None or self.predicted is None:
            return None
        return self.predicted - self.measured


def command(name: str, *arguments: str, cwd: Path) -> str:
    """Return what a subcommand prints."""
    done = subprocess.run(
        [sys.executable, "-m", "stemfirst.cli", name, *arguments],
        capture_output=True, text=True, cwd=cwd, check=False, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise SystemExit(f"stemfirst {name} failed in {cwd}: {done.stderr}")
    return done.stdout


def tokenizer() -> str:
    """Return the folder with the demo model's tokenizer."""
    import stemfirst_server

    return str(Path(stemfirst_server.__file__).parent / "demo_model")


def forfeited(folder: Path) -> dict[str, int]:
    """Return the most tokens that any finding of a file forfeits, by file."""
    output = command(
        "check", ".", "--output-format", "json", "--model", tokenizer(), "--exit-zero", cwd=folder
    )
    worst: dict[str, int] = {}
    for finding in json.loads(output):
        name = Path(finding["path"]).name
        worst[name] = max(worst.get(name, 0), finding["forfeited_tokens"] or 0)
    return worst


def cached(http: httpx.Client, file: Path, calls: int) -> list[int]:
    """Return the cached tokens of each call that an app's prompts make."""
    make = runpy.run_path(str(file))["messages"]
    salt = uuid.uuid4().hex
    found = []
    for call in range(calls):
        given = {name: VALUES[name][call] for name in inspect.signature(make).parameters}
        body = {"messages": make(**given), "max_tokens": 1, "cache_salt": salt}
        answer = http.post("/v1/chat/completions", json=body).raise_for_status().json()
        found.append(answer["stemfirst"]["cached_tokens"])
    return found


def small(http: httpx.Client, calls: int = 4) -> Iterator[Row]:
    """Compare each of the small apps."""
    for name, source in MAKERS.items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "app.py")
            file.write_text(source.replace("<RULES>", RULES))
            before = forfeited(Path(folder)).get("app.py", 0)
            old = cached(http, file, calls)
            command("fix", "--risky", ".", cwd=Path(folder))
            after = forfeited(Path(folder)).get("app.py", 0)
            new = cached(http, file, calls)
            is_fixed = before != after
            gains = [more - less for more, less in zip(new[1:], old[1:], strict=True)]
            measured = statistics.mean(gains) if is_fixed else None
            yield Row(name, before - after, measured, calls - 1)


def support_agent(server: ServerProcess) -> Iterator[Row]:
    """Compare the demo's app by kind of prompt."""
    app = ROOT / "examples" / "support_agent"
    with tempfile.TemporaryDirectory() as folder:
        fixed = Path(folder, "support_agent")
        subprocess.run(["cp", "-r", str(app), str(fixed)], check=True)
        before = forfeited(app)
        command("fix", ".", cwd=fixed)
        after = forfeited(fixed)
        replays = [replayed(version, server) for version in (app, fixed)]
    recorded = json.loads((app / "recording.json").read_text("utf-8"))
    for kind, file in (("agent", "prompts.py"), ("triage", "triage.py")):
        old, new = ([call for call in calls if call.kind == kind] for calls in replays)
        gains = [b.cached_tokens - a.cached_tokens for a, b in zip(old, new, strict=True)]
        predicted = before.get(file, 0) - after.get(file, 0)
        places = agent_places(recorded) if kind == "agent" else [TURN] * len(gains)
        by_place: dict[str, list[int]] = {}
        for place, gain in list(zip(places, gains, strict=True))[1:]:
            by_place.setdefault(place, []).append(gain)
        for place, found in by_place.items():
            compared = predicted if place == TURN else None
            yield Row(f"support_agent, {kind}{place}", compared, statistics.mean(found), len(found))


TURN = ""
"""The calls that the linter speaks of: a next request."""


def agent_places(recorded: dict[str, Any]) -> list[str]:
    """Return what each of the agent's calls is: a customer's first, a turn's first, or a further.

    Each step of a turn is one call.
    """
    return [
        ", same articles" if step else TURN if turn else ", a customer's first"
        for conversation in recorded["conversations"]
        for turn, recorded_turn in enumerate(conversation["turns"])
        for step, _ in enumerate(recorded_turn["steps"])
    ]


def replayed(app: Path, server: ServerProcess) -> list[Call]:
    """Return the calls of the app's recorded conversations."""
    arguments = [str(app), "--base-url", server.base_url, "--salt", uuid.uuid4().hex]
    done = subprocess.run(
        [sys.executable, "-m", "stemfirst.demo.replay", *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [Call.of(json.loads(line)) for line in done.stdout.splitlines()]


def examples(server: ServerProcess) -> Iterator[Row]:
    """Count the static and tenant tokens that the examples' later calls read again."""
    found = forfeited(ROOT / "examples")
    for name in ("quickstart", "agent_loop", "rag", "many_tenants", "map_documents"):
        for run in range(2):  # the first one fills the cache
            with environment(server), ledger() as book, redirect_stdout(StringIO()):
                done = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"]()
                if inspect.iscoroutine(done):
                    import asyncio

                    asyncio.run(done)
            if run == 0:
                continue
            again = [
                use.prompt_tokens - use.cached_tokens
                for entry in book.entries
                for label, use in (entry.savings.tiers or {}).items()
                if label in (Tier.STATIC.label, Tier.TENANT.label)
            ]
            predicted = found.get(f"{name}.py", 0)
            yield Row(f"{name}.py", predicted, max(again, default=0), len(book.entries))


@contextmanager
def environment(server: ServerProcess) -> Iterator[None]:
    """Let clients of the process talk to the server."""
    before = {name: os.environ.get(name) for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY")}
    os.environ |= {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "none"}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def main() -> None:
    """Compare, and print one line an app."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="small,support_agent,examples")
    wanted = parser.parse_args().only.split(",")
    rows: list[Row] = []
    with (
        ServerProcess(["--calibration-seconds", "0"], timeout_s=300) as server,
        httpx.Client(base_url=server.url, timeout=300, trust_env=False) as http,
    ):
        sections = {
            "small": lambda: small(http),
            "support_agent": lambda: support_agent(server),
            "examples": lambda: examples(server),
        }
        print(f"{'app':<34} {'predicted':>10} {'measured':>10} {'off':>7}  tokens a call")
        for section in wanted:
            for row in sections[section]():
                rows.append(row)
                measured = "not fixed" if row.measured is None else f"{row.measured:,.1f}"
                predicted = "-" if row.predicted is None else f"{row.predicted:,.0f}"
                off = "" if row.off is None else f"{row.off:+.1f}"
                print(f"{row.app:<34} {predicted:>10} {measured:>10} {off:>7}  x{row.calls}")
    offs = [abs(row.off) for row in rows if row.off is not None]
    within = sum(off <= PAGE for off in offs)
    print(f"within one page ({PAGE} tokens): {within} of {len(offs)}; furthest off {max(offs):.0f}")


if __name__ == "__main__":
    main()
