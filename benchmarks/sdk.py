"""What the SDK adds to a request: CPU before it leaves, bytes on the wire, hashing speed.

Run: `python benchmarks/sdk.py [--rounds 200]`. The figures are the median and the best of the
rounds. "warm" renders a prompt whose stable segments were hashed before; "cold" builds and
hashes all of it anew. The overhead over the bare openai client is measured with a local server
that answers at once, both clients taking turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import xxhash
from stemfirst import Client, Prompt, hole, request, static
from stemfirst.asking import affinity_of
from stemfirst.chain import ChainKey
from stemfirst.wire import hint_to_json, prefix_to_header, prompt_hint

KEY = ChainKey.derive("sk-benchmark")
SIZE_BYTES = 400_000
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
    hint_to_json(prompt_hint(rendered, KEY))
    prefix_to_header(rendered, KEY)
    affinity_of(rendered, KEY)


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

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer who we are."""
        self.reply({"wire": 1, "model": "m"})

    def do_POST(self) -> None:
        """Answer a completion."""
        self.sizes.append(int(self.headers["content-length"]))
        self.rfile.read(self.sizes[-1])
        self.reply(ANSWER)

    def reply(self, body: object) -> None:
        """Send JSON."""
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def local_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()


def clients_overhead(rounds: int) -> None:
    """Print what `ask` takes beside the openai client's own `create`, request by request."""
    built = prompt(policy())
    with (
        local_server() as url,
        Client(base_url=url, api_key="sk") as ours,
        openai.OpenAI(base_url=url, api_key="sk") as bare,
    ):
        messages = built.render(question="Where?").messages
        ours.ask(built, question="Where?")
        differences, spans = [], []
        for _ in range(rounds):
            start = time.perf_counter()
            bare.chat.completions.create(model="m", messages=messages)  # type: ignore[arg-type]
            middle = time.perf_counter()
            ours.ask(built, question="Where?")
            spans.append((middle - start) * 1e3)
            differences.append((time.perf_counter() - middle) * 1e3 - spans[-1])
        print(
            f"one request of {SIZE_BYTES // 1000} KB, openai client: "
            f"{statistics.median(spans):.2f} ms; ask() takes "
            f"{statistics.median(differences):+.2f} ms (median of paired differences)"
        )
        plain, hinted = Handler.sizes[-2:]
        print(f"bytes on the wire: {plain:,} without hints, {hinted:,} with ({hinted - plain:+,})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    print(f"{date.today()}, Python {platform.python_version()}, {platform.machine()}")
    data = policy().encode() * 40  # 16 MB, beyond the core's own caches
    best = timed(lambda: xxhash.xxh3_64_intdigest(data), 20)[1]
    print(f"xxh3_64: {len(data) / best / 1e6:.1f} GB/s (goal 5)")
    warm = prompt(policy())
    prepare(warm)
    median, best = timed(lambda: prepare(warm), rounds)
    print(f"warm, {SIZE_BYTES // 1000} KB: {median:.3f} ms, best {best:.3f} (goal 0.2)")
    numbers = iter(range(1, rounds + 1))
    fresh = [prompt(policy(n)) for n in numbers]
    median, best = timed(lambda: prepare(fresh.pop()), rounds)
    print(f"cold, {SIZE_BYTES // 1000} KB: {median:.3f} ms, best {best:.3f} (goal 1)")
    clients_overhead(max(10, rounds // 4))


if __name__ == "__main__":
    sys.exit(main())
