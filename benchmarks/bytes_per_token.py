"""How many bytes of real prompts make a token: the constant behind estimates marked `~`.

`python benchmarks/bytes_per_token.py FOLDER...` reads the prompts that `stemfirst check` finds in
folders, with o200k_base's real ranks (tiktoken's cache must hold them), and prints the median and
the 5th and 95th percentile over prompts of at least 500 characters.
"""

from __future__ import annotations

import sys
from statistics import median

from stemfirst_lint.check import check_paths
from stemfirst_lint.config import Config
from stemfirst_lint.gain import Counter
from stemfirst_lint.model import Text


def main() -> None:
    counter = Counter()
    ratios: list[float] = []
    for folder in sys.argv[1:]:
        for site in check_paths((folder,), Config()).sites:
            text = "".join(p.text for p in site.template.pieces if isinstance(p, Text))
            if len(text) >= 500:
                count = counter.count(text)
                if count.is_estimate:
                    sys.exit("error: no rank file of o200k_base in tiktoken's cache")
                ratios.append(len(text.encode()) / count.tokens)
    if not ratios:
        sys.exit("error: no prompt of 500 characters found")
    ratios.sort()
    low, high = ratios[len(ratios) // 20], ratios[-1 - len(ratios) // 20]
    print(f"{len(ratios)} prompts: median {median(ratios):.2f}, 5-95 % {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
