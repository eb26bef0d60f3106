"""What Prometheus gets when it asks, over HTTP."""

import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from carbonation_core.config.sections import MetricsSection
from carbonation_core.disk import probe
from carbonation_core.project import Project
from carbonation_core.reports import metrics
from carbonation_dagster.service import metrics as served
from carbonation_dagster.service.metrics import MetricsServer
from carbonation_dagster.service.supervisor import ServiceError
from tests import databases
from tests.dagster._helpers.running import free_port
from tests.site import PAIRS, Site, SiteMaker

pytestmark = databases.one


def listening_on(site: Site, listen: str | None) -> Project:
    """The project with another `[metrics] listen`."""
    before = site.project
    config = before.config.model_copy(update={"metrics": MetricsSection(listen=listen)})
    return Project(config, before.plugin, before.engine, before.clock)


@pytest.fixture
def site(make: SiteMaker) -> Site:
    site = make(
        PAIRS, watch={"expect_every": '"1h"'}, more='[[watch.expect]]\nevery = "1h"\nwithin = "10m"\n'
    )
    site.deliver("run1.dat", "run1.json", "run2.dat")
    site.one_pass()
    return site


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def server(site: Site, port: int) -> Iterator[MetricsServer]:
    found = MetricsServer(listening_on(site, str(port)))
    yield found
    found.close()


def scraped(port: int) -> list[Sample]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return [sample for family in families for sample in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    (found,) = (one.value for one in samples if one.name == name and labels.items() <= one.labels.items())
    return found


@pytest.mark.usefixtures("server")
def test_what_is_served_is_what_is_described(port: int) -> None:
    found = scraped(port)
    assert value(found, "carbonation_up") == 1
    assert value(found, "carbonation_groups_total", watch="incoming", outcome="archived") == 1
    assert value(found, "carbonation_delivery_to_archive_seconds_count", watch="incoming") == 1
    assert value(found, "carbonation_delivery_to_archive_seconds_bucket", watch="incoming", le="5.0") == 1
    assert value(found, "carbonation_files", watch="incoming", status="waiting") == 1
    assert value(found, "carbonation_delivery_free_bytes", watch="incoming") > 0
    described = {metric.name: set(metric.labels) for metric in metrics.METRICS}
    for sample in found:
        name = sample.name
        if name not in described:
            name = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        assert sample.labels.keys() - {"le"} == described[name]


@pytest.mark.usefixtures("server")
def test_a_database_that_is_away_is_told_at_once_and_so_is_its_return(site: Site, port: int) -> None:
    file = Path(site.project.config.database.name)
    away = file.with_name("away")
    site.project.engine.dispose()
    file.rename(away)
    found = scraped(port)
    assert value(found, "carbonation_up") == 0
    assert {one.name for one in found} == {
        "carbonation_up",
        *(
            f"carbonation_{place}_{what}_bytes"
            for place in ("delivery", "archive")
            for what in ("free", "size")
        ),
    }
    away.rename(file)
    assert value(scraped(port), "carbonation_up") == 1


def test_a_database_that_does_not_answer_holds_nobody_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    end, asked = threading.Event(), []

    def hang(project: Project) -> list[metrics.Sample]:
        asked.append(project)
        end.wait()
        return []

    monkeypatch.setattr(served, "DATABASE_WITHIN", 0.05)
    monkeypatch.setattr(metrics, "stored", hang)
    collector = served.Collector(site.project)
    for _ in range(3):
        (up, *_) = collector.collect()
        assert [sample.value for sample in up.samples] == [0]
    assert len(asked) == 1
    end.set()


def test_a_mount_that_hangs_is_asked_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    end, asked, look = threading.Event(), [], probe._look

    def hang(path: object) -> probe.Probe:
        asked.append(path)
        if path == site.archive:
            end.wait()
        return look(path)  # type: ignore[arg-type]

    monkeypatch.setattr(served, "DISKS_WITHIN", 0.05)
    monkeypatch.setattr(probe, "_look", hang)
    collector = served.Collector(site.project)
    for _ in range(3):
        assert [one.name for one in collector.collect() if one.name.endswith("free_bytes")] == [
            "carbonation_delivery_free_bytes"
        ]
    assert asked.count(site.archive) == 1
    end.set()


def test_another_address_holds_after_a_reload_and_none_ends_it(
    site: Site, server: MetricsServer, port: int
) -> None:
    other = free_port()
    server.follow(listening_on(site, f"127.0.0.1:{other}"))
    assert value(scraped(other), "carbonation_up") == 1
    with pytest.raises(OSError, match="refused"):
        scraped(port)
    server.follow(listening_on(site, None))
    with pytest.raises(OSError, match="refused"):
        scraped(other)


@pytest.mark.usefixtures("server")
def test_an_address_that_is_taken_is_a_sentence(site: Site, port: int) -> None:
    with pytest.raises(ServiceError, match=f"the metrics cannot be had on 127.0.0.1 port {port}: .*listen"):
        MetricsServer(listening_on(site, str(port)))
