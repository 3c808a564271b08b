"""Counters for Prometheus, in a registry of their own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """What the service counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.queued = Gauge("swinir_queue_depth", "Jobs that wait", registry=self.registry)
        self.running = Gauge("swinir_jobs_running", "Jobs in progress", registry=self.registry)
        self.accepted = Counter("swinir_jobs_accepted", "Jobs accepted", registry=self.registry)
        self.rejected = Counter(
            "swinir_jobs_rejected", "Requests not accepted", ["cause"], registry=self.registry
        )
        self.finished = Counter(
            "swinir_jobs_finished", "Jobs by how they ended", ["state"], registry=self.registry
        )
        self.failed = Counter("swinir_jobs_failed", "Failures by status", ["status"], registry=self.registry)
        self.seconds = Histogram(
            "swinir_job_seconds",
            "Seconds from acceptance to the end",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.decoder_restarts = Gauge(
            "swinir_decoder_restarts", "Image decoders replaced after a failure", registry=self.registry
        )
        self.disk_bytes = Gauge("swinir_disk_bytes", "Bytes of uploads and results", registry=self.registry)

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self.registry)
