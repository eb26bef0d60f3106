"""Writes docs/metrics.md from the metrics: python -m tests.docs.metrics_page > docs/metrics.md."""

import re
from pathlib import Path

from carbonation_core.lifecycle import GivenBack, Outcome
from carbonation_core.reports.metrics import METRICS
from tests.docs.glossary_page import comments
from tests.docs.pages import table

PROSE = (Path(__file__).parent / "metrics_prose.md").read_text(encoding="utf-8")


def page() -> str:
    """The whole page."""
    reasons = comments(GivenBack)
    generated = {
        "metrics": table(
            ("metric", "kind", "labels", "it is"),
            (
                (
                    f"`{metric.name}`",
                    metric.kind,
                    ", ".join(f"`{label}`" for label in metric.labels),
                    metric.meaning,
                )
                for metric in METRICS
            ),
        ),
        "outcomes": ", ".join(f"`{outcome}`" for outcome in Outcome),
        "reasons": table(("reason", "why"), ((f"`{why}`", reasons[why]) for why in GivenBack)),
    }
    return re.sub(r"<!-- (\S+) -->", lambda mark: generated[mark[1]], PROSE)


if __name__ == "__main__":
    print(page(), end="")
