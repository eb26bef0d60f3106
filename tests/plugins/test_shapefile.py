"""Shapefiles, real ones and broken ones."""

import struct
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import shapefile
import shapefile_plugin
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import write_samples
from shapefile_plugin.extractors import ShapefileError, layer

from carbonation_core.config.loading import load_config
from carbonation_core.plugin import checked_metadata, load_plugin
from carbonation_core.rules.rule_sets import load_rules

PLUGINS = Path(__file__).parents[2] / "plugins"
NATURAL_EARTH = Path(__file__).parents[3] / "shared" / "data" / "shapefiles"
natural_earth = pytest.mark.skipif(not NATURAL_EARTH.is_dir(), reason="Natural Earth is not here")


def components(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.stem}.*"))


def described(path: Path) -> dict[str, Any]:
    metadata = layer(components(path))
    assert checked_metadata(shapefile_plugin.plugin, metadata) == metadata
    return metadata


def written(path: Path, kind: int = shapefile.POINT, points: int = 3) -> Path:
    with shapefile.Writer(str(path), shapeType=kind) as writer:
        writer.field("name", "C", size=10)
        for number in range(points):
            if kind == shapefile.NULL:
                writer.null()
            else:
                writer.point(number, -number)
            writer.record(f"p{number}")
    return path


@pytest.fixture
def points(tmp_path: Path) -> Path:
    return written(tmp_path / "points.shp")


def patched(path: Path, offset: int, content: bytes) -> None:
    old = path.read_bytes()
    path.write_bytes(old[:offset] + content + old[offset + len(content) :])


@natural_earth
def test_natural_earth_has_177_countries_as_polygons() -> None:
    metadata = described(NATURAL_EARTH / "naturalearth_lowres.shp")
    assert (metadata["geometry"], metadata["feature_count"]) == ("polygon", 177)
    assert metadata["field_names"] == ["pop_est", "continent", "name", "iso_a3", "gdp_md_est"]
    assert metadata["crs"] == "GCS_WGS_1984"
    assert (metadata["min_x"], metadata["min_y"]) == (-180.0, -90.0)


@natural_earth
def test_natural_earth_has_243_cities_as_points() -> None:
    metadata = described(NATURAL_EARTH / "naturalearth_cities.shp")
    assert (metadata["geometry"], metadata["feature_count"]) == ("point", 243)
    assert metadata["field_names"] == ["name"]


def test_a_layer_is_described_by_what_is_in_it(points: Path) -> None:
    assert described(points) == {
        "geometry": "point",
        "feature_count": 3,
        "min_x": 0.0,
        "min_y": -2.0,
        "max_x": 2.0,
        "max_y": 0.0,
        "field_names": ["name"],
        "crs": None,
    }


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('PROJCS["ETRS89 / UTM zone 32N",GEOGCS["ETRS89"]]', "ETRS89 / UTM zone 32N"),
        ('\ufeff GEOGCRS [ "WGS 84" ]', "WGS 84"),
    ],
)
def test_the_crs_is_the_first_name_of_the_prj(points: Path, text: str, name: str) -> None:
    points.with_suffix(".prj").write_text(text, encoding="utf-8")
    assert described(points)["crs"] == name


def test_a_prj_that_is_no_crs_is_named(points: Path) -> None:
    points.with_suffix(".prj").write_text("")
    with pytest.raises(ShapefileError, match=r"^points\.prj: should be a CRS"):
        layer(components(points))


@pytest.mark.parametrize("kind", [shapefile.POINT, shapefile.NULL])
def test_a_layer_without_geometry_has_no_extent(tmp_path: Path, kind: int) -> None:
    path = written(tmp_path / "empty.shp", kind, points=0 if kind == shapefile.POINT else 2)
    metadata = described(path)
    assert metadata["feature_count"] == (0 if kind == shapefile.POINT else 2)
    assert metadata["min_x"] is None


def test_a_field_name_is_read_in_the_encoding_of_the_cpg(points: Path) -> None:
    patched(points.with_suffix(".dbf"), 32, "größe".encode("latin-1"))
    points.with_suffix(".cpg").write_text("ISO-8859-1\n")
    assert described(points)["field_names"] == ["größe"]


@pytest.mark.parametrize("named", ["", "no such encoding"])
def test_an_encoding_that_nobody_knows_does_not_stop_a_layer(points: Path, named: str) -> None:
    points.with_suffix(".cpg").write_text(named)
    assert described(points)["field_names"] == ["name"]


