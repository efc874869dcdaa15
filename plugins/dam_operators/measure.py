"""Measure: usage facts from the origin's access log, and the KPI report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dam_operators.base import DamOperator, run_name

if TYPE_CHECKING:
    from airflow.sdk import Context


class UsageOperator(DamOperator):
    """Reads what is new in the origin's access log into usage facts. Returns counts of lines."""

    def work(self, context: Context) -> dict[str, Any]:
        """Read the log."""
        from dam.measure import usage

        return usage.read_log(self.services, run=run_name(context))


class KpiReportOperator(DamOperator):
    """Makes the KPI report of a period, HTML and JSON; each number carries its query.

    :param start: first moment of the period, ISO 8601 (templated).
    :param end: the moment after its last (templated).
    """

    template_fields: Sequence[str] = ("start", "end")

    def __init__(self, *, start: str, end: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.end = end

    def work(self, context: Context) -> dict[str, Any]:
        """Make the report."""
        from dam.measure import kpis

        return kpis.make_report(
            self.services,
            start=datetime.fromisoformat(str(self.start)),
            end=datetime.fromisoformat(str(self.end)),
            run=run_name(context),
        )
