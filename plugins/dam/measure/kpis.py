"""KPIs: each number carries its definition, its query, its inputs' time range and the run that made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import KpiReport, new_id, utcnow
from dam.errors import BadInput
from dam.measure import reviews
from dam.measure.kpi import Kpi, shown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services


#: SQL: whether a decided version ``v`` with its package's entry ``e`` was right the first time.
RIGHT_AT_ONCE = """e.verdict = 'approve' AND NOT EXISTS (
                   SELECT 1
                     FROM versions earlier
                     JOIN package_versions x ON x.version_id = earlier.id
                     JOIN packages y ON y.id = x.package_id
                    WHERE earlier.asset_id = v.asset_id AND earlier.number < v.number
                      AND x.verdict IN ('request_changes', 'reject') AND y.purpose = 'release'
                      AND y.status IN ('approved', 'changes_requested', 'rejected'))"""

KPIS = (
    Kpi(
        "approval_hours",
        "Average approval time",
        "hours",
        "hours",
        "Mean time from freezing a package to its approval, over the packages approved in the period.",
        """
SELECT avg(hours) AS value, count(*) AS rows, min(frozen_at) AS first, max(closed_at) AS last,
       percentile_cont(ARRAY[0, 0.25, 0.5, 0.75, 1]) WITHIN GROUP (ORDER BY hours) AS spread
  FROM (SELECT frozen_at, closed_at, CAST(extract(epoch FROM closed_at - frozen_at) / 3600 AS float) AS hours
          FROM packages
         WHERE purpose = 'release' AND status = 'approved' AND closed_at >= :start AND closed_at < :end) AS approved""",
        "No package was approved in the period.",
    ),
    Kpi(
        "first_time_right",
        "First-time-right rate",
        "share",
        "of decided versions",
        "Share of the versions decided in the period that were approved in the first review of their asset: no"
        " earlier version of it was rejected or sent back.",
        f"""
SELECT avg(CASE WHEN first_time THEN 1.0 ELSE 0.0 END) AS value, count(*) AS rows,
       min(frozen_at) AS first, max(closed_at) AS last, count(*) FILTER (WHERE first_time) AS part
  FROM (SELECT DISTINCT ON (e.version_id) k.frozen_at, k.closed_at,
               {RIGHT_AT_ONCE} AS first_time
          FROM package_versions e
          JOIN packages k ON k.id = e.package_id AND k.status IN ('approved', 'changes_requested', 'rejected')
          JOIN versions v ON v.id = e.version_id
         WHERE k.purpose = 'release' AND e.verdict IS NOT NULL AND k.closed_at >= :start AND k.closed_at < :end
         ORDER BY e.version_id, k.closed_at DESC) AS decided""",  # noqa: S608 - a constant of ours
        "Nothing was decided in the period.",
        "most",
    ),
    Kpi(
        "publish_hours",
        "Time to publish",
        "hours",
        "hours",
        "Mean time from a batch's arrival to the first live URL of each of its versions, over the versions first"
        " published in the period. Merged versions count as one, from the first arrival.",
        """
SELECT avg(hours) AS value, count(*) AS rows, min(received_at) AS first, max(first_at) AS last,
       percentile_cont(ARRAY[0, 0.25, 0.5, 0.75, 1]) WITHIN GROUP (ORDER BY hours) AS spread
  FROM (SELECT min(b.received_at) AS received_at, min(p.probed_at) AS first_at,
               CAST(extract(epoch FROM min(p.probed_at) - min(b.received_at)) / 3600 AS float) AS hours
          FROM publications p
          JOIN versions v ON v.id = p.version_id
          JOIN batches b ON b.id = v.batch_id
         WHERE p.probed_at IS NOT NULL
         GROUP BY coalesce(v.merged_into_id, v.id)
        HAVING min(p.probed_at) >= :start AND min(p.probed_at) < :end) AS published""",
        "Nothing was published for the first time in the period.",
    ),
    Kpi(
        "reuse_ratio",
        "Reuse ratio",
        "share",
        "of published assets",
        "Share of the assets published in the period that went to at least two channels or campaigns. What was"
        " published of a version that was merged since counts for the asset that was kept.",
        """