@pytest.mark.parametrize("suffix", [".shp", ".shx", ".dbf"])
def test_a_missing_component_is_named(points: Path, suffix: str) -> None:
    points.with_suffix(suffix).unlink()
    with pytest.raises(ShapefileError, match=rf"missing: \{suffix}$"):
        layer(components(points))


@pytest.mark.parametrize("suffix", [".shp", ".shx", ".dbf"])
@pytest.mark.parametrize("kept", [0, 20, 90, -3])
def test_a_truncated_component_is_named(points: Path, suffix: str, kept: int) -> None:
    broken = points.with_suffix(suffix)
    broken.write_bytes(broken.read_bytes()[:kept])
    with pytest.raises(ShapefileError, match=rf"^points\{suffix}: .*\d+ bytes"):
        layer(components(points))


@pytest.mark.parametrize("suffix", [".shp", ".shx", ".dbf"])
def test_components_of_another_layer_are_noticed_by_their_count(points: Path, suffix: str) -> None:
    other = written(points.with_name("other.shp"), points=4).with_suffix(suffix)
    other.replace(points.with_suffix(suffix))
    with pytest.raises(ShapefileError, match=r"numbers of records differ: .*4"):
        layer(components(points))


def test_an_index_that_points_elsewhere_is_noticed(points: Path) -> None:
    patched(points.with_suffix(".shx"), 108, struct.pack(">I", 7))
    with pytest.raises(ShapefileError, match=r"^points\.shx: .* record 2 at byte 14 .* but it is at 128 "):
        layer(components(points))


def test_a_record_of_another_type_is_noticed(points: Path) -> None:
    patched(points, 108, struct.pack("<i", shapefile.POLYLINE))
    with pytest.raises(ShapefileError, match=r"^points"):
        layer(components(points))


def test_a_record_of_no_known_type_is_noticed(points: Path) -> None:
    patched(points, 108, struct.pack("<i", 99))
    with pytest.raises(ShapefileError, match=r"^points: cannot be read"):
        layer(components(points))


def test_a_file_of_another_kind_is_noticed(points: Path) -> None:
    patched(points, 0, b"PK\3\4")
    with pytest.raises(ShapefileError, match=r"does not begin like a \.shp file"):
        layer(components(points))


@settings(deadline=None, max_examples=100)  # its files take what the disk takes
@given(
    suffix=st.sampled_from([".shp", ".shx", ".dbf"]),
    offset=st.integers(0, 300),
    content=st.binary(min_size=1, max_size=8),
    kind=st.sampled_from(["stations", "tracks", "parcels"]),
)
def test_whatever_is_overwritten_the_layer_is_described_or_called_broken(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, offset: int, content: bytes, kind: str
) -> None:
    directory = tmp_path_factory.mktemp("layer")
    path = next(path for path in write_samples(directory, 3) if path.name.startswith(kind))
    patched(path.with_suffix(suffix), offset, content)
    with suppress(ShapefileError):
        described(path)


def test_samples_are_whole_and_numbered_on(tmp_path: Path) -> None:
    sent: list[list[str]] = []
    paths = write_samples(tmp_path, 4, lambda: sent.append(sorted(path.name for path in tmp_path.iterdir())))
    paths += write_samples(tmp_path, 4)
    assert len({path.name for path in paths}) == 8
    assert [len(names) for names in sent[:3]] == [1, 2, 3]
    found = [described(path) for path in paths]
    assert {metadata["geometry"] for metadata in found} == {"point", "polyline", "polygon"}
    assert [metadata["crs"] for metadata in found].count(None) == 2


def test_the_demo_project_is_valid_and_routes_by_geometry() -> None:
    config = load_config(PLUGINS / "shapefile" / "demo" / "config.toml")
    plugin = load_plugin(config)
    assert plugin is shapefile_plugin.plugin
    rules = load_rules(config.rules.file.read_text(), config, plugin.names).sets["shapefile"]
    assert rules.completeness is not None
    assert set(rules.completeness.optional_extensions) == {".prj", ".cpg"}
    assert config.archive_named("main").destination.endswith("/archive/{geometry}")


def test_the_package_does_not_hide_pyshp() -> None:
    project = tomllib.loads((PLUGINS / "shapefile" / "pyproject.toml").read_text())
    assert "shapefile" not in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert Path(shapefile.__file__).name == "shapefile.py"
