"""How long evicted pages had not been used, in seconds.

The tree counts matches and inserts, not time. This notes the time of some of its ticks and reads
an evicted node's last one as a time. Knows no tree.
"""

from __future__ import annotations

from bisect import bisect_right

_NOTE_EVERY_S = 0.25
_MOST_NOTES = 4096


class Ages:
    """Ages of evicted pages; for one thread.

    Attributes:
        pages: pages that were evicted.
        seconds: their ages together.
    """

    def __init__(self) -> None:
        self.pages = 0
        self.seconds = 0.0
        self._ticks: list[int] = []
        self._times: list[float] = []

    def note(self, tick: int, now_s: float) -> None:
        """Note that the tree's clock stands at `tick` now; both only grow."""
        if self._times and now_s - self._times[-1] < _NOTE_EVERY_S:
            return
        if self._ticks and self._ticks[-1] == tick:
            return  # nothing was used since: that tick's own time is the earlier one
        self._ticks.append(tick)
        self._times.append(now_s)
        if len(self._ticks) > _MOST_NOTES:
            # Every second one of the older half: what is old needs no quarter seconds.
            half = _MOST_NOTES // 2
            self._ticks[:half] = self._ticks[:half:2]
            self._times[:half] = self._times[:half:2]

    def evicted(self, last_used: int, pages: int, now_s: float) -> None:
        """Count pages that are evicted now and were used last at a tick."""
        self.pages += pages
        if self._ticks:
            place = max(0, bisect_right(self._ticks, last_used) - 1)
            self.seconds += pages * max(0.0, now_s - self._times[place])
