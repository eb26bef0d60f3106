"""Small shapefiles, delivered as a real sender does it: one component after the other."""

import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import shapefile  # type: ignore[import-untyped]  # pyshp brings no types

WGS_84 = (
    'GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],'
    'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]'
)
KINDS = {"stations": shapefile.POINT, "tracks": shapefile.POLYLINE, "parcels": shapefile.POLYGON}


def write_samples(directory: Path, count: int, delay: Callable[[], None] | None = None) -> list[Path]:
    """Deliver `count` shapefiles into `directory`; the paths of their .shp files.

    Stations, tracks and parcels take turns, and every fourth has no .prj. They
    are numbered on from those that are there. `delay` is called after each file;
    files come in the order of their names, as rsync and sftp send them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    first = 1 + len(list(directory.glob("*.shp")))
    delivered = []
    for number in range(first, first + count):
        kind = list(KINDS)[number % len(KINDS)]
        for suffix, content in _components(kind, number).items():
            path = directory / f"{kind}_{number:04}{suffix}"
            path.write_bytes(content)
            if delay is not None:
                delay()
        delivered.append(directory / f"{kind}_{number:04}.shp")
    return delivered


def _components(kind: str, number: int) -> dict[str, bytes]:
    shp, shx, dbf = BytesIO(), BytesIO(), BytesIO()
    with shapefile.Writer(shp=shp, shx=shx, dbf=dbf, shapeType=KINDS[kind]) as writer:
        writer.field("name", "C", size=20)
        writer.field("size", "N", size=8, decimal=2)
        for feature in range(3 + number % 5):
            size = 1 + feature / 4
            ring = _ring(10 * math.sin(number) + 3 * feature, 50 + 5 * math.cos(number), size)
            if kind == "stations":
                writer.point(*ring[0])
            elif kind == "tracks":
                writer.line([ring])
            else:
                writer.poly([ring])
            writer.record(f"{kind} {feature}", size)
    files = {".cpg": b"UTF-8", ".dbf": dbf.getvalue()}
    if number % 4:
        files[".prj"] = WGS_84.encode()
    return {**files, ".shp": shp.getvalue(), ".shx": shx.getvalue()}


def _ring(x: float, y: float, size: float) -> list[tuple[float, float]]:
    """A closed ring of six corners, clockwise as a polygon's outer one must be."""
    turns = [-math.tau * corner / 6 for corner in range(6)]
    corners = [(x + size * math.cos(turn), y + size * math.sin(turn)) for turn in turns]
    return [*corners, corners[0]]
