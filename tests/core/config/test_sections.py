"""What a table of config.toml says of paths and addresses, by itself."""

from typing import Any

import pytest

from carbonation_core.config.sections import Archive, MetricsSection, Watch


def watch(**keys: Any) -> Watch:
    return Watch.model_validate({"name": "w", "path": "/in", "rules": "r", **keys})


def archive(destination: str, base: str = "/data") -> Archive:
    return Archive.model_validate({"name": "a", "destination": destination, "base_path": base})


@pytest.mark.parametrize(
    ("name", "taken"),
    [("a.dat", True), ("a.DAT", False), ("a.tmp", False), (".a.dat", False), ("a.x", False)],
)
def test_ignored_patterns_win_and_case_counts(name: str, taken: bool) -> None:
    assert watch(patterns=["*.dat", "*.tmp"]).takes(name) is taken


def test_without_patterns_every_name_is_taken() -> None:
    assert watch().takes("anything")


@pytest.mark.parametrize("name", ["x.dat.part", "x.partial", "x.dat.filepart", "x.crdownload", "x.tmp", ".x"])
def test_uploads_that_stall_are_left_alone(name: str) -> None:
    assert not watch().takes(name)
    assert watch(ignore_patterns=[]).takes(name)


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("a.dat", True),
        ("site/a.dat", True),
        ("patterns.of/files.only/a.dat", True),
        (".rsync-partial/a.dat", False),
        ("site/.~tmp~/a.dat", False),
        (".snapshot/daily.0/a.dat", False),
        ("upload.part/a.dat", False),
        ("site/a.tmp", False),
    ],
)
def test_ignored_patterns_hold_for_every_directory_on_the_way(path: str, taken: bool) -> None:
    assert watch(recursive=True, patterns=["*.dat"]).takes(path) is taken
    assert watch(recursive=True, patterns=["*.dat"], ignore_patterns=[]).takes(path) is path.endswith(".dat")


def test_a_watch_that_is_not_recursive_takes_nothing_from_below() -> None:
    assert not watch().takes("site/a.dat")
    assert not watch().enters("site")
    assert watch(recursive=True).enters("site")


@pytest.mark.parametrize(("path", "root"), [("/in", "/in/"), ("/a/.hidden", "/a/.hidden/"), ("/", "/")])
def test_the_root_begins_the_path_of_each_file(path: str, root: str) -> None:
    assert watch(path=path).root == root


def test_a_root_is_spelled_as_text() -> None:
    assert watch(path="/in/\udce9").root == "/in/\\xe9/"


@pytest.mark.parametrize(
    ("destination", "path", "below"),
    [
        ("/data/{x}", "/data/.y/f", ".y/f"),
        ("/data/{x}", "/data", ""),
        ("/data/.a/.b/{x}", "/data/.a", ""),
        ("/data/.a/.b/{x}", "/data/.a/.b", ""),
        ("/data/.a/.b/{x}", "/data/.a/.b/.y/f", ".y/f"),
        ("/data/.a/.b/{x}", "/data/.y/f", ".y/f"),
        ("/data/a", "/data/a/f", "f"),
    ],
)
def test_what_a_destination_names_itself_is_no_part_below_it(destination: str, path: str, below: str) -> None:
    assert archive(destination).below(path) == below


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::1]:9464", ("::1", 9464)),
        (None, None),
    ],
)
def test_metrics_listen_on_the_loopback_address_unless_another_is_named(
    listen: str | None, address: tuple[str, int] | None
) -> None:
    assert MetricsSection(listen=listen).address == address


@pytest.mark.parametrize(
    "listen", ["", "0", "65536", ":9464", "127.0.0.1", "127.0.0.1:", "::1:9464", "a b:1"]
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ValueError, match=r"is no address of the form \"127.0.0.1:9464\""):
        MetricsSection(listen=listen)
