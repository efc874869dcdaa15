"""Reads the origin's access log into usage facts, each line exactly once.

The offset and the facts are written in one transaction, under a lock on the cursor's row. A cursor belongs
to a file, not to a name: it is known by inode and first line, so that a log that was rotated (``access.log.1``,
``.2``, …, not yet compressed) is finished where its reading stopped, and a new or truncated log begins at its
start. A copy made by *copytruncate* has another inode; its first line names it. A last line that is still
being written is left for the next time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import UsageCursor, UsageFact, utcnow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: Combined Log Format of the Apache HTTP Server (the common format, without referrer and agent, fits too).
_COMBINED = re.compile(
    rb'\S+ \S+ \S+ \[([^\]]+)\] "([A-Z]+) (\S+)[^"]*" (\d{3}) (\d+|-)'
    rb'(?: "[^"\\]*(?:\\.[^"\\]*)*" "([^"\\]*(?:\\.[^"\\]*)*)")?'
)
#: One field of the W3C Extended Log File Format: bare, or quoted with doubled quotes inside.
_FIELD = re.compile(rb'"((?:[^"]|"")*)"|(\S+)')
PROBE = b"airflow-dam-probe"
BLOCK = 8 << 20  # bytes read, parsed and committed at a time

#: Publications whose endpoints name one of some paths: by the key in our origin store or by the whole URL.
_PUBLISHED = text(
    """
SELECT DISTINCT ON (wanted.path) wanted.path, p.id
  FROM unnest(CAST(:paths AS text[]), CAST(:names AS jsonb[])) AS wanted(path, name)
  JOIN publications p ON p.endpoints @> wanted.name
 ORDER BY wanted.path, p.id DESC"""
)

COUNTS = ("lines", "counted", "probes", "failed", "other_methods", "unknown", "bad")


class _Hit(NamedTuple):
    """What counts of one request."""

    day: date
    method: bytes
    path: bytes
    status: int
    length: int
    agent: bytes


def read_log(services: Services, *, run: str | None = None) -> dict[str, Any]:
    """Read what is new in ``settings.access_log`` (combined or W3C extended format) and its rotated files.

    Only successful GET requests of people to published paths become usage facts. All others are counted: our
    own probes, failed requests (no 2xx), other methods, paths of no publication, and lines that are of
    neither format (the first of them is returned, so that somebody can see what is wrong).

    :returns: ``{"lines", "counted", "probes", "failed", "other_methods", "unknown", "bad"}`` and ``first_bad``.
    """
    totals: dict[str, Any] = dict.fromkeys(COUNTS, 0) | {"first_bad": None}
    if services.settings.access_log:
        for log in _files(Path(services.settings.access_log)):
            while _read_block(services, log, totals, run):
                pass
    return totals


def _files(live: Path) -> list[Path]:
    """Return the log's files, the oldest first: ``access.log.2``, ``access.log.1``, ``access.log``."""
    numbers = [
        int(found.name.removeprefix(f"{live.name}."))
        for found in live.parent.glob(f"{live.name}.*")
        if found.name.removeprefix(f"{live.name}.").isdigit()
    ]
    return [live.with_name(f"{live.name}.{number}") for number in sorted(numbers, reverse=True)] + [live]


def _read_block(services: Services, log: Path, totals: dict[str, Any], run: str | None) -> bool:
    """Read one block of a log in a transaction of its own; return whether there may be more."""
    try:
        stream = log.open("rb")
    except FileNotFoundError:  # not written yet, or rotated away at this moment
        return False
    with stream, services.session() as session:
        cursor = _cursor(session, services.settings.access_log, log, stream)
        if cursor is None:
            return False
        stream.seek(cursor.offset)
        block = stream.read(BLOCK)
        full = len(block) == BLOCK
        end = block.rfind(b"\n") + 1
        if not end and not full:
            return False
        counts: dict[str, Any] = dict.fromkeys(COUNTS, 0) | {"first_bad": None}
        # A block without any line end is no log; it is passed over as a bad line.
        seen, cursor.fields = _parse(block[: end or BLOCK].splitlines(), cursor.fields, counts)
        _store(session, _facts(services, session, seen, counts))
        cursor.offset += end or BLOCK
        cursor.read_at = utcnow()
        audit.record(
            session, actor="airflow", action="usage.read", subject_id=f"log-{cursor.head[:12]}", data=counts, run=run
        )
    for key in COUNTS:
        totals[key] += counts[key]
    totals["first_bad"] = totals["first_bad"] or counts["first_bad"]
    return full


def _cursor(session: Session, name: str, log: Path, stream: BinaryIO) -> UsageCursor | None:
    """Return the file's cursor, locked; None while the file has no whole line."""
    found = os.fstat(stream.fileno())
    head = _head(stream)
    if head is None:
        return None
    key = f"{name} inode {found.st_ino} {head[:16]}"
    cursor = session.get(UsageCursor, key, with_for_update=True)
    if cursor is None:
        begun = None
        if str(log) != name:  # a rotated file that was copied: go on where the original was left
            begun = session.scalars(
                select(UsageCursor)
                .where(UsageCursor.head == head, UsageCursor.log.startswith(f"{name} inode ", autoescape=True))
                .order_by(UsageCursor.offset.desc())
                .limit(1)
            ).first()
        session.execute(
            insert(UsageCursor)
            .values(
                log=key,
                head=head,
                offset=begun.offset if begun else 0,
                fields=begun.fields if begun else "",
                read_at=utcnow(),
            )
            .on_conflict_do_nothing()
        )
        cursor = session.get_one(UsageCursor, key, with_for_update=True, populate_existing=True)
    if cursor.offset > found.st_size:  # truncated in place, and begun by the same line
        cursor.offset, cursor.fields = 0, ""
    return cursor


