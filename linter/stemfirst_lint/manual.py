"""Writes a rule's page from its class: what, why, fix, and the cases.

Knows the layout of the pages under `docs/rules`. Knows nothing of any one rule.
"""

from __future__ import annotations

import inspect

from stemfirst_lint.rules import RULES, Rule

UNKNOWN_CODE_PAGE = """\
# SF902 `unknown-code`

A `# stemfirst: ignore[...]` comment names a code that no rule has, or a `# stemfirst: tier[...]`
comment a tier that does not exist.

Why: such a comment silences or declares nothing, and whoever wrote it believes that it does.

Fix: correct the word, or remove the comment. `stemfirst rule --all` lists the codes; tiers are
`static`, `tenant`, `session`, `request` and `volatile`.
"""
"""SF902 judges comments, not prompts, and so it is no `Rule`."""


UNUSED_SUPPRESSION_PAGE = """\
# SF901 `unused-suppression`

A `# stemfirst: ignore` comment, or a code in one, silences nothing.

Why: such a comment outlives the fault that it was written for, and will silence the next one.

Fix: remove the comment, or the code from it. Comments are judged in the files below a folder that
was named and for the rules that are selected: of a file that is named by itself, what makes the
finding may stand in another file.
"""
"""SF901 judges comments, too."""


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
    of_comments = {"SF901": UNUSED_SUPPRESSION_PAGE, "SF902": UNKNOWN_CODE_PAGE}
    return {rule.code: page(rule) for rule in RULES} | of_comments


def _shortened(source: str) -> str:
    """Show a sentence that a case repeats to get long enough only once."""
    sentence = "Answer politely and never promise what the policy does not grant. "
    while sentence * 2 in source:
        source = source.replace(sentence * 2, sentence)
    return source.replace(sentence, sentence.rstrip() + " ... ").replace(' ... "', ' ..."')
