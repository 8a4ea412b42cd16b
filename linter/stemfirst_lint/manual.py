"""Writes a rule's page from its class: what, why, fix, and the cases.

Knows the layout of the pages under `docs/rules`. Knows nothing of any one rule.
"""

from __future__ import annotations

import inspect

from stemfirst_lint.rules import RULES, Rule

UNKNOWN_CODE_PAGE = """\
# SF902 `unknown-code`

A `# stemfirst: ignore[...]` comment names a code that no rule has.

Why: such a comment silences nothing, and whoever wrote it believes that it does.

Fix: correct the code, or remove the comment. `stemfirst rule --all` lists the codes.
"""
"""SF902 judges comments, not prompts, and so it is no `Rule`."""


def page(rule: type[Rule]) -> str:
    """Return a rule's page as Markdown."""
    lines = [f"# {rule.code} `{rule.name}`", "", inspect.cleandoc(rule.__doc__ or ""), ""]
    lines += ["## Examples", ""]
    for case in rule.cases:
        verdict = "reported" if case.finds else "not reported"
        lines += [f"{case.title[0].upper()}{case.title[1:]}: {verdict}.", ""]
        lines += ["```python", _shortened(case.source.strip("\n")), "```", ""]
    lines += [
        "## Silencing it",
        "",
        f"`# stemfirst: ignore[{rule.code}] reason` on the line, or in pyproject.toml:",
        "",
        "```toml",
        "[tool.stemfirst]",
        f'ignore = ["{rule.code}"]',
        "```",
        "",
    ]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """Return every page by its code."""
    return {rule.code: page(rule) for rule in RULES} | {"SF902": UNKNOWN_CODE_PAGE}


def _shortened(source: str) -> str:
    """Show a sentence that a case repeats to get long enough only once."""
    sentence = "Answer politely and never promise what the policy does not grant. "
    while sentence * 2 in source:
        source = source.replace(sentence * 2, sentence)
    return source.replace(sentence, sentence.rstrip() + " ... ").replace(' ... "', ' ..."')