SELECT avg(CASE WHEN uses >= 2 THEN 1.0 ELSE 0.0 END) AS value, count(*) AS rows,
       min(first_at) AS first, max(last_at) AS last, count(*) FILTER (WHERE uses >= 2) AS part
  FROM (SELECT count(DISTINCT (p.channel, coalesce(k.campaign_id, ''))) AS uses,
               min(p.probed_at) AS first_at, max(p.probed_at) AS last_at
          FROM publications p
          JOIN versions v ON v.id = p.version_id
          LEFT JOIN versions kept ON kept.id = v.merged_into_id
          LEFT JOIN packages k ON k.id = p.package_id
         WHERE p.probed_at >= :start AND p.probed_at < :end
         GROUP BY coalesce(kept.asset_id, v.asset_id)) AS used""",
        "Nothing was published in the period.",
        "most",
    ),
    Kpi(
        "cost_per_asset",
        "Cost per asset",
        "money",
        "per asset",
        "Budget of the campaigns that ran in the period, divided by their assets with a version that is approved or"
        " live, or once was live. Campaigns without such an asset are left out, and merged assets count as"
        " one.",
        """
WITH cost AS (
    SELECT c.slug, c.name, c.currency, c.budget, count(DISTINCT coalesce(kept.asset_id, a.id)) AS assets,
           min(v.created_at) AS first_at, max(v.state_changed_at) AS last_at
      FROM campaigns c
      JOIN assets a ON a.campaign_id = c.id
      JOIN versions v ON v.asset_id = a.id
      LEFT JOIN versions kept ON kept.id = v.merged_into_id
     WHERE c.starts_on <= CAST(:end AS timestamptz) AND c.ends_on >= CAST(CAST(:start AS timestamptz) AS date)
       AND (v.state IN ('approved', 'live')
            OR EXISTS (SELECT 1 FROM publications p WHERE p.version_id = v.id AND p.probed_at IS NOT NULL))
       AND v.batch_id NOT IN (SELECT id FROM batches WHERE source = 'brief')
     GROUP BY c.id)
