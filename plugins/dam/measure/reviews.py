"""How reviews go: time in a seat, rounds, what was late, and whom the work waits for.

A seat's time runs from its opening, not from the package's freezing: what waits for an earlier stage waits for that
stage. It ends with the last signature, or at the deadline when nobody signed. *Working time* counts only the hours
of the calendar its deadline is counted in. A seat that several people may sign waits for all of them alike, so its
time is split evenly among them: who signs is not blamed for who did not, and nobody is waited for while away.
"""

# ruff: noqa: S608 - every part that a query is put together from is a constant of ours

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from dam.measure.kpi import Kpi
from dam.review.annotations import name_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.workflow import Workflow


#: SQL: what of a note ``a`` is a must-fix that was noted here, and stands.
_MUST_FIX = "a.kind = 'must_fix' AND a.origin_id IS NULL AND a.withdrawn_at IS NULL"


def _in_force(decision: str) -> str:
    """Return the condition that a signature was not taken back."""
    return f"NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision_id = {decision}.id)"


#: SQL: the seats that closed in the period, signed or not, with when they opened and closed.
CLOSED = f"""
WITH closed AS (
    SELECT s.id, s.role, s.eligible, false AS overdue, s.opens_at AS opened, max(d.decided_at) AS closed,
           coalesce(s.due ->> 'calendar', '') AS calendar
      FROM decisions d
      JOIN seats s ON s.id = d.seat_id AND s.status = 'signed'
     WHERE d.decided_at >= :start AND d.decided_at < :end AND {_in_force("d")}
       AND NOT EXISTS (SELECT 1 FROM decisions later
                        WHERE later.seat_id = s.id AND later.decided_at >= :end AND {_in_force("later")})
     GROUP BY s.id
    UNION ALL
    SELECT s.id, s.role, s.eligible, true, s.opens_at, s.due_at, coalesce(s.due ->> 'calendar', '')
      FROM seats s
     WHERE s.status IN ('open', 'expired') AND s.due_at >= :start AND s.due_at < :end)"""


def _hours(spans: str) -> str:
    """Return the length of a multirange in hours. :param spans: an expression."""
    total = f"SELECT sum(upper(span) - lower(span)) FROM unnest({spans}) AS span"
    return f"CAST(coalesce(extract(epoch FROM ({total})), 0) / 3600 AS float)"


#: SQL: the same with their hours; ``:working`` is JSON, calendar's name → its working times (a multirange).
SEATS = f"""{CLOSED}, calendars AS MATERIALIZED (
    SELECT key AS name, CAST(value AS tstzmultirange) AS times FROM jsonb_each_text(CAST(:working AS jsonb))
), waiting AS (
    SELECT c.*, k.times * tstzmultirange(tstzrange(c.opened, greatest(c.opened, c.closed))) AS spans
      FROM closed c
      JOIN calendars k ON k.name = CASE WHEN c.calendar IN (SELECT name FROM calendars) THEN c.calendar ELSE '' END
), seat AS (
    SELECT w.*, CAST(extract(epoch FROM w.closed - w.opened) / 3600 AS float) AS hours,
           {_hours("w.spans")} AS working
      FROM waiting w)"""


def _time(hours: str) -> str:
    """Return the query of a time in a seat. :param hours: the column, ``hours`` or ``working``."""
    return f"""{SEATS}
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY {hours}) AS value, count(*) AS rows,
       min(opened) AS first, max(closed) AS last, percentile_cont(0.9) WITHIN GROUP (ORDER BY {hours}) AS p90,
       percentile_cont(ARRAY[0, 0.25, 0.5, 0.75, 1]) WITHIN GROUP (ORDER BY {hours}) AS spread
  FROM seat"""


def _counts(number: str, what: str, table: str) -> str:
    """Return the breakdown of a number: how many of what have each. :param number: a column of the table."""
    return f"""(SELECT jsonb_agg(jsonb_build_object('name', n, 'count', {what}) ORDER BY n)
          FROM (SELECT {number} AS n, count(*) AS {what} FROM {table} GROUP BY {number}) AS each)"""


_NO_SEAT = "No seat closed in the period."
_ENDS = "to its last signature, or to its deadline when nobody signed, over the seats that closed in the period"

