"""What Prometheus is told; each app has a registry of its own."""

from __future__ import annotations

import functools

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one app. Labels take few values: strategies and statuses, never names or keys."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        requests = Counter(
            "samplewise_requests",
            "Requests for completions, by strategy and status; 499 where the client hung up.",
            ("strategy", "status"),
            registry=self.registry,
        )
        took = Histogram(
            "samplewise_request_seconds",
            "Seconds from a request to the end of its reply.",
            ("strategy",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        tokens = Counter(
            "samplewise_tokens",
            "Tokens read (prompt) and drawn (completion), hidden samples among them.",
            ("kind",),
            registry=self.registry,
        )
        self._prompt, self._completion = tokens.labels("prompt"), tokens.labels("completion")
        samples = Counter(
            "samplewise_samples", "Completions drawn.", ("strategy",), registry=self.registry
        )
        # Finding a child by its labels costs more than all the rest.
        self._ended = functools.cache(lambda name, status: requests.labels(name, str(status)))
        self._took = functools.cache(took.labels)
        self._drawn = functools.cache(samples.labels)
        self.at_work = Gauge(
            "samplewise_requests_at_work", "Requests not yet answered.", registry=self.registry
        )

    def note(
        self, strategy: str, status: int, seconds: float, samples: int, prompt: int, drawn: int
    ) -> None:
        """Count a request that has ended."""
        self._ended(strategy, status).inc()
        self._took(strategy).observe(seconds)
        if samples:
            self._drawn(strategy).inc(samples)
            self._prompt.inc(prompt)
            self._completion.inc(drawn)

    def text(self) -> bytes:
        """Give what Prometheus reads."""
        return generate_latest(self.registry)
