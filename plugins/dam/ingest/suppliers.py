"""Suppliers' scorecards: what they sent, and how much of it was whole, in time and right at once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from dam.errors import NotFound
from dam.measure.kpis import RIGHT_AT_ONCE

if TYPE_CHECKING:
    from dam.services import Services

#: Each share with what it is a share of, and its definition: the numbers' own explanation.
SHARES = {
    "complete": (
        "checked",
        "Versions that met their metadata contract when it was first held to them, of those that were checked.",
    ),
    "on_time": (
        "due",
        "Versions of deliverables that arrived on their due day or before, of all that answer a deliverable.",
    ),
    "first_time_right": (
        "decided",
        "Versions approved in the first review of their asset, of those that reviewers decided about.",
    ),
    "refused": ("files", "Files in quarantine or waiting for a person to say what they are, of all that arrived."),
}
_COUNTS = ("batches", "files", "bytes", "missing", "duplicates", "refused", "complete", "checked", "on_time", "due",
           "first_time_right", "decided")  # fmt: skip

#: One row for each supplier and month of arrival (UTC), with every count.
QUERY = f"""
WITH mine AS (
    SELECT id, supplier, received_at, notes, to_char(received_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month
      FROM batches WHERE supplier IS NOT NULL AND supplier = coalesce(:supplier, supplier)),
arrived AS (
    SELECT m.id, count(*) AS files, sum(f.bytes) AS bytes,
           count(*) FILTER (WHERE f.outcome = 'duplicate') AS duplicates,
           count(*) FILTER (WHERE f.outcome IN ('quarantined', 'opaque')) AS refused
      FROM mine m JOIN batch_files f ON f.batch_id = m.id GROUP BY m.id),
checked AS (
    SELECT batch_id AS id, count(*) AS checked, count(*) FILTER (WHERE complete) AS complete
      FROM (SELECT DISTINCT ON (c.version_id) c.batch_id, c.complete
              FROM contract_results c JOIN mine m ON m.id = c.batch_id
             ORDER BY c.version_id, c.checked_at, c.id) AS first
     GROUP BY batch_id),
due AS (
    SELECT m.id, count(*) AS due,
           count(*) FILTER (WHERE CAST(m.received_at AT TIME ZONE 'UTC' AS date) <= d.due_on) AS on_time
      FROM mine m
      JOIN versions v ON v.batch_id = m.id
      JOIN assets a ON a.id = v.asset_id
      JOIN deliverables d ON d.id = a.deliverable_id
     GROUP BY m.id),
decided AS (
    SELECT batch_id AS id, count(*) AS decided, count(*) FILTER (WHERE first_time) AS first_time_right
      FROM (SELECT DISTINCT ON (e.version_id) v.batch_id,
                   {RIGHT_AT_ONCE} AS first_time
              FROM package_versions e
              JOIN packages k ON k.id = e.package_id AND k.status IN ('approved', 'changes_requested', 'rejected')
              JOIN versions v ON v.id = e.version_id
              JOIN mine m ON m.id = v.batch_id
             WHERE k.purpose = 'release' AND e.verdict IS NOT NULL
             ORDER BY e.version_id, k.closed_at DESC) AS latest
     GROUP BY batch_id)
SELECT supplier, month, count(*) AS batches, coalesce(sum(files), 0) AS files, coalesce(sum(bytes), 0) AS bytes,
       sum((SELECT count(*) FROM jsonb_array_elements(notes) AS note WHERE note ->> 'kind' = 'missing')) AS missing,
       coalesce(sum(duplicates), 0) AS duplicates, coalesce(sum(refused), 0) AS refused,
       coalesce(sum(complete), 0) AS complete, coalesce(sum(checked), 0) AS checked,
       coalesce(sum(on_time), 0) AS on_time, coalesce(sum(due), 0) AS due,
       coalesce(sum(first_time_right), 0) AS first_time_right, coalesce(sum(decided), 0) AS decided,
       max(received_at) AS latest
  FROM mine
  LEFT JOIN arrived USING (id) LEFT JOIN checked USING (id) LEFT JOIN due USING (id) LEFT JOIN decided USING (id)
 GROUP BY supplier, month
 ORDER BY supplier, month"""  # noqa: S608 - a constant of ours


def overview(services: Services) -> list[dict[str, Any]]:
    """Return every supplier's scorecard over all time, by name.

    :returns: rows of ``{"supplier", "latest", "batches", "files", "bytes", "missing", "duplicates"}`` and, for each
        of :data:`SHARES`, its count and its ``…_share`` (0..1; None where there is nothing to share).
    """
    totals: dict[str, Counter[str]] = {}
    latest: dict[str, str] = {}
    for row in _rows(services, None):
        totals.setdefault(row["supplier"], Counter()).update({name: row[name] for name in _COUNTS})
        latest[row["supplier"]] = row["latest"]
    return [{"supplier": name, "latest": latest[name], **_card(counts)} for name, counts in totals.items()]


def by_month(services: Services, *, supplier: str) -> list[dict[str, Any]]:
    """Return a supplier's scorecard by month of arrival, the newest first; rows as of :func:`overview`.

    :raises NotFound: nothing ever came from there.
    """
    rows = _rows(services, supplier)
    if not rows:
        raise NotFound("nothing ever came from this supplier", where=supplier, remedy="See DAM → Batches → Suppliers.")
    return [
        {"month": row["month"], "latest": row["latest"], **_card({name: row[name] for name in _COUNTS})}
        for row in reversed(rows)
    ]


def _rows(services: Services, supplier: str | None) -> list[dict[str, Any]]:
    with services.session() as session:
        found = session.execute(text(QUERY), {"supplier": supplier}).mappings().all()
        return [
            dict(row) | {name: int(row[name]) for name in _COUNTS} | {"latest": row["latest"].isoformat()}
            for row in found
        ]


def _card(counts: dict[str, int] | Counter[str]) -> dict[str, Any]:
    shares = {
        f"{name}_share": counts[name] / counts[whole] if counts[whole] else None for name, (whole, _) in SHARES.items()
    }
    return {name: counts[name] for name in _COUNTS} | shares
