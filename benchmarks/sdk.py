"""What the SDK adds to a request and takes off it: CPU, bytes on the wire, the server's front end.

Run: `python benchmarks/sdk.py [--rounds 200] [--server] [--profile]`. The figures are the median
and the best of the rounds. "warm" renders a prompt whose stable segments were hashed before;
"cold" builds and hashes all of it anew. The overhead over the bare openai client is measured with
a local server that answers at once, both clients taking turns; once with a server that takes no
references to prefixes, once with one that does. `--server` starts the bundled server too and
asks it to render a prompt of 100 KB that it has tokenised before, whole and by reference.
`--profile` prints where the client's time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import platform
import pstats
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import openai
import xxhash
from stemfirst import Client, Prompt, hole, request, static
from stemfirst.asking import affinity_of
from stemfirst.chain import ChainKey, segment_digest
from stemfirst.references import MARKER_ROLE, prefix_bytes
from stemfirst.wire import (
    PrefixPut,
    PrefixRef,
    hint_to_json,
    links_of,
    prefix_to_header,
    prompt_hint,
)

KEY = ChainKey.derive("sk-benchmark")
SIZE_BYTES = 400_000
GOAL_MS = 0.2
"""What `ask` may add to the bare client's call, the stable text hashed before."""
FIRST_GOAL_MS = 1.0
"""What it may add where the stable text was never hashed."""
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def policy(number: int = 0) -> str:
    """Return about `SIZE_BYTES` of text that no other number gives."""
    line = f"Rule {number}: the agent answers kindly, briefly and in the customer's language.\n"
    return (line * (SIZE_BYTES // len(line) + 1))[:SIZE_BYTES]


def prompt(text: str) -> Prompt:
    return Prompt(static(text, name="policy"), request(hole("question")))


def prepare(built: Prompt) -> None:
    """Do what `ask` does before a request to a server of ours leaves."""
    rendered = built.render(question="Where is my parcel?")
    rendered.openai()
    hint = prompt_hint(rendered, KEY)
    hint_to_json(hint)
    links = links_of(hint, KEY)
    prefix_to_header(hint, links)
    affinity_of(hint, links)


def timed(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the median and the best time of a call, in milliseconds."""
    spans = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        spans.append((time.perf_counter() - start) * 1e3)
    return statistics.median(spans), min(spans)


class Handler(BaseHTTPRequestHandler):
    """Answers every completion at once; says that it is a server of ours."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body leave apart; the second must not wait
    sizes: list[int] = []  # noqa: RUF012 the benchmark's own, one process
    features: tuple[str, ...] = ()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer who we are."""
        self.reply({"wire": 1, "model": "m", "features": list(self.features)})

    def do_POST(self) -> None:
        """Answer a completion, and acknowledge what was to be held."""
        self.sizes.append(int(self.headers["content-length"]))
        field = json.loads(self.rfile.read(self.sizes[-1])).get("stemfirst") or {}
        asked = field.get("put") or field.get("ref")
        held = {"h": asked["h"], "n": asked["n"], "ttl_s": 3600} if asked else None
        self.reply({**ANSWER, "stemfirst": {"ref": held}} if held else ANSWER)

    def reply(self, body: object) -> None:
        """Send JSON."""
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def local_server(*features: str) -> Iterator[str]:
    Handler.features = features
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def clients_overhead(rounds: int, *features: str, is_first: bool = False) -> None:
    """Print what `ask` takes beside the openai client's own `create`, request by request.

    CPU is this thread's own: the server's thread does not count. `is_first`: each request has
    stable text that was not sent before.
    """
    built = prompt(policy())
    goal_ms = FIRST_GOAL_MS if is_first else GOAL_MS
    with (
        local_server(*features) as url,
        Client(base_url=url, api_key="sk") as ours,
        openai.OpenAI(base_url=url, api_key="sk") as bare,
    ):
        messages = built.render(question="Where?").messages
        ours.ask(built, question="Where?")
        walls: list[tuple[float, float]] = []
        cpus: list[tuple[float, float]] = []
        for number in range(rounds):
            if is_first:
                built = prompt(policy(number + 1))
                messages = prompt(policy(number + 1)).render(question="Where?").messages
            wall, cpu = time.perf_counter(), time.thread_time()
            bare.chat.completions.create(model="m", messages=messages)  # type: ignore[arg-type]
            wall_2, cpu_2 = time.perf_counter(), time.thread_time()
            ours.ask(built, question="Where?")
            walls.append((wall_2 - wall, time.perf_counter() - wall_2))
            cpus.append((cpu_2 - cpu, time.thread_time() - cpu_2))
        how = "with references" if features else "without references"
        when = ", text never sent before" if is_first else ""
        print(f"one request of {SIZE_BYTES // 1000} KB, {how}{when}:")
        for name, pairs in (("wall", walls), ("client CPU", cpus)):
            theirs = statistics.median(pair[0] for pair in pairs) * 1e3
            mine = statistics.median(pair[1] for pair in pairs) * 1e3
            more = statistics.median(pair[1] - pair[0] for pair in pairs) * 1e3
            print(
                f"  {name}: openai client {theirs:.2f} ms, ask() {mine:.2f} ms "
                f"({more:+.2f}, median of paired differences; goal at most {goal_ms}, "
                f"{'met' if more <= goal_ms else 'missed'})"
            )
        plain, hinted = Handler.sizes[-2:]
        print(f"  bytes on the wire: {plain:,} and {hinted:,} ({hinted - plain:+,})")


def front_end(rounds: int) -> None:
    """Print how long the bundled server takes to read and render a prompt, whole and by name."""
    from stemfirst.server_process import ServerProcess

    text = policy()[:100_000]
    rendered = prompt(text).render(question="Where is my parcel?")
    hint = prompt_hint(rendered, KEY)
    data = prefix_bytes(rendered.messages[:1], rendered.tools)
    digest = segment_digest(data, KEY)
    put = PrefixPut(KEY.id, digest, len(data), 1)
    ref = PrefixRef(KEY.id, digest, len(data))
    tail = tuple(item for item in hint.segments if item.at[1] != 0)
    marker = {"role": MARKER_ROLE, "content": digest}
    whole = {"messages": rendered.messages, "stemfirst": hint_to_json(replace(hint, put=put))}
    named = {
        "messages": [marker, *rendered.messages[1:]],
        "stemfirst": hint_to_json(replace(hint, segments=tail, ref=ref)),
    }
    headers = {"authorization": "Bearer sk-benchmark"}
    with (
        ServerProcess(["--calibration-seconds", "0"], timeout_s=300) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=120, trust_env=False) as http,
    ):
        spans: dict[str, list[float]] = {"whole": [], "named": []}
        for _ in range(rounds):
            for name, body in (("whole", whole), ("named", named)):
                start = time.perf_counter()
                answer = http.post("/v1/chat/completions/render", json=body)
                spans[name].append((time.perf_counter() - start) * 1e3)
                if answer.status_code != 200:
                    raise SystemExit(f"the server refused the {name} body: {answer.text[:300]}")
        tokens = len(answer.json().get("token_ids") or answer.json().get("prompt_token_ids") or ())
    print(f"the server reads and renders 100 KB ({tokens:,} tokens, tokenised before):")
    for name, taken in spans.items():
        print(f"  {name}: {statistics.median(taken):.2f} ms, best {min(taken):.2f}")


def profile(rounds: int) -> None:
    """Print where the time of `ask` goes, by function, own time first."""
    built = prompt(policy())
    with local_server("prefix_refs") as url, Client(base_url=url, api_key="sk") as client:
        client.ask(built, question="Where?")
        profiler = cProfile.Profile()
        profiler.enable()
        for _ in range(rounds):
            client.ask(built, question="Where?")
        profiler.disable()
    pstats.Stats(profiler).sort_stats("cumulative").print_stats("stemfirst|openai|httpx", 40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--server", action="store_true", help="measure the bundled server too")
    parser.add_argument("--profile", action="store_true", help="show where ask's time goes")
    options = parser.parse_args()
    rounds = options.rounds
    if options.profile:
        profile(rounds)
        return
    print(f"{date.today()}, Python {platform.python_version()}, {platform.machine()}")
    data = policy().encode() * 40  # 16 MB, beyond the core's own caches
    best = timed(lambda: xxhash.xxh3_64_intdigest(data), 20)[1]
    print(f"xxh3_64: {len(data) / best / 1e6:.1f} GB/s (goal 5)")
    warm = prompt(policy())
    prepare(warm)
    median, best = timed(lambda: prepare(warm), rounds)
    what = f"warm, {SIZE_BYTES // 1000} KB, rendering, hints and header"
    print(f"{what}: {median:.3f} ms, best {best:.3f}")
    numbers = iter(range(1, rounds + 1))
    fresh = [prompt(policy(n)) for n in numbers]
    median, best = timed(lambda: prepare(fresh.pop()), rounds)
    what = f"cold, {SIZE_BYTES // 1000} KB, rendering, hints and header"
    print(f"{what}: {median:.3f} ms, best {best:.3f}")
    clients_overhead(max(10, rounds // 4))
    clients_overhead(max(10, rounds // 4), "prefix_refs")
    clients_overhead(max(10, rounds // 4), is_first=True)
    clients_overhead(max(10, rounds // 4), "prefix_refs", is_first=True)
    if options.server:
        front_end(max(5, rounds // 10))


if __name__ == "__main__":
    main()
