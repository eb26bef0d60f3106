"""When the log's file is begun anew, and what is kept, as config.toml says it."""

import pytest

from carbonation_core.config.rotation import parse_retention, parse_rotation


@pytest.mark.parametrize("text", ["10 MB", "500kB", "1 GB", "1 day", "2 weeks", "1.5 hours", "30 seconds"])
def test_sizes_and_periods_are_read(text: str) -> None:
    rotation = parse_rotation(text)
    assert (rotation.size is None) != (rotation.period is None)
    assert str(rotation) == text


@pytest.mark.parametrize(
    "text",
    [
        "0 MB",
        "often",
        "10",
        "-1 day",
        "10 files",
        "1 year",
        "9" * 20 + " days",
        "9" * 400 + " MB",
        "0.0000001 days",
    ],
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="should be a size"):
        parse_rotation(text)


@pytest.mark.parametrize("text", ["30 days", "1 week", "10 files", "0 files"])
def test_periods_and_numbers_of_files_are_kept(text: str) -> None:
    retention = parse_retention(text)
    assert (retention.age is None) != (retention.files is None)
    assert str(retention) == text


@pytest.mark.parametrize("text", ["0 days", "1.5 files", "10 MB", "9" * 20 + " days"])
def test_what_keeps_nothing_or_for_ever_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="should be a period"):
        parse_retention(text)
