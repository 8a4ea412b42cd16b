"""What the cache saved, by tenant and day, in a file that outlives the process.

Knows counts and days (UTC). Writes them in the background, every few seconds and at the end: a
process that is killed loses what the last seconds added, and nothing else. Does not know HTTP.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from stemfirst_server.errors import ConfigError

log = logging.getLogger("stemfirst.sums")

WRITE_EVERY_S = 5.0

KEEP_DAYS = 400
"""Days that are kept: a year and a month to compare it with."""

_FILE = "savings.sqlite3"


@dataclass(frozen=True, slots=True)
class Sum:
    """What requests add up to.

    Attributes:
        requests: that ended with an answer.
        prompt_tokens: read, from the cache or not.
        cached_tokens: of those, found.
        computed_tokens: of those, computed.
        output_tokens: written.
        estimated_requests: of the requests, those that the next figures know.
        prefill_ms_saved: estimated prefill that hits avoided.
        estimated_cached_tokens: of the cached tokens, those of the estimated requests.
        prefill_ms_saved_low: sum of the estimates' lower bounds.
        prefill_ms_saved_high: sum of their upper bounds.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    computed_tokens: int = 0
    output_tokens: int = 0
    estimated_requests: int = 0
    prefill_ms_saved: float = 0.0
    estimated_cached_tokens: int = 0
    prefill_ms_saved_low: float = 0.0
    prefill_ms_saved_high: float = 0.0

    def __add__(self, other: Sum) -> Sum:
        return Sum(*(getattr(self, name) + getattr(other, name) for name in _NAMES))


_NAMES = tuple(field.name for field in fields(Sum))


@dataclass(frozen=True, slots=True)
class DaySum:
    """One tenant's sum of one day."""

    day: date
    tenant: str
    sum: Sum


def _now() -> datetime:
    return datetime.now(UTC)


class DailySums:
    """Sums by tenant and day; safe to use from several threads.

    Args:
        folder: where they are kept; None: in memory only.
        clock: the time.

    Raises:
        ConfigError: the folder cannot be used.
    """

    def __init__(self, folder: Path | None = None, *, clock: Callable[[], datetime] = _now) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._base_lock = threading.Lock()
        self._new: dict[tuple[str, str], Sum] = {}
        self._ending = threading.Event()
        self._writer: threading.Thread | None = None
        place = ":memory:"
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"the state folder {folder} cannot be made: {error.strerror}"
                ) from error
            place = str(folder / _FILE)
        try:
            self._base = sqlite3.connect(place, check_same_thread=False, timeout=2.0)
            self._base.execute("PRAGMA journal_mode=WAL")
            # Another server may use the same folder: their sums add up.
            columns = ", ".join(f"{name} NOT NULL" for name in _NAMES)
            self._base.execute(
                f"CREATE TABLE IF NOT EXISTS sums"
                f" (day TEXT, tenant TEXT, {columns}, PRIMARY KEY (day, tenant))"
            )
            known = {row[1] for row in self._base.execute("PRAGMA table_info(sums)")}
            for name in _NAMES:
                if name not in known:  # a file of an older version
                    self._base.execute(f"ALTER TABLE sums ADD COLUMN {name} NOT NULL DEFAULT 0")
            self._base.commit()
        except sqlite3.Error as error:
            raise ConfigError(f"the savings in {place} cannot be used: {error}") from error
        if folder is not None:
            self._writer = threading.Thread(target=self._write_on, name="stemfirst-sums")
            self._writer.daemon = True
            self._writer.start()

    def add(self, tenant: str, more: Sum) -> None:
        """Add a request's counts to today."""
        key = (self._clock().date().isoformat(), tenant)
        with self._lock:
            known = self._new.get(key)
            self._new[key] = more if known is None else known + more

    def read(self, *, days: int, tenant: str | None = None) -> list[DaySum]:
        """Return the sums of the last days, today included, newest first.

        Args:
            days: at least 1.
            tenant: whose; None: everybody's.
        """
        self.write()
        since = self._clock().date() - timedelta(days=days - 1)
        query = f"SELECT day, tenant, {', '.join(_NAMES)} FROM sums WHERE day >= ?"  # noqa: S608
        given: list[str] = [since.isoformat()]
        if tenant is not None:
            query += " AND tenant = ?"
            given.append(tenant)
        with self._base_lock:
            rows = self._base.execute(query + " ORDER BY day DESC, tenant", given).fetchall()
        return [DaySum(date.fromisoformat(row[0]), row[1], Sum(*row[2:])) for row in rows]

    def write(self) -> None:
        """Write what was added since the last time; what cannot be written is kept for the next."""
        with self._lock:
            adding, self._new = self._new, {}
        if not adding:
            return
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _NAMES)
        marks = ", ".join("?" * (2 + len(_NAMES)))
        oldest = (self._clock().date() - timedelta(days=KEEP_DAYS)).isoformat()
        try:
            # A lock of its own: the engine adds while the disk writes.
            with self._base_lock, self._base:
                self._base.executemany(
                    f"INSERT INTO sums (day, tenant, {', '.join(_NAMES)}) VALUES ({marks})"  # noqa: S608
                    f" ON CONFLICT (day, tenant) DO UPDATE SET {sums}",
                    [
                        (*key, *(getattr(more, name) for name in _NAMES))
                        for key, more in adding.items()
                    ],
                )
                self._base.execute("DELETE FROM sums WHERE day < ?", [oldest])
        except sqlite3.Error as error:
            log.warning("savings could not be written: %s", error)
            with self._lock:
                for key, more in adding.items():
                    known = self._new.get(key)
                    self._new[key] = more if known is None else known + more

    def close(self) -> None:
        """Write what is left and let go of the file."""
        self._ending.set()
        self.write()
        with self._base_lock:
            self._base.close()

    def _write_on(self) -> None:
        while not self._ending.wait(WRITE_EVERY_S):
            self.write()
