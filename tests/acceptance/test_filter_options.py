"""Which options the columns of a plugin make, and how their values are printed."""

import enum
import importlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import pytest
from click.testing import CliRunner
from sqlalchemy import Enum, Interval, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from carbonation_core import FileBase
from carbonation_dagster.cli import main
from carbonation_dagster.cli.filter_options import filter_options, filters_from
from tests.site import make_site


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class File(FileBase):
    __tablename__ = "files"

    colour: Mapped[Colour | None] = mapped_column(Enum(Colour))
    uuid: Mapped[UUID | None] = mapped_column(Uuid())
    late: Mapped[timedelta | None] = mapped_column(Interval())


def asked(*arguments: str) -> tuple[Any, str]:
    """The filters that these options make, and what was said."""
    made: list[dict[str, object]] = []

    def callback(**options: object) -> None:
        made.append(filters_from(File, options, datetime(2026, 1, 1, tzinfo=UTC)))

    command = click.Command("files", params=[*filter_options(File, [])], callback=callback)
    result = CliRunner().invoke(command, arguments)
    return (made or [None])[0], result.output


def test_words_spans_and_ids_are_options() -> None:
    one = UUID("12345678-1234-5678-1234-567812345678")
    line = f"--colour RED --colour GREEN --uuid {one} --late-min PT1H30M --late-max 2h"
    assert asked(*line.split())[0] == {
        "colour": ("RED", "GREEN"),
        "uuid": (one,),
        "late_min": timedelta(minutes=90),
        "late_max": timedelta(hours=2),
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--colour BLUE", "'BLUE' is not one of 'RED', 'GREEN'"),
        ("--uuid 5", "'5' is not a valid UUID"),
        ("--late-min soon", '"soon" should be a duration such as'),
    ],
)
def test_a_value_that_is_none_is_wrong_usage(line: str, said: str) -> None:
    made, output = asked(*line.split())
    assert made is None
    assert said in output


COLOURED = """
import enum
import importlib
from datetime import timedelta
from uuid import UUID
from sqlalchemy import Enum, Interval, Uuid
from sqlalchemy.orm import Mapped, mapped_column
from carbonation_core import FileBase, Plugin

class Colour(enum.Enum):
    RED = 1

class File(FileBase):
    __tablename__ = "files"
    colour: Mapped[Colour | None] = mapped_column(Enum(Colour))
    uuid: Mapped[UUID | None] = mapped_column(Uuid())
    late: Mapped[timedelta | None] = mapped_column(Interval())

def describe(file_paths):
    return {"colour": Colour.RED, "uuid": UUID(int=1), "late": timedelta(minutes=90)}

plugin = Plugin(File, extractors={"describe": describe})
"""


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_words_spans_and_ids_are_printed_as_json_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    name = f"coloured_{form}"
    (tmp_path / f"{name}.py").write_text(COLOURED)
    monkeypatch.syspath_prepend(tmp_path)
    plugin = importlib.import_module(name).plugin
    rules = '[single]\n[single.metadata]\nextract = "describe"\n'
    site = make_site(tmp_path, rules, plugin=plugin, more=f'[plugins]\npackage = "{name}"\n')
    site.deliver("a.bin")
    site.one_pass()
    line = ["-c", str(tmp_path / "config.toml"), "query", "files", "--columns", "colour,late,uuid"]
    said = CliRunner().invoke(main, [*line, "--colour", "RED", "--format", form]).stdout
    for word in ("RED", "PT1H30M", "00000000-0000-0000-0000-000000000001"):
        assert word in said
    site.close()
