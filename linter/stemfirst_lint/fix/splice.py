"""A file's text and the edits in it: decoded so that the bytes come back, cut and put together.

Knows encodings, byte order marks and places. Knows nothing of what an edit is for.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Sequence
from dataclasses import replace

from stemfirst_lint.errors import UnreadableFile
from stemfirst_lint.fix.prove import Edit
from stemfirst_lint.fix.text_files import is_text_file


def decoded(path: str, data: bytes) -> tuple[str, str]:
    """Return the text without a byte order mark, and the encoding that gives the bytes back.

    Raises:
        UnreadableFile: the bytes are not in the encoding that they declare.
    """
    try:
        if is_text_file(path):
            return data.decode("utf-8"), "utf-8"
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UnreadableFile(path, str(error)) from None
    if text.encode(encoding) != data:
        raise UnreadableFile(path, f"its bytes do not survive a round trip through {encoding}")
    return text, encoding


def shifted(edit: Edit, others: Sequence[Edit]) -> Edit:
    """Return an edit as it stands when others were made before it."""
    by = sum(len(o.new) - (o.end - o.start) for o in others if o.end <= edit.start)
    return replace(edit, start=edit.start + by, end=edit.end + by)


def applied(text: str, edits: Sequence[Edit], offset: int = 0) -> str:
    """Return a text with edits made in it; the text stands at `offset` in what they count."""
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start - offset] + edit.new + text[edit.end - offset :]
    return text
