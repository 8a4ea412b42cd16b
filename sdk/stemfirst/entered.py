"""Which ledgers a call is filed in: those that are entered in its context, and the process's.

Follows contexts (`contextvars`) and sees calls of threads that inherited none. Knows nothing of
what a ledger does with a call.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from stemfirst.entries import Entry
from stemfirst.memory import Memory, memory_of_environment

if TYPE_CHECKING:
    from stemfirst.ledgers import Ledger
    from stemfirst.rendered import Rendered

of_process: list[Ledger] = []
"""The process's own ledger, once somebody asked for it."""

_active: ContextVar[tuple[Ledger, ...]] = ContextVar("stemfirst_ledgers", default=())
_unrecorded: ContextVar[bool] = ContextVar("stemfirst_unrecorded", default=False)

_open: dict[Ledger, tuple[int, ...]] = {}
"""Ledgers that are entered anywhere, with the threads that did."""
_open_lock = threading.Lock()


def enter(book: Ledger) -> None:
    """File the calls of this context in a ledger, too."""
    _active.set((*_active.get(), book))
    with _open_lock:
        _open[book] = (*_open.get(book, ()), threading.get_ident())


def leave(book: Ledger) -> None:
    """Undo the last `enter` of this ledger in this context."""
    active = list(_active.get())
    for index in reversed(range(len(active))):
        if active[index] is book:
            del active[index]
            break
    _active.set(tuple(active))
    with _open_lock:
        threads = list(_open.pop(book, ()))
        here = threading.get_ident()
        if threads:  # a generator's block may end in another thread than it began in
            threads.remove(here if here in threads else threads[-1])
        if threads:
            _open[book] = tuple(threads)


def open_entry(rendered: Rendered | None = None) -> Entry:
    """File a new call in every ledger that is entered here, in each once, and return it."""
    entry = Entry(rendered)
    books = _active.get()
    if not _unrecorded.get():
        if not books and _open:
            here = threading.get_ident()
            with _open_lock:
                elsewhere = [book for book, threads in _open.items() if here not in threads]
            for book in elsewhere:
                book.saw_elsewhere()
        books = (*books, *of_process)
    for book in dict.fromkeys(books):
        book.file(entry)
    return entry


def memory_here() -> Memory | None:
    """Return the memory of the innermost ledger that has one, else the environment's."""
    if _unrecorded.get():
        return None
    for book in reversed(_active.get()):
        if book.memory is not None:
            return book.memory
    return memory_of_environment()


@contextmanager
def unrecorded() -> Iterator[None]:
    """Keep the calls made inside out of every ledger."""
    token, flag = _active.set(()), _unrecorded.set(True)
    try:
        yield
    finally:
        _unrecorded.reset(flag)
        _active.reset(token)
