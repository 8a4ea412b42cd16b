"""Calls written to a JSON Lines file that `stemfirst audit` reads.

    with record("calls.jsonl"):
        ...  # every call of this process, through our clients or instrumented ones

Knows the recording format (docs/audit.md). Text is replaced by keyed digests, unless it is
asked for. Source lines are written: a recording stays where it was made.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from os import PathLike
from typing import Any

from stemfirst.chain import canonical_bytes
from stemfirst.observers import Outcome, Sent, log, observing
from stemfirst.redaction import redacted_body
from stemfirst.savings import field_of
from stemfirst.usage import mapping_of
from stemfirst.wire import BODY_FIELD, VERSION

_ANSWERED = ("id", "model", "usage", "prompt_cache_diagnostics", "diagnostics", BODY_FIELD)
"""What is kept of a response: no text."""


@contextmanager
def record(path: str | PathLike[str], *, text: bool = False) -> Iterator[Recorder]:
    """Append every call of this process to `path` until the block ends.

    Several processes may write to one file.

    Args:
        path: a JSON Lines file; made where it does not exist, readable by its owner only.
        text: whether prompts and answers are written as they are.

    Raises:
        OSError: the file cannot be opened.
    """
    recorder = Recorder(path, text=text)
    try:
        with observing(recorder):
            yield recorder
    finally:
        recorder.close()


class Recorder:
    """An observer that appends calls to a file; one line is one write."""

    def __init__(self, path: str | PathLike[str], *, text: bool = False) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._is_open = True
        self._is_torn = False  # whether the last line was not written whole
        self._has_text = text
        self._lock = threading.Lock()
        self._own_key = secrets.token_bytes(32)
        self.written = 0
        """Calls written so far."""

    def sent(self, sent: Sent) -> Callable[[Outcome], None]:
        """Take a request; it is written when its answer has come."""

        def ended(outcome: Outcome) -> None:
            self.write(self.record_of(sent, outcome))

        return ended

    def record_of(self, sent: Sent, outcome: Outcome) -> dict[str, Any]:
        """Return a call as one object of the recording format."""
        body = dict(sent.body)
        record: dict[str, Any] = {
            "v": VERSION,
            "at": datetime.fromtimestamp(sent.at_s, UTC).isoformat(),
            "base_url": sent.base_url,
            "status": outcome.status.value,
            "duration_ms": round(outcome.duration_s * 1e3, 3),
        }
        if sent.session_id:
            record["session"] = sent.session_id
        if self._has_text:
            record["request"] = body
        else:
            # A key of the caller's keeps recordings of several processes comparable.
            key = sent.key.digest_key if sent.key else self._own_key
            record["redacted"] = sent.key.id if sent.key else "this process"
            record["request"] = redacted_body(body, key)
        record["response"] = self._response(outcome)
        segments = _segments(sent)
        if segments:
            record["segments"] = segments
        return record

    def _response(self, outcome: Outcome) -> dict[str, Any]:
        if self._has_text:
            whole = mapping_of(outcome.response)
            return json.loads(json.dumps(whole, default=_plain)) if whole else {}
        kept = {name: field_of(outcome.response, name) for name in _ANSWERED}
        return {
            name: json.loads(json.dumps(value, default=_plain))
            for name, value in kept.items()
            if value is not None
        }

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one object; after `close` it is dropped.

        Raises:
            OSError: the file did not take it, or not all of it.
        """
        line = json.dumps(record, ensure_ascii=False, default=_plain) + "\n"
        data = line.encode("utf-8", "surrogatepass")
        with self._lock:
            if not self._is_open:
                log.warning("a call ended after its recording was closed, and is not in it")
                return
            if self._is_torn:
                data = b"\n" + data
            # A full disk may take a part of it only: the next line must not be welded to that.
            written = os.write(self._file, data)
            self._is_torn = written < len(data)
            if self._is_torn:
                raise OSError(errno.ENOSPC, "a call was not written whole to the recording")
            self.written += 1

    def close(self) -> None:
        """Close the file; a second call changes nothing."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self._file)


def _segments(sent: Sent) -> list[dict[str, Any]]:
    """Return the prompt's segments, where the body is the prompt as it was rendered."""
    rendered = sent.rendered
    if rendered is None or sent.body.get("messages") != rendered.messages:
        return []
    return [
        {
            "id": item.id,
            "tier": item.tier.label,
            "at": list(item.at),
            "n": len(canonical_bytes(item.text, item.at)),
            **({"name": item.name} if item.name else {}),
            **(
                {"origin": {"path": item.origin.path, "line": item.origin.line}}
                if item.origin
                else {}
            ),
        }
        for item in rendered.segments
    ]


def _plain(value: object) -> Any:
    """Return what JSON lacks (a client package's object) as what it has."""
    found = mapping_of(value)
    return found if found is not None else str(value)