def _head(stream: BinaryIO) -> str | None:
    """Return the SHA-256 of a log's start up to its first request line; None while that is not whole."""
    digest = hashlib.sha256()
    stream.seek(0)
    while line := stream.readline(BLOCK):
        if not line.endswith(b"\n") and len(line) < BLOCK:
            return None
        digest.update(line)
        if not line.startswith(b"#"):
            return digest.hexdigest()
    return None


# ------------------------------------------------------------------------------------------------- parse

_Seen = dict[tuple[date, bytes], list[int]]


def _parse(lines: Iterable[bytes], fields: str, counts: dict[str, Any]) -> tuple[_Seen, str]:
    """Count lines by day and raw path; return ``[hits, bytes]`` of each, and the W3C fields in force."""
    seen: _Seen = defaultdict(lambda: [0, 0])
    days: dict[bytes, date] = {}
    names = fields.encode().split()
    for line in lines:
        if line.startswith(b"#"):  # W3C directives
            if line.startswith(b"#Fields:"):
                names = line.split()[1:]
            continue
        if not line:
            continue
        counts["lines"] += 1
        try:
            hit = _w3c(line, names) if names else _combined(line, days)
        except (ValueError, KeyError):
            counts["bad"] += 1
            counts["first_bad"] = counts["first_bad"] or line[:200].decode("utf-8", "replace")
            continue
        if hit.agent.startswith(PROBE):
            counts["probes"] += 1
        elif not 200 <= hit.status < 300:
            counts["failed"] += 1
        elif hit.method != b"GET":
            counts["other_methods"] += 1
        else:
            total = seen[(hit.day, hit.path.partition(b"?")[0])]
            total[0] += 1
            total[1] += hit.length
    return seen, b" ".join(names).decode("utf-8", "replace")


def _combined(line: bytes, days: dict[bytes, date]) -> _Hit:
    match = _COMBINED.match(line)
    if match is None:
        raise ValueError("no line of the combined format")
    stamp, method, path, status, length, agent = match.groups()
    minute = stamp[:17] + stamp[20:]  # day and zone follow from it; parsing a time is slow
    day = days.get(minute)
    if day is None:
        moment = datetime.strptime(stamp.decode("ascii"), "%d/%b/%Y:%H:%M:%S %z")
        day = days[minute] = moment.astimezone(UTC).date()
    return _Hit(day, method, path, int(status), 0 if length == b"-" else int(length), agent or b"")


def _w3c(line: bytes, names: list[bytes]) -> _Hit:
    if b'"' in line:
        values = [quoted.replace(b'""', b'"') or bare for quoted, bare in _FIELD.findall(line)]
    else:
        values = line.split()
    row = dict(zip(names, values, strict=True))
    length = row.get(b"sc-bytes", b"-")
    return _Hit(
        date.fromisoformat(row[b"date"].decode("ascii")),
        row.get(b"cs-method", b"GET"),
        row[b"cs-uri-stem"] if b"cs-uri-stem" in row else row[b"cs-uri"],
        int(row[b"sc-status"]),
        0 if length == b"-" else int(length),
        row.get(b"cs(User-Agent)", b""),
    )


# ------------------------------------------------------------------------------------------------- facts


def _facts(services: Services, session: Session, seen: _Seen, counts: dict[str, Any]) -> list[dict[str, Any]]:
    """Turn counts by raw path into rows of usage facts; what belongs to no publication is only counted."""
    paths = {raw: _path(raw) for _, raw in seen}
    published = _published(services, session, set(paths.values()))
    rows: dict[tuple[date, str, str], dict[str, Any]] = {}
    for (day, raw), (hits, length) in seen.items():
        path = paths[raw]
        publication_id = published.get(path)
        if publication_id is None:
            counts["unknown"] += hits
            continue
        counts["counted"] += hits
        row = rows.setdefault(
            (day, publication_id, path),
            {"day": day, "publication_id": publication_id, "path": path, "hits": 0, "bytes": 0},
        )
        row["hits"] += hits
        row["bytes"] += length
    return [rows[key] for key in sorted(rows)]  # sorted: two readers lock rows in the same order


def _path(raw: bytes) -> str:
    """Return the path a request asked for, decoded; the target may be a whole URL (RFC 9112, 3.2.2)."""
    asked = raw.decode("utf-8", "replace").replace("\x00", "")
    return unquote(asked if asked.startswith("/") else urlsplit(asked).path).replace("\x00", "")


def _published(services: Services, session: Session, paths: set[str]) -> dict[str, str]:
    """Return path → publication id of those paths that a publication has, or had, an endpoint at."""
    base = unquote(urlsplit(services.settings.origin_url).path).rstrip("/") + "/"
    roots = [url.rstrip("/") for url in (services.settings.origin_url, services.settings.cms_url) if url]
    hosts = sorted({f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, roots)})
    wanted: list[tuple[str, str]] = []
    for path in sorted(paths):
        if path.startswith(base):
            wanted.append((path, json.dumps([{"key": path.removeprefix(base)}])))
        wanted += [(path, json.dumps([{"url": host + path}])) for host in hosts]
    found: dict[str, str] = {}
    for start in range(0, len(wanted), 5000):
        chunk = wanted[start : start + 5000]
        rows = session.execute(_PUBLISHED, {"paths": [path for path, _ in chunk], "names": [name for _, name in chunk]})
        for path, publication_id in rows:
            found[path] = max(publication_id, found.get(path, ""))
    return found


def _store(session: Session, rows: list[dict[str, Any]]) -> None:
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
