"""What the order of rows and fields is worth when one question goes over many documents.

A table of reviews of products (few products, long descriptions, many reviewers) is sent to the
bundled server row by row: as it is, and in the order of `order_for_sharing`. Prints the share of
prompt tokens that came from the cache and the prefill that the device did, by the server's count.

    python benchmarks/sharing.py [--rows 60] [--seed 3]

Source of the idea: Liu et al., arXiv 2403.05821.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import uuid

from stemfirst import Client, Prompt, hole, ledger, order_for_sharing, request, static
from stemfirst.server_process import ServerProcess

QUESTION = Prompt(static("Is this review about the product or the delivery?"), request(hole("row")))
WORDS = ("strap", "zip", "tent", "boot", "pole", "stove", "rope", "late", "fine", "torn", "warm")


def table(rows: int, draw: random.Random) -> list[dict[str, object]]:
    """Return rows of a review, a product with its description, and a shop with its terms."""
    products = [
        {"product": f"P{n}", "description": " ".join(draw.choices(WORDS, k=150))} for n in range(6)
    ]
    shops = [{"shop": f"S{n}", "terms": " ".join(draw.choices(WORDS, k=60))} for n in range(3)]
    return [
        {
            "review": " ".join(draw.choices(WORDS, k=15)),
            **draw.choice(products),
            **draw.choice(shops),
        }
        for _ in range(rows)
    ]


def main() -> None:
    """Send both orders, and print what each found in the cache."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    rows = table(options.rows, random.Random(options.seed))
    ordering = order_for_sharing(rows)
    orders = {
        "as given": [json.dumps(row) for row in rows],
        "ordered": [row.text for row in ordering.rows],
    }
    print(f"{options.rows} rows; by bytes the order shares {ordering.gain:.0%} more of the text")
    with (
        ServerProcess(timeout_s=300) as server,
        Client(base_url=server.base_url, api_key="none") as client,
    ):
        for name, texts in orders.items():
            salt = uuid.uuid4().hex
            start = time.perf_counter()
            with ledger(name) as book:
                for text in texts:
                    client.ask(QUESTION, row=text, max_tokens=1, extra_body={"cache_salt": salt})
            wall_s = time.perf_counter() - start
            prefill_s = sum(e.savings.time.prefill for e in book.entries if e.savings.time) / 1e3
            print(
                f"{name:<9} {book.prompt_tokens:>7,} prompt tokens, "
                f"{book.cached_tokens:>7,} cached ({book.hit_ratio:.0%}); "
                f"prefill {prefill_s:.2f} s, wall {wall_s:.2f} s"
            )


if __name__ == "__main__":
    main()