KPIS = (
    Kpi(
        "seat_working_hours",
        "Working time in a seat",
        "working",
        "hours of working time",
        f"Median working time from a seat's opening {_ENDS}. Working time is that of the calendar the seat's deadline"
        " is counted in.",
        _time("working"),
        _NO_SEAT,
        section="reviews",
    ),
    Kpi(
        "seat_hours",
        "Time in a seat, by the clock",
        "hours",
        "hours",
        f"Median time by the clock, nights and weekends too, from a seat's opening {_ENDS}.",
        _time("hours"),
        _NO_SEAT,
        section="reviews",
    ),
    Kpi(
        "overdue_share",
        "Overdue seats",
        "share",
        "of seats",
        "Share of the seats that closed in the period whose deadline passed before everybody needed had signed.",
        f"""{SEATS}
SELECT avg(CASE WHEN overdue THEN 1.0 ELSE 0.0 END) AS value, count(*) AS rows,
       min(opened) AS first, max(closed) AS last, count(*) FILTER (WHERE overdue) AS part
  FROM seat""",
        _NO_SEAT,
        section="reviews",
    ),
    Kpi(
        "rounds_per_asset",
        "Rounds to an approval",
        "number",
        "rounds per approval",
        "Mean number of decided reviews that an asset went through from its last approval, or from its beginning, to"
        " its approval in the period. 1 is right the first time. Reviews that became void or expired decided nothing"
        " and do not count.",
        f"""
WITH approved AS (
    SELECT v.asset_id, k.closed_at
      FROM packages k
      JOIN package_versions e ON e.package_id = k.id AND e.verdict = 'approve'
      JOIN versions v ON v.id = e.version_id
     WHERE k.purpose = 'release' AND k.status = 'approved' AND k.closed_at >= :start AND k.closed_at < :end
     GROUP BY v.asset_id, k.closed_at
), counted AS (
    SELECT a.asset_id, a.closed_at, count(DISTINCT k.id) AS rounds, min(k.frozen_at) AS first
      FROM approved a
      JOIN versions v ON v.asset_id = a.asset_id
      JOIN package_versions e ON e.version_id = v.id AND e.verdict IS NOT NULL
      JOIN packages k ON k.id = e.package_id AND k.status IN ('approved', 'changes_requested', 'rejected')
                     AND k.closed_at <= a.closed_at AND k.purpose = 'release'
     WHERE NOT EXISTS (
               SELECT 1
                 FROM versions before
                 JOIN package_versions x ON x.version_id = before.id AND x.verdict = 'approve'
                 JOIN packages y ON y.id = x.package_id AND y.purpose = 'release' AND y.status = 'approved'
                WHERE before.asset_id = a.asset_id AND y.closed_at >= k.closed_at AND y.closed_at < a.closed_at)
     GROUP BY a.asset_id, a.closed_at)
SELECT avg(rounds) AS value, count(*) AS rows, min(first) AS first, max(closed_at) AS last,
       {_counts("rounds", "assets", "counted")} AS breakdown
  FROM counted""",
        "Nothing was approved in the period.",
        section="reviews",
        beside="approvals by how many rounds they took",
    ),
    Kpi(
        "must_fixes_per_version",
        "Must-fixes per version",
        "number",
        "per reviewed version",
        "Mean number of must-fixes noted on a version, over the versions whose review was decided in the period. One"
        " that was taken back does not count, one that travelled to the next version counts where it was noted.",
        f"""
WITH reviewed AS (
    SELECT DISTINCT ON (e.version_id) k.frozen_at, k.closed_at,
           (SELECT count(*) FROM annotations a WHERE a.version_id = e.version_id AND {_MUST_FIX}) AS fixes
      FROM package_versions e
      JOIN packages k ON k.id = e.package_id AND k.status IN ('approved', 'changes_requested', 'rejected')
     WHERE k.purpose = 'release' AND e.verdict IS NOT NULL AND k.closed_at >= :start AND k.closed_at < :end
     ORDER BY e.version_id, k.closed_at DESC)
SELECT avg(fixes) AS value, count(*) AS rows, min(frozen_at) AS first, max(closed_at) AS last,
       {_counts("fixes", "versions", "reviewed")} AS breakdown
  FROM reviewed""",
        "Nothing was decided in the period.",
        section="reviews",
        beside="versions by how many must-fixes they had",
    ),
    Kpi(
        "bottleneck",
        "Most waited for",
        "parts",
        "of the waiting",
        "Share of the role that seats waited for longest in all the working time that seats waited, over the seats that"
        " closed in the period. A seat's waiting begins when it opens: an earlier stage's is not counted against it.",
        f"""{SEATS}, roles AS (
    SELECT role, count(*) AS seats, sum(working) AS waited, min(opened) AS first, max(closed) AS last
      FROM seat GROUP BY role)
SELECT max(waited) / nullif(sum(waited), 0) AS value, coalesce(sum(seats), 0) AS rows, min(first) AS first,
       max(last) AS last,
       jsonb_agg(jsonb_build_object('name', role, 'seats', seats, 'hours', waited) ORDER BY waited DESC, role)
           AS breakdown
  FROM roles""",
        "No seat closed in the period, or none was waited for in working time.",
        section="reviews",
    ),
)

