"""The rule SF106."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Site
from stemfirst_lint.rules.rule import Case, Limits, Rule, forfeits

_LONG = "Answer politely and never promise what the policy does not grant. " * 16
_SEND = (
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "user", "content": text}])\n'
)


class EnvironmentInPrefix(Rule):
    """The working folder, the state of git, the host or the process stands before text that stays.

    Why: instructions and tools are the same in every folder and on every host, but not behind
    such a line: each project, process or edit reads them again.

    Fix: put it behind the instructions, best into the first user message; what changes while an
    agent works belongs into the newest one.
    """

    code = "SF106"
    name = "environment-in-prefix"
    cases = (
        Case(
            "the working folder before the instructions",
            "import os\n\n"
            + "def ask(client, question):\n"
            + '    text = f"Folder: {os.getcwd()}\\n'
            + _LONG
            + '"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "the state of git through a helper",
            "import subprocess\n\n"
            + "def status():\n"
            + '    return subprocess.check_output(["git", "status"], text=True).strip()\n\n'
            + "def ask(client):\n"
            + '    text = f"{status()}\\n'
            + _LONG
            + '"\n'
            + _SEND,
            finds=1,
        ),
        Case(
            "behind the instructions",
            "import os\n\n"
            + "def ask(client):\n"
            + '    text = f"'
            + _LONG
            + '\\nFolder: {os.getcwd()}"\n'
            + _SEND,
        ),
        Case(
            "the kind of system is the same for a deployment",
            "import platform\n\n"
            + "def ask(client):\n"
            + '    text = f"You run on {platform.system()}. '
            + _LONG
            + '"\n'
            + _SEND,
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each such hole that forfeits enough."""
        for hole, count in self.holes_of(site, limits, (Kind.ENVIRONMENT,), always=False):
            yield self.finding(
                site,
                hole,
                f"`{hole.name}` tells of the surroundings" + forfeits(count, site),
                count,
            )
