"""Names of what a request is about, of what an object was made for, of what loops set up.

Knows names alone. To teach the linter a subject, add it here.
"""

from __future__ import annotations

from stemfirst_lint.patterns import pattern

SUBJECTS = pattern(
    r"(^|_)(company|disease|drug|gene|protein|molecule|compound|assay|patient|diagnosis|ticker|"
    r"stock|movie|film|song|book|product|applicant|destination|concept|term|phrase|title|theme|"
    r"subject|event|recipe|ingredients?|chapter|lesson|course|scene|competitor|paper|project|"
    r"step|sub_?goal|symptoms?|company_stock)(_(name|title|symbol))?$|"
    r"(^|_)(file|directory|dir|folder|repo)_(tree|structure|listing)$|(^|_)file_?(path|name)$"
)
"""What a request may be about; not `project` alone, nor a title in a setting."""

KEPT_ELEMENTS = pattern(
    r"(^|_)(agents?|tools?|functions?|func|fn|roles?|models?|providers?|lang|languages?|metrics?|"
    r"personas?|criterion|criteria|rubrics?|dimensions?|categor(y|ies)|aspects?|sections?|fields?|"
    r"keys?|labels?|options?|styles?|levels?|i|j|k|n|idx|index|attempt|retry|config|cfg|skills?|"
    r"server|plugins?|attrs?|column|col|attack|vulnerability|classes|class|cls|method|variant|"
    r"templates?|prompts?|mode|types?|kinds?|seed|stage|phase|rules?|policy|policies|examples?|"
    r"lines?|words?|chars?|tokens?|part|parts|args?|arm|head|layer|temperature|format|_)$"
)
"""Elements of loops that are many settings rather than much data."""

_OWN_DATA = pattern(
    r"^_*(user|task|original|raw)_(prompt|query|question|input|request|task|message)$"
)


def is_own_data(name: str) -> bool:
    """Return True for what an object can only have been made for: `self.task_prompt`."""
    return _OWN_DATA.search(name) is not None
