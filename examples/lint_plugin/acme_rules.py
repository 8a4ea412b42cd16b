"""A rule of one's own: no prompt of this company names a competitor.

A rule is a class with a code, a name, a docstring (What, Why, Fix) and `check`, which sees one
prompt in the place where it is sent. The package's pyproject.toml names it as an entry point of
`stemfirst.rules`; projects that want it say `plugins = ["acme"]`.
"""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Site, Text
from stemfirst_lint.rules import Case, Limits, Rule

COMPETITORS = ("Initech", "Globex")


class CompetitorInPrompt(Rule):
    """A prompt names a competitor.

    Why: models repeat what they read.

    Fix: say "another vendor".
    """

    code = "ACME101"
    name = "competitor-in-prompt"
    cases = (
        Case(
            "a competitor by name",
            "def ask(client, question):\n"
            '    text = f"Never recommend Globex. {question}"\n'
            '    client.create(messages=[{"role": "user", "content": text}])\n',
            finds=1,
        ),
    )

    def check(self, site: Site, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each run of text that names one."""
        for piece in site.template.pieces:
            named = [name for name in COMPETITORS if isinstance(piece, Text) and name in piece.text]
            if named:
                yield Finding(
                    code=self.code,
                    name=self.name,
                    message=f"the prompt names {named[0]}",
                    location=piece.location,
                    site=site,
                )