SELECT CASE WHEN count(DISTINCT currency) = 1 THEN sum(budget) / sum(assets) END AS value,
       coalesce(sum(assets), 0) AS rows, min(first_at) AS first, max(last_at) AS last,
       array_agg(DISTINCT currency ORDER BY currency) AS currencies,
       jsonb_agg(jsonb_build_object('slug', slug, 'campaign', name, 'currency', currency, 'budget', budget,
                                    'assets', assets, 'cost', budget / assets) ORDER BY name, slug) AS breakdown
  FROM cost""",
        "No campaign that ran in the period has an asset that was approved.",
    ),
    *reviews.KPIS,
)

TARGETS = """
SELECT name, kpi_targets
  FROM campaigns
 WHERE starts_on <= CAST(:end AS timestamptz) AND ends_on >= CAST(CAST(:start AS timestamptz) AS date)
   AND kpi_targets <> '{}'
 ORDER BY name, slug"""

MOST_USED = """
SELECT a.id, a.name, p.channel, sum(f.hits) AS hits, sum(f.bytes) AS bytes
  FROM usage_facts f
  JOIN publications p ON p.id = f.publication_id
  JOIN versions v ON v.id = p.version_id
  LEFT JOIN versions kept ON kept.id = v.merged_into_id
  JOIN assets a ON a.id = coalesce(kept.asset_id, v.asset_id)
 WHERE f.day BETWEEN :first_day AND :last_day
 GROUP BY a.id, a.name, p.channel
 ORDER BY hits DESC, a.name, p.channel
 LIMIT 20"""

BY_TIME = """
SELECT CAST(step AS date), coalesce(sum(f.hits), 0) AS hits, coalesce(sum(f.bytes), 0) AS bytes
  FROM generate_series(date_trunc(:step, CAST(:first_day AS timestamp)), CAST(:last_day AS timestamp),
                       CAST('1 ' || :step AS interval)) AS step
  LEFT JOIN usage_facts f ON f.day >= step AND f.day < step + CAST('1 ' || :step AS interval)
                         AND f.day BETWEEN :first_day AND :last_day
 GROUP BY step
 ORDER BY step"""


def make_report(services: Services, *, start: datetime, end: datetime, run: str | None = None) -> dict[str, Any]:
    """Compute the KPIs of a period and store the report as HTML and JSON; the same period replaces its own.

    All numbers are read from one snapshot of the catalogue.

    :param start: first moment of the period, aware. :param end: the moment after its last, aware.
    :returns: ``{"report_id", "kpis", "html_uri", "json_uri"}``; a KPI is ``{"name", "label", "value", "shown", "unit",
        "format", "aim", "section", "beside", "definition", "query", "parameters", "inputs": {"rows", "from", "to"},
        "run", "explanation", "targets"}`` and, by its format, ``spread``, ``median`` and ``p90``, ``part``, or
        ``breakdown``. Its value is None, with an explanation, when there was nothing to compute it from.
    :raises BadInput: the period is empty, or its moments name no time zone.
    """
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise BadInput(
            f"{start} to {end} is no period", where="KPI report", remedy="Give two moments with time zone, in order."
        )
    with services.session() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        parameters = {"start": start, "end": end}
        targets = {str(name): told for name, told in session.execute(text(TARGETS), parameters)}
        given = parameters | reviews.parameters(services, session, start, end)
        kpis = [_compute(session, kpi, given, targets, run) for kpi in KPIS]
        waiting = reviews.tables(services, session, given)
        usage = _usage(session, start, end)
    body = {
        "from": start.isoformat(),
        "to": end.isoformat(),
        "made_at": utcnow().isoformat(timespec="seconds"),
        "run": run,
        "kpis": kpis,
        "waiting": waiting | {"parameters": _told(given)},
        **usage,
    }
    name = f"kpi/{start.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{end.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}"
    reports = services.storage.reports
    as_json = reports.put(
        f"{name}.json", json.dumps(body, indent=2, ensure_ascii=False).encode(), media_type="application/json"
    )
    as_html = reports.put(f"{name}.html", render(services, body).encode(), media_type="text/html")
    report_id = _log(services, start, end, kpis, html_uri=as_html.uri, json_uri=as_json.uri, run=run)
    return {"report_id": report_id, "kpis": kpis, "html_uri": as_html.uri, "json_uri": as_json.uri}


def _log(
    services: Services,
    start: datetime,
    end: datetime,
    kpis: list[dict[str, Any]],
    *,
    html_uri: str,
    json_uri: str,
    run: str | None,
) -> str:
    """Write the report's row, or replace the one of the same period; return its id."""
    with services.session() as session:
        statement = insert(KpiReport).values(
            id=new_id("kpi"),
            period_start=start,
            period_end=end,
            run_id=run,
            kpis=kpis,
            html_uri=html_uri,
            json_uri=json_uri,
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
            data={"from": start.isoformat(), "to": end.isoformat(), "html_uri": html_uri},
            run=run,
        )
    return report_id


# ----------------------------------------------------------------------------------------------- numbers


def _compute(
    session: Session, kpi: Kpi, given: Mapping[str, Any], targets: dict[str, Any], run: str | None
) -> dict[str, Any]:
    parameters = {name: value for name, value in given.items() if f":{name}" in kpi.query}
    row = dict(session.execute(text(kpi.query), parameters).mappings().one())
    value = None if row["value"] is None else float(row["value"])
    unit, explanation = kpi.unit, None if value is not None else kpi.empty
    extra = _beside(kpi, row)
    if kpi.format == "money":
        currencies = row["currencies"] or []
        if len(currencies) == 1:
            unit = f"{currencies[0]} {kpi.unit}"
        elif currencies:
            explanation = (
                f"The budgets are in {' and '.join(currencies)}, so there is no one number; see each campaign."
            )
    elif kpi.format == "parts" and value is not None:
        unit = f"{kpi.unit} was for the {extra['breakdown'][0]['name'].replace('_', ' ')}"
    return {
        "name": kpi.name,
        "label": kpi.label,
        "value": value,
        "shown": shown(kpi.format, value),
        "unit": unit,
        "format": kpi.format,
        "aim": kpi.aim,
        "section": kpi.section,
        "beside": kpi.beside,
        "definition": kpi.definition,
        "query": kpi.query.strip(),
        "parameters": _told(parameters),
        "inputs": {
            "rows": int(row["rows"]),
            "from": row["first"].isoformat() if row["first"] else None,
            "to": row["last"].isoformat() if row["last"] else None,
        },
        "run": run,
        "explanation": explanation,
        "targets": _targets(kpi, value, targets),
        **extra,
    }


