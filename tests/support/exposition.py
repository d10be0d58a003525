"""A small stand-in for the service's metrics page: every contracted metric, with values that move at each scrape."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

TENANTS = ("search", "search/ranking", "vision")


class Page:
    """The metrics, as the service would show them for a small fleet under load."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        gauge = {
            "jobs": ("state", "tenant"),
            "devices": ("cell", "accelerator", "state"),
            "quota_devices": ("tenant", "resource", "kind"),
            "waiting_reasons": ("reason",),
            "build_info": ("version",),
            "domestic_device_share_ratio": (),
            "executor_up": ("cell",),
            "lot_devices": ("lot", "kind"),
            "lot_licence_remaining_seconds": ("lot",),
            "cycle_gap_ratio": ("policy",),
            "rate_observed_ratio": ("accelerator", "work_class"),
            "slow_nodes": ("cell", "accelerator"),
            "rule_alarms": ("rule", "alarm"),
            "rule_held_jobs": ("rule",),
            "rule_price": ("rule",),
            "rule_share_ratio": ("rule", "kind"),
        }
        self.gauges = {n: Gauge(f"dualtrack_{n}", n, labels, registry=registry) for n, labels in gauge.items()}
        counter = {
            "preemptions": ("tenant",),
            "restarts": ("cause",),
            "jobs_submitted": ("tenant",),
            "jobs_finished": ("tenant", "outcome"),
            "emulated_overruns": (),
            "rule_withheld_hours": ("rule", "unit"),
        }
        self.counters = {n: Counter(f"dualtrack_{n}", n, labels, registry=registry) for n, labels in counter.items()}
        histogram = {
            "job_wait_seconds": ("tenant", "job_class"),
            "job_run_seconds": ("tenant",),
            "cycle_seconds": (),
            "journal_commit_seconds": (),
        }
        self.histograms = {
            n: Histogram(f"dualtrack_{n}", n, labels, registry=registry) for n, labels in histogram.items()
        }
        self._fill()

    def text(self) -> bytes:
        """One scrape; time has passed since the last."""
        for tenant in TENANTS:
            self.counters["jobs_submitted"].labels(tenant).inc()
            self.counters["jobs_finished"].labels(tenant, "succeeded").inc()
            self.counters["preemptions"].labels(tenant).inc()
            self.histograms["job_wait_seconds"].labels(tenant, "production").observe(3)
            self.histograms["job_run_seconds"].labels(tenant).observe(8)
        self.counters["restarts"].labels("preempt").inc()
        self.counters["emulated_overruns"].inc()
        self.counters["rule_withheld_hours"].labels("used-30", "compute_unit").inc(0.5)
        self.histograms["cycle_seconds"].observe(0.002)
        self.histograms["journal_commit_seconds"].observe(0.004)
        return generate_latest(self.registry)

    def _fill(self) -> None:
        for tenant in TENANTS:
            for state, jobs in (("running", 3), ("waiting", 2), ("succeeded", 9)):
                self.gauges["jobs"].labels(state, tenant).set(jobs)
            for kind, devices in (("nominal", 16), ("used", 12)):
                self.gauges["quota_devices"].labels(tenant, "h200", kind).set(devices)
        for cell, accelerator in (("east", "h200"), ("west", "ascend-910c")):
            self.gauges["executor_up"].labels(cell).set(1)
            for state, devices in (("used", 5), ("idle", 3), ("foreign", 1), ("unavailable", 0)):
                self.gauges["devices"].labels(cell, accelerator, state).set(devices)
        self.gauges["waiting_reasons"].labels("no_room").set(2)
        self.gauges["build_info"].labels("0.0.0").set(1)
        self.gauges["domestic_device_share_ratio"].set(0.4)
        for kind, ratio in (("share", 0.35), ("forecast", 0.33), ("target", 0.3)):
            self.gauges["rule_share_ratio"].labels("used-30", kind).set(ratio)
        self.gauges["rule_price"].labels("used-30").set(0.2)
        for kind, count in (("in_service", 16), ("cleared", 8), ("coming", 64)):
            self.gauges["lot_devices"].labels("lot-1", kind).set(count)
        self.gauges["lot_licence_remaining_seconds"].labels("lot-1").set(86_400)
        self.gauges["cycle_gap_ratio"].labels("balanced").set(0.002)
        self.gauges["rate_observed_ratio"].labels("h200", "dense_training").set(0.9)
        self.gauges["slow_nodes"].labels("hopper", "h200").set(1)
        self.gauges["rule_held_jobs"].labels("used-30").set(1)
        self.gauges["rule_alarms"].labels("lot-1", "more_in_service_than_cleared").set(1)


@contextmanager
def serving(page: Page) -> Iterator[str]:
    """`host:port` that answers /metrics with the page until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page.text()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not worth a line each."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
