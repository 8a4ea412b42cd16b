"""How long the server's front end takes over a long prompt: tokenised anew, and remembered.

Run: `python benchmarks/front_end.py [--tokens 100000] [--rounds 5]`. A conversation of that many
tokens in the demo model's chat format gets one short question behind it, another one each round.
"anew" is the tokenizer itself on the whole text, "remembered" is the server's encoder once it has
seen the conversation; both give the same token ids, which is checked. The chat template's time is
shown too: no cache takes it away. Rounds take turns and the best counts, because nothing makes a
process faster than it is. Other models' tokenizers: `--tokenizer FOLDER`.
"""

from __future__ import annotations

import argparse
import platform
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from stemfirst_server.tokens.encoder import Encoder
from stemfirst_server.tokens.template import ChatTemplate, conversation
from transformers import AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

DEMO = Path(__file__).parents[1] / "server" / "stemfirst_server" / "demo_model"
WORDS = "Refunds are paid within thirty days of the order; see article 7 for wholesale customers. "


def main() -> None:
    """Measure, and print milliseconds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=20, help="messages of the conversation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokenizer", default=str(DEMO), metavar="FOLDER")
    asked = parser.parse_args()
    loaded = AutoTokenizer.from_pretrained(asked.tokenizer)
    backend = loaded.backend_tokenizer
    template = ChatTemplate(loaded)
    encoder = Encoder(backend)
    repeats = asked.tokens // asked.turns // len(backend.encode(WORDS).ids) + 1
    history = [
        {"role": ("user", "assistant")[turn % 2], "content": f"Turn {turn}. " + WORDS * repeats}
        for turn in range(asked.turns)
    ]
    best = {"template": np.inf, "anew": np.inf, "remembered": np.inf}
    tokens = 0

    def timed(name: str, run: Callable[[], object]) -> object:
        start = time.perf_counter()
        made = run()
        best[name] = min(best[name], 1000 * (time.perf_counter() - start))
        return made

    encoder.encode(template.render(conversation(history)))
    for number in range(asked.rounds):
        question = {"role": "user", "content": f"Question {number}: may I return it?"}
        text = timed("template", lambda: template.render(conversation([*history, question])))  # noqa: B023
        assert isinstance(text, str)
        whole = timed("anew", lambda: backend.encode(text, add_special_tokens=False).ids)  # noqa: B023
        warm = timed("remembered", lambda: encoder.encode(text).token_ids.tolist())  # noqa: B023
        if whole != warm:
            raise SystemExit("the remembered tokens differ from the tokenizer's own: a fault")
        tokens = len(whole)
    where = f"Python {platform.python_version()}, {platform.machine()}, {date.today()}"
    print(f"{where}; {tokens} tokens in {asked.turns + 1} messages, best of {asked.rounds} rounds")
    for name, milliseconds in best.items():
        print(f"  {name:<12}{milliseconds:>9.2f} ms")
    ratio = best["anew"] / best["remembered"]
    print(f"  tokenising is {ratio:.0f} times as fast remembered (list of ids included)")


if __name__ == "__main__":
    main()
