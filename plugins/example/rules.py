"""Functions that rules.toml names where its own conditions do not suffice."""

from typing import Any


def good_enough(*, metadata: dict[str, Any], minimum: float) -> bool:
    """Whether the quality is not below `minimum`. A delivery of unknown quality is kept."""
    quality = metadata.get("quality")
    return quality is None or quality >= minimum
