"""Metadata from delivered files. Whatever is raised here is the reason an operator reads."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


Time = Annotated[datetime, AfterValidator(_in_utc)]


class Sidecar(BaseModel):
    """What the JSON file has to say; whatever else stands in it is passed over."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    instrument: str = Field(min_length=1)
    start: Time
    stop: Time | None = None
    quality: float | None = None
    calibrated: bool | None = None


def sidecar(file_paths: list[Path]) -> dict[str, Any]:
    """The metadata in the JSON file beside the data; times without a zone are in UTC.

    Raises `ValueError` naming the file and what is wrong with it.
    """
    path = next((path for path in file_paths if path.suffix == ".json"), None)
    if path is None:
        names = ", ".join(path.name for path in file_paths)
        raise ValueError(f"there is no .json file to describe: {names}")
    try:
        return Sidecar.model_validate_json(path.read_bytes()).model_dump(exclude_none=True)
    except ValidationError as error:
        raise ValueError(f"{path.name}: {_in_words(error)}") from None


def _in_words(error: ValidationError) -> str:
    return "; ".join(
        f'"{fault["loc"][0]}": {fault["msg"]}' if fault["loc"] else fault["msg"]
        for fault in error.errors(include_url=False)
    )
