"""The rule SF206."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits

_LONG = "Answer politely and never promise what the policy does not grant. " * 16
_SEND = (
    '    text = f"Sources:\\n{shown}\\n\\n' + _LONG + '"\n'
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "user", "content": text}])\n'
)
_START = "from concurrent.futures import ThreadPoolExecutor, as_completed\n\n"


class CompletionOrder(Rule):
    """Parts of a text come in the order in which threads or tasks got ready.

    Why: which of several is ready first differs from call to call. The same parts make another
    text each time, and all behind the first swap misses.

    Fix: keep the order in which they were asked for: `executor.map`, `asyncio.gather`, or a list
    that is filled by index; or sort them.
    """

    code = "SF206"
    name = "completion-order"
    cases = (
        Case(
            "what is ready first comes first",
            _START
            + "def ask(client, read, urls):\n"
            + "    with ThreadPoolExecutor() as pool:\n"
            + "        futures = [pool.submit(read, url) for url in urls]\n"
            + "        parts = []\n"
            + "        for future in as_completed(futures):\n"
            + "            parts.append(future.result())\n"
            + '    shown = "\\n".join(parts)\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "in one expression",
            "import asyncio\n\n"
            + "async def ask(client, tasks):\n"
            + '    shown = "\\n".join([await task for task in asyncio.as_completed(tasks)])\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "in the order in which they were asked for",
            _START
            + "def ask(client, read, urls):\n"
            + "    with ThreadPoolExecutor() as pool:\n"
            + '        shown = "\\n".join(pool.map(read, urls))\n'
            + _SEND,
        ),
        Case(
            "sorted afterwards",
            _START
            + "def ask(client, read, urls):\n"
            + "    with ThreadPoolExecutor() as pool:\n"
            + "        futures = [pool.submit(read, url) for url in urls]\n"
            + "        parts = []\n"
            + "        for future in as_completed(futures):\n"
            + "            parts.append(future.result())\n"
            + "    parts.sort()\n"
            + '    shown = "\\n".join(parts)\n'
            + _SEND,
        ),
        Case(
            "filled by key and read by key",
            _START
            + "def ask(client, read, urls):\n"
            + "    with ThreadPoolExecutor() as pool:\n"
            + "        futures = {pool.submit(read, url): url for url in urls}\n"
            + "        pages = {}\n"
            + "        for future in as_completed(futures):\n"
            + "            pages[futures[future]] = future.result()\n"
            + '    shown = "\\n".join(pages[url] for url in sorted(pages))\n'
            + _SEND,
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each hole in such an order that forfeits enough."""
        for hole, count in self.holes_of(site, limits, (Kind.COMPLETION,), always=True):
            yield self.finding(
                site,
                hole,
                f"`{hole.name}` stands in the order in which its parts got ready"
                + forfeits(count, site),
                count,
            )