def _beside(kpi: Kpi, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a KPI's format shows beside its value."""
    if kpi.format in ("hours", "working"):
        if not row["spread"]:
            return {}
        found = {"spread": [float(hours) for hours in row["spread"]], "median": float(row["spread"][2])}
        return found | ({"p90": float(row["p90"])} if "p90" in row else {})
    if kpi.format == "share":
        return {"part": int(row["part"])}
    return {"breakdown": row["breakdown"] or []}


def _told(parameters: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else str(value) for name, value in parameters.items()
    }


def _targets(kpi: Kpi, value: float | None, targets: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the running campaigns' briefs aim at, and whether the value meets it."""
    found = []
    for campaign, told in targets.items():
        target = told.get(kpi.name)
        if isinstance(target, int | float):
            met = None if value is None else (value >= target if kpi.aim == "most" else value <= target)
            found.append({"campaign": campaign, "target": target, "shown": shown(kpi.format, target), "met": met})
    return found


def _usage(session: Session, start: datetime, end: datetime) -> dict[str, Any]:
    """Return what was asked for at the origin: by time, and the most used assets by channel."""
    first_day = start.astimezone(UTC).date()
    last_day = (end.astimezone(UTC) - timedelta(microseconds=1)).date()  # facts are by whole days
    days = (last_day - first_day).days + 1
    step = "day" if days <= 120 else "week" if days <= 840 else "month"
    parameters: dict[str, date] = {"first_day": first_day, "last_day": last_day}
    told = {name: day.isoformat() for name, day in parameters.items()}
    by_time = [
        {"from": day.isoformat(), "hits": int(hits), "bytes": int(length)}
        for day, hits, length in session.execute(text(BY_TIME), {**parameters, "step": step})
    ]
    used = [
        {"asset_id": asset_id, "asset": name, "channel": channel, "hits": int(hits), "bytes": int(length)}
        for asset_id, name, channel, hits, length in session.execute(text(MOST_USED), parameters)
    ]
    return {
        "by_time": {"step": step, "rows": by_time, "query": BY_TIME.strip(), "parameters": told | {"step": step}},
        "most_used": {"rows": used, "query": MOST_USED.strip(), "parameters": told},
    }


# -------------------------------------------------------------------------------------------------- page


def render(services: Services, body: dict[str, Any]) -> str:
    """Return a report as one self-contained HTML page. :param body: what the JSON file holds."""
    environment = Environment(
        loader=FileSystemLoader(services.settings.include / "templates" / "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"day": _day, "size": _size, "nice": _nice}
    environment.globals["shown"] = shown
    last_day = (datetime.fromisoformat(body["to"]).astimezone(UTC) - timedelta(microseconds=1)).date()
    first_day = datetime.fromisoformat(body["from"]).astimezone(UTC).date()
    return environment.get_template("kpi.html.j2").render(
        report=body,
        first_day=first_day.isoformat(),
        last_day=last_day.isoformat(),
        web_url=services.settings.web_url.rstrip("/"),
    )


def _day(value: str) -> str:
    """Return an ISO date or moment as ``3 March 2027``."""
    day = datetime.fromisoformat(value)
    return f"{day.day} {day:%B %Y}"


def _size(count: int) -> str:
    """Return a number of bytes with its unit, in powers of 1000."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _nice(most: int) -> int:
    """Return a round number at or above ``most``, for the top of an axis."""
    power: int = 10 ** max(0, len(str(max(most, 1))) - 1)
    return next(power * step for step in (1, 2, 5, 10) if power * step >= most)
