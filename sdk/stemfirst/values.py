"""The text of a value that is put into a prompt, and why some have none.

Knows that text must be the same in every process. Does not know where the value goes.
"""

from __future__ import annotations

from stemfirst.errors import MissingValueError, PromptError


def text_of(value: object, what: str) -> str:
    """Return `str(value)` where that stays the same from process to process.

    Args:
        value: anything.
        what: what it is for, as an error names it.

    Raises:
        MissingValueError: it is None.
        PromptError: it is bytes, a set, or an object that shows its address.
    """
    if isinstance(value, str):
        return str(value)
    if value is None:
        raise MissingValueError(f'{what} got None: pass "" where there is nothing to say')
    if isinstance(value, bytes):
        raise PromptError(f"{what} takes text, got bytes: decode them yourself")
    if isinstance(value, set | frozenset):
        raise PromptError(f"{what} got a set, whose order differs by process: pass sorted(...)")
    text = str(value)
    if " at 0x" in text:
        raise PromptError(
            f"{what} got {text[:60]}, whose address differs by process: pass text of it"
        )
    return text
