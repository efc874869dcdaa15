"""How often something may be done, counted in the database: the same for every process, and after a restart."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import case, delete
from sqlalchemy.dialects.postgresql import insert

from dam.catalog.models import RateLimit, utcnow
from dam.errors import Refused

if TYPE_CHECKING:
    from dam.services import Services

#: Longest span that is counted; older rows are of no use.
LONGEST = timedelta(days=1)


class TooOften(Refused):
    """It was done as often as it may be in this span of time."""


def count(services: Services, key: str, *, per: timedelta) -> int:
    """Count once more, in a transaction of its own, and return how often it was since its span began.

    :param key: what is counted. :param per: the span, at most a day; it begins with the first time.
    """
    now = utcnow()
    over = RateLimit.since <= now - per
    statement = insert(RateLimit).values(key=key, since=now, count=1)
    statement = statement.on_conflict_do_update(
        index_elements=[RateLimit.key],
        set_={"count": case((over, 1), else_=RateLimit.count + 1), "since": case((over, now), else_=RateLimit.since)},
    )
    with services.session() as session:
        return int(session.execute(statement.returning(RateLimit.count)).scalar_one())


def take(services: Services, key: str, *, most: int, per: timedelta) -> None:
    """Count once more. :raises TooOften: that is more than ``most`` within the span."""
    if count(services, key, per=per) > most:
        raise TooOften(
            "that was too often", where=key.partition(":")[0], remedy=f"Wait up to {_told(per)}, then try again."
        )


def forget(services: Services) -> None:
    """Delete what is too old to count."""
    with services.session() as session:
        session.execute(delete(RateLimit).where(RateLimit.since < utcnow() - LONGEST))


def _told(span: timedelta) -> str:
    minutes = max(1, round(span.total_seconds() / 60))
    if minutes == 1:
        return "a minute"
    return f"{minutes} minutes" if minutes < 60 else "an hour" if minutes < 120 else f"{round(minutes / 60)} hours"
