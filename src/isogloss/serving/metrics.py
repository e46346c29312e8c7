"""What the server counts, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64)
CONTENT_TYPE = CONTENT_TYPE_LATEST


@final
class Metrics:
    """Counts of one server; `waiting` and `under_way` say how many requests there are now."""

    def __init__(self, waiting: Callable[[], int], under_way: Callable[[], int]) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "isogloss_requests", "Requests answered.", ("endpoint", "status"), registry=own
        )
        self.seconds = Histogram(
            "isogloss_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ("endpoint",),
            buckets=SECONDS,
            registry=own,
        )
        self.batch_requests = Histogram(
            "isogloss_batch_requests", "Requests of a batch.", buckets=SIZES, registry=own
        )
        self.batch_items = Histogram(
            "isogloss_batch_items", "Items or prompts of a batch.", buckets=SIZES, registry=own
        )
        queue = Gauge("isogloss_queue_requests", "Requests that wait for the model.", registry=own)
        queue.set_function(waiting)
        now = Gauge("isogloss_open_requests", "Requests that are under way.", registry=own)
        now.set_function(under_way)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self.requests.labels(endpoint, str(status)).inc()
        self.seconds.labels(endpoint).observe(seconds)

    def batch(self, requests: int, items: int) -> None:
        """Count a batch."""
        self.batch_requests.observe(requests)
        self.batch_items.observe(items)

    def text(self) -> bytes:
        """All counts."""
        return generate_latest(self.registry)
