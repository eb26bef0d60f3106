"""Metadata of a shapefile, which is read from its first record to its last.

pyshp passes over much that is wrong with a shapefile, so lengths, counts and
the index are compared here, by the layout of ESRI's "Shapefile Technical
Description" (July 1998), before pyshp reads the records themselves.
"""

import codecs
import math
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import shapefile  # type: ignore[import-untyped]  # pyshp brings no types

REQUIRED = (".shp", ".shx", ".dbf")
HEADER_BYTES = 100  # of a .shp and a .shx
FILE_CODE = 9994  # how both begin
NULL_SHAPE = 0  # may stand for any feature that has no geometry
# What pyshp lets through from where bytes are not what their place says.
UNREADABLE = (
    shapefile.ShapefileException,
    struct.error,
    ArithmeticError,
    AssertionError,
    LookupError,
    TypeError,
    ValueError,
)


class ShapefileError(Exception):
    """The files are not one whole shapefile."""


def layer(file_paths: list[Path]) -> dict[str, Any]:
    """Geometry, number of features, extent, field names and CRS of one shapefile.

    Raises `ShapefileError` naming the file and what is wrong with it.
    """
    paths = {path.suffix.lower(): path for path in file_paths}
    missing = [suffix for suffix in REQUIRED if suffix not in paths]
    if missing:
        raise ShapefileError(f"a shapefile needs {', '.join(REQUIRED)}; missing: {', '.join(missing)}")
    with (
        paths[".shp"].open("rb") as shp,
        paths[".shx"].open("rb") as shx,
        paths[".dbf"].open("rb") as dbf,
    ):
        index = _index(shx, paths[".shx"].name)
        records = _records(shp, paths[".shp"].name)
        counts = {".shp": len(records), ".shx": len(index), ".dbf": _row_count(dbf, paths[".dbf"].name)}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{suffix} {count}" for suffix, count in counts.items())
            raise ShapefileError(f"{paths['.shp'].name}: the numbers of records differ: {said}")
        for number, (record, entry) in enumerate(zip(records, index, strict=True), 1):
            if record != entry:
                raise ShapefileError(
                    f"{paths['.shx'].name}: the index has record {number} at byte {2 * entry[0]} "
                    f"with {2 * entry[1]} bytes, but it is at {2 * record[0]} with {2 * record[1]}"
                )
        described = _described(shp, dbf, _encoding(paths), paths[".shp"].stem)
    return {**described, "feature_count": len(records), "crs": _crs(paths.get(".prj"))}


def _body(file: BinaryIO, name: str) -> int:
    """The length of a .shp or .shx, which stands after its header; its header says the same."""
    header, length = file.read(HEADER_BYTES), file.seek(0, os.SEEK_END)
    if len(header) < HEADER_BYTES:
        raise ShapefileError(f"{name}: {length} bytes are less than a header of {HEADER_BYTES}")
    code, words = struct.unpack_from(">i20xI", header)
    if code != FILE_CODE:
        raise ShapefileError(f"{name}: does not begin like a {name[-4:]} file")
    if 2 * words != length:
        raise ShapefileError(f"{name}: is {length} bytes long, but its header says {2 * words}")
    file.seek(HEADER_BYTES)
    return length


def _index(shx: BinaryIO, name: str) -> list[tuple[int, int]]:
    """Where the .shx has each record, and how long it is, in words of two bytes."""
    length = _body(shx, name)
    if (length - HEADER_BYTES) % 8:
        raise ShapefileError(f"{name}: its last entry is cut short")
    return list(struct.iter_unpack(">II", shx.read()))


def _records(shp: BinaryIO, name: str) -> list[tuple[int, int]]:
    """Where each record of the .shp is, and how long it is, in words of two bytes."""
    length, position = _body(shp, name), HEADER_BYTES
    records = []
    while position < length:
        shp.seek(position)
        header = shp.read(8)
        words = struct.unpack(">4xI", header)[0] if len(header) == 8 else 0
        records.append((position // 2, words))
        position += 8 + 2 * words
    if position > length:
        raise ShapefileError(f"{name}: record {len(records)} goes beyond the end of the file")
    return records


def _row_count(dbf: BinaryIO, name: str) -> int:
    header, length = dbf.read(32), dbf.seek(0, os.SEEK_END)
    if len(header) < 32:
        raise ShapefileError(f"{name}: {length} bytes are less than a header of 32")
    rows, header_bytes, row_bytes = struct.unpack_from("<4xIHH", header)
    needed = header_bytes + rows * row_bytes
    if length < needed:
        raise ShapefileError(f"{name}: {rows} rows need {needed} bytes, but it has {length}")
    return int(rows)


def _described(shp: BinaryIO, dbf: BinaryIO, encoding: str, stem: str) -> dict[str, Any]:
    try:
        # Values that are not in the encoding say nothing against the file.
        reader = shapefile.Reader(shp=shp, dbf=dbf, encoding=encoding, encodingErrors="replace")
        kind, drawn = reader.shapeType, 0
        for number, shape in enumerate(reader.iterShapes(), 1):
            if shape.shapeType not in (kind, NULL_SHAPE):
                raise ShapefileError(f"{stem}.shp: record {number} is not of type {reader.shapeTypeName}")
            drawn += shape.shapeType != NULL_SHAPE
        for _ in reader.iterRecords():
            pass
        geometry, bounds = reader.shapeTypeName.lower(), reader.bbox
        names = [field[0] for field in reader.fields if field[0] != "DeletionFlag"]
    except UNREADABLE as error:
        raise ShapefileError(f"{stem}: cannot be read: {type(error).__name__}: {error}") from error
    extent = dict.fromkeys(("min_x", "min_y", "max_x", "max_y"))
    if drawn:
        if not all(map(math.isfinite, bounds)):
            raise ShapefileError(f"{stem}.shp: its header has no extent: {', '.join(map(str, bounds))}")
        extent = dict(zip(extent, map(float, bounds), strict=True))
    return {"geometry": geometry, "field_names": names, **extent}


def _encoding(paths: Mapping[str, Path]) -> str:
    """What the .cpg names, if Python knows it; UTF-8 otherwise."""
    if ".cpg" not in paths:
        return "utf-8"
    try:
        return codecs.lookup(paths[".cpg"].read_text(encoding="ascii").strip()).name
    except (LookupError, ValueError):
        return "utf-8"


def _crs(prj: Path | None) -> str | None:
    """The name that comes first in the well-known text of a .prj."""
    if prj is None:
        return None
    match = re.match(r'\s*\w+\s*[\[(]\s*"([^"]*)"', prj.read_text(encoding="utf-8-sig", errors="replace"))
    if match is None:
        raise ShapefileError(f'{prj.name}: should be a CRS as text, such as GEOGCS["WGS 84", …]')
    return match[1]
