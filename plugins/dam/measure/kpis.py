"""KPIs: each number carries its definition, its query, its inputs' time range and the run that made it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import KpiReport, new_id, utcnow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services


@dataclass(frozen=True, slots=True)
class Kpi:
    """A number we report: its query returns value, number of input rows, first and last input time."""

    name: str
    label: str
    unit: str
    definition: str
    query: str
    empty: str


KPIS = (
    Kpi(
        "approval_hours",
        "Average approval time",
        "hours",
        "Mean time from freezing a package to its approval, for packages approved in the period.",
        """
SELECT avg(extract(epoch FROM closed_at - frozen_at)) / 3600, count(*), min(frozen_at), max(closed_at)
  FROM packages
 WHERE status = 'approved' AND closed_at >= :start AND closed_at < :end""",
        "No package was approved in the period.",
    ),
    Kpi(
        "reuse_ratio",
        "Reuse ratio",
        "of published assets",
        "Share of the assets published in the period that were published at least twice, to other channels or again.",
        """
SELECT avg(CASE WHEN uses >= 2 THEN 1.0 ELSE 0 END), count(*), min(first_at), max(last_at)
  FROM (SELECT v.asset_id, count(*) AS uses, min(p.probed_at) AS first_at, max(p.probed_at) AS last_at
          FROM publications p JOIN versions v ON v.id = p.version_id
         WHERE p.probed_at >= :start AND p.probed_at < :end
         GROUP BY v.asset_id) AS used""",
        "Nothing was published in the period.",
    ),
    Kpi(
        "first_time_right",
        "First-time-right rate",
        "of decided assets",
        "Share of the assets decided in the period whose first decided version was approved.",
        """
SELECT avg(CASE WHEN verdict = 'approve' THEN 1.0 ELSE 0 END), count(*), min(closed_at), max(closed_at)
  FROM (SELECT DISTINCT ON (v.asset_id) v.asset_id, e.verdict, k.closed_at
          FROM package_versions e
          JOIN packages k ON k.id = e.package_id AND k.status IN ('approved', 'changes_requested', 'rejected')
          JOIN versions v ON v.id = e.version_id
         ORDER BY v.asset_id, v.number, k.closed_at) AS first
 WHERE closed_at >= :start AND closed_at < :end""",
        "Nothing was decided in the period.",
    ),
    Kpi(
        "publish_hours",
        "Time to publish",
        "hours",
        "Mean time from a batch's arrival to the first live URL of each of its versions, for first publications"
        " in the period.",
        """
SELECT avg(extract(epoch FROM first_at - received_at)) / 3600, count(*), min(received_at), max(first_at)
  FROM (SELECT v.id, b.received_at, min(p.probed_at) AS first_at
          FROM publications p JOIN versions v ON v.id = p.version_id JOIN batches b ON b.id = v.batch_id
         WHERE p.probed_at IS NOT NULL
         GROUP BY v.id, b.received_at) AS firsts
 WHERE first_at >= :start AND first_at < :end""",
        "Nothing was published for the first time in the period.",
    ),
    Kpi(
        "cost_per_asset",
        "Cost per asset",
        "of the budget",
        "Budget of the campaigns that published in the period, divided by the assets they have published.",
        """