BY_ROLE = f"""{SEATS}
SELECT role, count(*) AS seats, count(*) FILTER (WHERE overdue) AS overdue, sum(working) AS waited,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY working) AS median_working,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY working) AS p90_working,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY hours) AS median, percentile_cont(0.9) WITHIN GROUP (ORDER BY hours)
           AS p90
  FROM seat
 GROUP BY role
 ORDER BY waited DESC, role"""

#: SQL: the times at which who is asked was away; nobody waits for them then.
_AWAY = """coalesce((
               SELECT range_agg(tstzrange(a.starts_at, greatest(a.starts_at, coalesce(a.ended_at, a.ends_at))))
                 FROM absences a
                WHERE a.person = asked.person AND a.starts_at < seat.closed AND a.ends_at > seat.opened), '{}')"""

BY_PERSON = f"""{SEATS}, asked AS (
    SELECT seat.id, asked.person, seat.overdue, cardinality(seat.eligible) AS people,
           {_hours(f"seat.spans - {_AWAY}")} AS working
      FROM seat
     CROSS JOIN unnest(seat.eligible) AS asked (person))
SELECT person, count(*) AS seats, count(*) FILTER (WHERE overdue) AS overdue,
       count(*) FILTER (WHERE EXISTS (
           SELECT 1 FROM decisions d WHERE d.seat_id = asked.id AND d.person = asked.person AND {_in_force("d")})
       ) AS signed,
       sum(working / people) AS waited, percentile_cont(0.5) WITHIN GROUP (ORDER BY working) AS median_working
  FROM asked
 GROUP BY person
 ORDER BY waited DESC, person
 LIMIT 20"""


def parameters(services: Services, session: Session, start: datetime, end: datetime) -> dict[str, Any]:
    """Return what the queries are given beside the period: the working times from the first seat's opening on."""
    first = session.scalar(text(f"{CLOSED} SELECT min(opened) FROM closed"), {"start": start, "end": end})
    return {"working": working_times(services.workflow, min(first or start, start), end)}


def tables(services: Services, session: Session, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return whom seats waited for, by role and by person, the most waited for first.

    :param given: ``start``, ``end`` and ``working``.
    :returns: ``{"roles", "people"}``, each ``{"rows", "query"}``; hours are floats.
    """
    by_person = [
        {**row, "name": name_of(services, row["person"])} for row in session.execute(text(BY_PERSON), given).mappings()
    ]
    return {
        "roles": {
            "rows": [dict(row) for row in session.execute(text(BY_ROLE), given).mappings()],
            "query": BY_ROLE.strip(),
        },
        "people": {"rows": by_person, "query": BY_PERSON.strip()},
    }


def working_times(workflow: Workflow, first: datetime, last: datetime) -> str:
    """Return when each calendar of the workflow works, from the day of one moment to the day of another.

    :returns: JSON: calendar's name → a ``tstzmultirange``; the name ``""`` is the default's.
    """
    told = {}
    for name, calendar in {"": workflow.calendar(), **workflow.calendars}.items():
        day, until = first.astimezone(calendar.zone).date(), last.astimezone(calendar.zone).date()
        spans = []
        while day <= until:
            if calendar.works_on(day):
                start, end = (moment.astimezone(UTC) for moment in calendar.span(day))
                spans.append(f"[{start:%Y-%m-%dT%H:%MZ},{end:%Y-%m-%dT%H:%MZ})")
            day += timedelta(days=1)
        told[name] = "{" + ",".join(spans) + "}"
    return json.dumps(told)
