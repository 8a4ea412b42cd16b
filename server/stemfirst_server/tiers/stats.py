"""What slower memory holds and has done, as numbers, and as Prometheus metrics.

Knows names and meanings; the numbers are the tiers'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric


@dataclass(frozen=True, slots=True)
class TierStats:
    """Gauges and counters. Counters only grow.

    Attributes:
        page_bytes: of a page's KV, all layers together.
        host_pages_total: slots of the host's memory.
        host_pages: those that hold KV.
        host_blocks: runs of pages that they make.
        disk_bytes: of files.
        disk_bytes_total: most of them.
        disk_files: their number, those of other weights too.
        kept_pages: copied from the device to the host.
        restored_pages: copied back.
        written_pages: written to disk.
        read_pages: read from disk.
        lost_pages: that found no room and were forgotten.
        dropped_files: broken ones.
        write_failures: files that the disk refused.
        is_writing: False: the disk refused lately, or there is none.
    """

    page_bytes: int
    host_pages_total: int
    host_pages: int
    host_blocks: int
    disk_bytes: int
    disk_bytes_total: int
    disk_files: int
    kept_pages: int
    restored_pages: int
    written_pages: int
    read_pages: int
    lost_pages: int
    dropped_files: int
    write_failures: int
    is_writing: bool


class TierCollector(Collector):
    """The tiers' gauges and counters, read when they are asked for.

    Args:
        stats: reads them; None: there is no slower memory, and so there are no samples.
        labels: of every sample.
    """

    def __init__(self, stats: Callable[[], TierStats] | None, labels: dict[str, str]) -> None:
        self._stats = stats
        self._names = list(labels)
        self._values = list(labels.values())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        stats = self._stats() if self._stats is not None else None
        gauges = tuple(
            GaugeMetricFamily(name, text, labels=[*self._names, "tier"])
            for name, text in (
                ("stemfirst_tier_bytes", "Bytes that slower memory holds."),
                ("stemfirst_tier_capacity_bytes", "Most bytes that slower memory may hold."),
                ("stemfirst_tier_entries", "Runs of pages in the host's memory, files on disk."),
            )
        )
        moved = CounterMetricFamily(
            "stemfirst_tier_moved_pages",
            "Pages copied between the device, the host and the disk; lost: no room was left.",
            labels=[*self._names, "move"],
        )
        dropped = CounterMetricFamily(
            "stemfirst_tier_dropped_files",
            "Files of the disk cache that were damaged, and dropped.",
            labels=self._names,
        )
        failures = CounterMetricFamily(
            "stemfirst_tier_write_failures",
            "Files that the disk refused to take.",
            labels=self._names,
        )
        writing = GaugeMetricFamily(
            "stemfirst_tier_is_writing", "1: the disk takes files; 0: not now.", labels=self._names
        )
        if stats is not None:
            each = stats.page_bytes
            host = (stats.host_pages * each, stats.host_pages_total * each, stats.host_blocks)
            disk = (stats.disk_bytes, stats.disk_bytes_total, stats.disk_files)
            for tier, values in (("host", host), ("disk", disk)):
                for gauge, value in zip(gauges, values, strict=True):
                    gauge.add_metric([*self._values, tier], value)
            for move, pages in (
                ("device_to_host", stats.kept_pages),
                ("host_to_device", stats.restored_pages),
                ("host_to_disk", stats.written_pages),
                ("disk_to_host", stats.read_pages),
                ("lost", stats.lost_pages),
            ):
                moved.add_metric([*self._values, move], pages)
            dropped.add_metric(self._values, stats.dropped_files)
            failures.add_metric(self._values, stats.write_failures)
            writing.add_metric(self._values, stats.is_writing)
        yield from (*gauges, moved, dropped, failures, writing)
