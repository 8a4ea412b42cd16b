"""Which bytes can hold a prompt: a look at each file before it is parsed.

Knows words and short forms of source, no syntax. Each form begins with bytes to look for, which
costs a twentieth of an expression; the expression is compiled when a file holds them. Imports next
to nothing: a run that has nothing to do asks this, too.
"""

from __future__ import annotations

WORDS = (
    b"prompt", b"Prompt", b"PROMPT", b"instructions", b"Message(", b'["content"]', b"content=f",
    b"You're ", b"Respond ", b"Answer the", b"backstory", b"initiate_chat", b"generate_content",
    b"chat_template", b"CHAT_TEMPLATE", b"CrewBase", b"stemfirst", b"google.adk",
)  # fmt: skip
"""What alone can be a sign."""

FORMS = (
    (b"role", rb"""["']role["']"""),
    (b"system", rb"system(?:_\w+)?\s*="),
    (b"messages", rb"messages\s*="),
    (b"You ", rb"You (?:are|must|should|will|need|have|can) "),
    (b"our ", rb"[Yy]our (?:task|job|goal|role)"),
    (b"Given ", rb"Given (?:the|an?) "),
    *(
        (call + b"(", rb"\b%s\(" % call)
        for call in (b"invoke", b"ainvoke", b"complete", b"llm", b"LLM", b"chat", b"ask",
                     b"generate")
    ),
)  # fmt: skip
"""What is a sign in some surroundings: the bytes to look for, and the expression."""


def may_hold_prompts(data: bytes) -> bool:
    """Return False if no prompt can be in these bytes; True says nothing."""
    if any(word in data for word in WORDS):
        return True
    near = [form for start, form in FORMS if start in data]
    if not near:
        return False
    import re

    return any(re.search(form, data) is not None for form in near)


def is_far_from_prompts(data: bytes) -> bool:
    """Return True for bytes that hold no sign, not even the beginning of one: a quicker look."""
    return not any(word in data for word in WORDS) and not any(start in data for start, _ in FORMS)