SELECT sum(budget) / nullif(sum(assets), 0), sum(assets), min(first_at), max(last_at)
  FROM (SELECT c.id, c.budget, count(DISTINCT a.id) AS assets,
               min(p.probed_at) AS first_at, max(p.probed_at) AS last_at
          FROM campaigns c
          JOIN assets a ON a.campaign_id = c.id
          JOIN versions v ON v.asset_id = a.id
          JOIN publications p ON p.version_id = v.id
         WHERE p.probed_at >= :start AND p.probed_at < :end
         GROUP BY c.id, c.budget) AS spent""",
        "No campaign published in the period.",
    ),
)

MOST_USED = """
SELECT a.name, p.channel, sum(f.hits) AS hits, sum(f.bytes) AS bytes
  FROM usage_facts f
  JOIN publications p ON p.id = f.publication_id
  JOIN versions v ON v.id = p.version_id
  JOIN assets a ON a.id = v.asset_id
 WHERE f.day >= :start AND f.day < :end
 GROUP BY a.name, p.channel
 ORDER BY hits DESC, a.name, p.channel
 LIMIT 20"""


def make_report(services: Services, *, start: datetime, end: datetime, run: str | None = None) -> dict[str, Any]:
    """Compute the KPIs of a period and store the report as HTML and JSON; the same period replaces its own.

    :param start: first moment of the period, aware. :param end: the moment after its last, aware.
    :returns: ``{"report_id", "kpis", "html_uri", "json_uri"}``; a KPI is ``{"name", "label", "value", "unit",
        "definition", "query", "parameters", "inputs": {"rows", "from", "to"}, "run", "explanation"}``; its value is
        None, with an explanation, when there was nothing to compute it from.
    """
    with services.session() as session:
        kpis = [_compute(session, kpi, start, end, run) for kpi in KPIS]
        used = [
            {"asset": name, "channel": channel, "hits": int(hits), "bytes": int(length)}
            for name, channel, hits, length in session.execute(
                text(MOST_USED), {"start": start.date(), "end": _day_after(end)}
            )
        ]
    body = {
        "from": start.isoformat(),
        "to": end.isoformat(),
        "made_at": utcnow().isoformat(timespec="seconds"),
        "run": run,
        "kpis": kpis,
        "most_used": {"rows": used, "query": MOST_USED.strip()},
    }
    name = f"kpi/{start:%Y%m%dT%H%M}-{end:%Y%m%dT%H%M}"
    reports = services.storage.reports
    as_json = reports.put(f"{name}.json", json.dumps(body, indent=2).encode(), media_type="application/json")
    as_html = reports.put(f"{name}.html", _html(services, body).encode(), media_type="text/html")
    with services.session() as session:
        statement = insert(KpiReport).values(
            id=new_id("kpi"),
            period_start=start,
            period_end=end,
            run_id=run,
            kpis=kpis,
            html_uri=as_html.uri,
            json_uri=as_json.uri,
            made_at=utcnow(),
        )
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["period_start", "period_end"],
                set_={key: statement.excluded[key] for key in ("run_id", "kpis", "html_uri", "json_uri", "made_at")},
            )
        )
        report_id = session.scalars(
            select(KpiReport.id).where(KpiReport.period_start == start, KpiReport.period_end == end)
        ).one()
        audit.record(
            session,
            actor="airflow",
            action="report.logged",
            subject_id=report_id,
            data={"from": start.isoformat(), "to": end.isoformat(), "html_uri": as_html.uri},
            run=run,
        )
    return {"report_id": report_id, "kpis": kpis, "html_uri": as_html.uri, "json_uri": as_json.uri}


def _day_after(moment: datetime) -> date:
    """Return the day after the period's last: days count as a whole."""
    return (moment.astimezone(UTC) + timedelta(days=1)).date()


def _compute(session: Session, kpi: Kpi, start: datetime, end: datetime, run: str | None) -> dict[str, Any]:
    parameters = {"start": start, "end": end}
    value, rows, first, last = session.execute(text(kpi.query), parameters).one()
    if isinstance(value, Decimal):
        value = float(value)
    return {
        "name": kpi.name,
        "label": kpi.label,
        "value": value,
        "unit": kpi.unit,
        "definition": kpi.definition,
        "query": kpi.query.strip(),
        "parameters": {name: moment.isoformat() for name, moment in parameters.items()},
        "inputs": {
            "rows": int(rows or 0),
            "from": first.isoformat() if first else None,
            "to": last.isoformat() if last else None,
        },
        "run": run,
        "explanation": None if value is not None else kpi.empty,
    }


def _html(services: Services, body: dict[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(services.settings.include / "templates" / "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    most = max((row["hits"] for row in body["most_used"]["rows"]), default=1)
    return environment.get_template("kpi.html.j2").render(
        most=most, **body | {"start": body["from"][:10], "end": body["to"][:10]}
    )
