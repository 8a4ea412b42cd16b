"""The rule SF202."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits

_LONG = "Answer politely and never promise what the policy does not grant. " * 16
_SEND = (
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "user", "content": text}])\n'
)


class ListingOrder(Rule):
    """Text is built from a listing of files that nothing sorts.

    Why: a file system lists in an order of its own, another one on every machine and after every
    copy. All behind the first swap misses, though the files are the same.

    Fix: put `sorted(...)` around the listing.
    """

    code = "SF202"
    name = "listing-order"
    cases = (
        Case(
            "files of a folder",
            "import os\n\n"
            + "def ask(client):\n"
            + "    text = f\"Files: {', '.join(os.listdir('skills'))}\\n"
            + _LONG
            + '"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "names below a path",
            "from pathlib import Path\n\n"
            + "def ask(client):\n"
            + "    names = [p.name for p in Path('skills').iterdir()]\n"
            + '    text = f"Skills: {names}\\n'
            + _LONG
            + '"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "sorted",
            "import os\n\n"
            + "def ask(client):\n"
            + "    text = f\"Files: {', '.join(sorted(os.listdir('skills')))}\\n"
            + _LONG
            + '"\n'
            + _SEND,
        ),
        Case(
            "what stands in files under a name that says data",
            "from pathlib import Path\n\n"
            + "def ask(client):\n"
            + "    context = ' '.join(p.read_text() for p in Path('skills').glob('*.md'))\n"
            + '    text = f"Skills: {context}\\n'
            + _LONG
            + '"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "only their number",
            "import os\n\n"
            + "def ask(client):\n"
            + "    text = f\"{len(os.listdir('skills'))} files\\n"
            + _LONG
            + '"\n'
            + _SEND,
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each such hole that forfeits enough."""
        for hole, count in self.holes_of(site, limits, (Kind.LISTING,), always=True):
            yield self.finding(
                site,
                hole,
                f"`{hole.name}` lists files in no fixed order" + forfeits(count, site),
                count,
            )
