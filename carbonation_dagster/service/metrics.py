"""What Prometheus is told when it asks, at `[metrics] listen`.

A database or a mount that does not answer makes the answer shorter, never late.
"""

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from carbonation_core.disk.probe import Prober
from carbonation_core.errors import CarbonationError
from carbonation_core.project import Project
from carbonation_core.reports import metrics
from carbonation_core.reports.metrics import METRICS, Kind, Sample, Spread
from carbonation_dagster.service.supervisor import ServiceError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

log = logging.getLogger(__name__)

DATABASE_WITHIN, DISKS_WITHIN = 4.0, 1.0  # seconds; whoever asks waits for 10 s, unless told otherwise


class Collector:
    """Asks the database and the disks whenever it is asked itself."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._prober = Prober()
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._stored: list[Sample] | None = None
        self._trouble = ""  # the last that was said

    def collect(self) -> "Iterator[Family]":
        """All metrics, those without a sample left out."""
        with self._lock:  # one answer at a time
            samples = [*self._from_database(), *self._from_disks()]
        for metric in METRICS:
            if found := [sample for sample in samples if sample.metric is metric]:
                yield _family(metric, found)

    def _from_database(self) -> list[Sample]:
        if self._asking is None or not self._asking.is_alive():
            self._stored = None
            self._asking = threading.Thread(target=self._read, name="metrics", daemon=True)
            self._asking.start()
        self._asking.join(DATABASE_WITHIN)
        stored = self._stored
        return [Sample(metrics.UP, (), stored is not None), *(stored or ())]

    def _read(self) -> None:
        try:
            self._stored = metrics.stored(self.project)
        except CarbonationError as error:
            log.debug("nothing to tell Prometheus: %s", error)  # the heartbeat says so aloud
        except Exception as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                log.exception("nothing to tell Prometheus")

    def _from_disks(self) -> Iterator[Sample]:
        config = self.project.config
        paths = [*(watch.path for watch in config.watch), *(archive.base for archive in config.archive)]
        return metrics.room(self.project, self._prober.ask(paths, DISKS_WITHIN))


def _family(metric: metrics.Metric, samples: list[Sample]) -> "Family":
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    name, meaning, labels = metric.name, metric.meaning.replace("`", ""), metric.labels
    if metric.kind is Kind.HISTOGRAM:
        spreads = HistogramMetricFamily(name, meaning, labels=labels)
        for sample in samples:
            assert isinstance(sample.value, Spread)
            spreads.add_metric(sample.labels, sample.value.buckets, sample.value.sum)
        return spreads
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(name, meaning, labels=labels)
    for sample in samples:
        assert not isinstance(sample.value, Spread)
        family.add_metric(sample.labels, sample.value)
    return family


class MetricsServer:
    """Listens where the configuration says, and nowhere unless it does."""

    def __init__(self, project: Project) -> None:
        self._collector = Collector(project)
        self._listening: _Listening | None = None
        self._listen()

    def follow(self, project: Project) -> None:
        """Tell of that one from now on, and listen where its configuration says."""
        before, self._collector.project = self._collector.project, project
        if before.config.metrics == project.config.metrics:
            return
        self.close()
        try:
            self._listen()
        except ServiceError as error:
            log.error("%s", error)

    def close(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def _listen(self) -> None:
        address = self._collector.project.config.metrics.address
        if address is not None:
            self._listening = _Listening(self._collector, *address)
            log.info("metrics for Prometheus: %s", self._listening.url)


class _Listening:
    def __init__(self, collector: Collector, host: str, port: int) -> None:
        # It takes a tenth of a second to import, for nothing where nobody asks.
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry()
        registry.register(collector)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ServiceError(
                f"the metrics cannot be had on {host} port {port}: {error.strerror}; "
                "choose another with [metrics] listen"
            ) from None
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
