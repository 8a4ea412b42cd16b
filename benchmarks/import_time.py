"""How much longer `import stemfirst` takes than starting Python, and what using it then loads.

Run: `python benchmarks/import_time.py [--rounds 20]`. Each statement runs in a fresh process,
the statements taking turns, so that a busy machine slows all of them alike; the best of the
rounds counts, because nothing makes a process faster than it is.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from datetime import date

STATEMENTS = {
    "python": "pass",
    "import ast": "import ast",
    "import stemfirst": "import stemfirst",
    "build a prompt": "from stemfirst import Prompt, static; Prompt(static('a')).render()",
    "import openai": "import openai",
    "stemfirst.Client": "from stemfirst import Client",
}


def seconds(statement: str) -> float:
    """Return the wall time of a fresh process that runs the statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print one line a statement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    best = dict.fromkeys(STATEMENTS, float("inf"))
    for _ in range(rounds + 1):  # the first round warms the file cache
        for name, statement in STATEMENTS.items():
            best[name] = min(best[name], seconds(statement))
    where = f"Python {platform.python_version()}, {platform.machine()}, {date.today()}"
    print(f"{where}; best of {rounds} rounds")
    for name, value in best.items():
        print(f"  {name:<18}{1000 * value:>8.1f} ms{value / best['python']:>7.2f} x python")


if __name__ == "__main__":
    main()
