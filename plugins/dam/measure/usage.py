"""Reads the origin's access log into usage facts, each line exactly once.

The offset and the facts are written in one transaction, under a lock on the log's row. A log that was
rotated (another inode under its name) is finished under its rotated name first. A last line that is still
being written is left for the next time.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import Publication, UsageCursor, UsageFact, utcnow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: Combined Log Format of the Apache HTTP Server.
_COMBINED = re.compile(
    rb'^\S+ \S+ \S+ \[(?P<at>[^\]]+)\] "(?P<method>[A-Z]+) (?P<path>\S+)[^"]*" (?P<status>\d{3}) (?P<bytes>\d+|-)'
    rb'(?: "[^"]*" "(?P<agent>(?:[^"\\]|\\.)*)")?'
)
PROBE = b"airflow-dam-probe"
BLOCK = 8 << 20


def read_log(services: Services, *, run: str | None = None) -> dict[str, Any]:
    """Read what is new in ``settings.access_log`` (combined or W3C extended format).

    Requests by our own probes, failed requests and paths of no publication are counted, not kept.

    :returns: ``{"lines", "counted", "probes", "failed", "unknown", "bad"}``.
    """
    totals: dict[str, int] = dict.fromkeys(("lines", "counted", "probes", "failed", "unknown", "bad"), 0)
    if not services.settings.access_log:
        return totals
    live = Path(services.settings.access_log)
    for log in (live.with_name(live.name + ".1"), live):
        while log.exists() and _read_block(services, log, totals, run):
            pass
    return totals


def _read_block(services: Services, log: Path, totals: dict[str, int], run: str | None) -> bool:
    """Read one block of a log in a transaction of its own; return whether there may be more."""
    with services.session() as session, log.open("rb") as stream:
        inode = log.stat().st_ino
        name = f"{inode}"
        session.execute(insert(UsageCursor).values(log=name, offset=0, read_at=utcnow()).on_conflict_do_nothing())
        cursor = session.get_one(UsageCursor, name, with_for_update=True, populate_existing=True)
        if cursor.offset > log.stat().st_size:  # truncated in place: begin again
            cursor.offset = 0
        stream.seek(cursor.offset)
        block = stream.read(BLOCK)
        end = block.rfind(b"\n") + 1
        if not end:
            return False
        counts: dict[str, int] = dict.fromkeys(totals, 0)
        facts = _parse(block[:end].splitlines(), _published(session), counts)
        rows = [
            {"day": day, "publication_id": publication, "path": path, "hits": hits, "bytes": length}
            for (day, publication, path), (hits, length) in sorted(facts.items())
        ]
        for start in range(0, len(rows), 5000):
            statement = insert(UsageFact).values(rows[start : start + 5000])
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=["day", "publication_id", "path"],
                    set_={
                        "hits": UsageFact.hits + statement.excluded.hits,
                        "bytes": UsageFact.bytes + statement.excluded.bytes,
                    },
                )
            )
        cursor.offset += end
        cursor.read_at = utcnow()
        audit.record(session, actor="airflow", action="usage.read", subject_id=f"log-{name}", data=counts, run=run)
    for key, value in counts.items():
        totals[key] += value
    return len(block) == BLOCK


def _published(session: Session) -> dict[str, str]:
    """Return path → publication id of everything that was ever published."""
    found: dict[str, str] = {}
    for publication_id, endpoints in session.execute(
        select(Publication.id, Publication.endpoints).order_by(Publication.id)
    ):
        for endpoint in endpoints:
            found[urlsplit(endpoint["url"]).path] = publication_id
    return found


def _parse(
    lines: list[bytes], published: dict[str, str], counts: dict[str, int]
) -> dict[tuple[date, str, str], list[int]]:
    facts: dict[tuple[date, str, str], list[int]] = defaultdict(lambda: [0, 0])
    days: dict[bytes, date] = {}
    fields: list[bytes] = []
    for line in lines:
        counts["lines"] += 1
        if line.startswith(b"#"):  # W3C extended log file format: directives
            if line.startswith(b"#Fields:"):
                fields = line.split()[1:]
            continue
        try:
            hit = _w3c(line, fields) if fields else _combined(line, days)
        except (ValueError, KeyError, IndexError):
            counts["bad"] += 1
            continue
        if PROBE in hit[4]:
            counts["probes"] += 1
        elif not 200 <= hit[2] < 300:
            counts["failed"] += 1
        elif (publication := published.get(hit[1])) is None:
            counts["unknown"] += 1
        else:
            counts["counted"] += 1
            fact = facts[(hit[0], publication, hit[1])]
            fact[0] += 1
            fact[1] += hit[3]
    return facts


def _combined(line: bytes, days: dict[bytes, date]) -> tuple[date, str, int, int, bytes]:
    match = _COMBINED.match(line)
    if match is None:
        raise ValueError("no line of the combined format")
    stamp = match["at"]
    day = days.get(stamp)
    if day is None:
        moment = datetime.strptime(stamp.decode("ascii"), "%d/%b/%Y:%H:%M:%S %z")
        day = days[stamp] = moment.astimezone(UTC).date()
    length = 0 if match["bytes"] == b"-" else int(match["bytes"])
    path = urlsplit(match["path"].decode("utf-8", "replace")).path
    return day, path, int(match["status"]), length, match["agent"] or b""


def _w3c(line: bytes, fields: list[bytes]) -> tuple[date, str, int, int, bytes]:
    row = dict(zip(fields, line.split(), strict=True))
    length = row.get(b"sc-bytes", b"-")
    return (
        date.fromisoformat(row[b"date"].decode("ascii")),
        row[b"cs-uri-stem"].decode("utf-8", "replace"),
        int(row[b"sc-status"]),
        0 if length == b"-" else int(length),
        row.get(b"cs(User-Agent)", b""),
    )
