"""What the project makes of files that Carbonation has archived."""

import dagster as dg


@dg.asset(
    deps=[dg.AssetKey(["archive", "main"])],
    group_name="reports",
    automation_condition=dg.AutomationCondition.eager(),
)
def report() -> None:
    """Made anew whenever something was archived."""
