"""What taggers may take, and what they took. A call is counted before it is made, so no budget is ever passed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from dam.catalog.models import TaggerSpend

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.taxonomy.taggers import TaggerData

_LOCK = 7_316_420  # first half of pg_advisory_xact_lock: a tagger's budget; the second half is the tagger


def today() -> date:
    """Return the day that is counted on (UTC)."""
    return datetime.now(UTC).date()


def reserve(session: Session, data: TaggerData) -> str | None:
    """Count one call of a tagger, in the transaction of ``session``, when its budget allows it.

    Workers take turns from here to the commit. Commit before the call is made: a worker that is killed in the
    middle of it then counts one call too many, never one too few.

    :returns: None, or why the call may not be made.
    """
    session.execute(
        text("SELECT pg_advisory_xact_lock(:lock, hashtext(:tagger))"), {"lock": _LOCK, "tagger": data.name}
    )
    budget, day = data.budget, today()
    for calls, money, spent, word in (
        (budget.calls_a_day, budget.money_a_day, _spent(session, data.name, day, day), "day"),
        (budget.calls_a_month, budget.money_a_month, _spent(session, data.name, day.replace(day=1), day), "month"),
    ):
        if calls is not None and spent[0] + 1 > calls:
            return f"its budget of {calls} calls a {word} is used up"
        if money is not None and spent[1] + data.cost > money:
            return f"its budget of {money} a {word} is used up"
    _count(session, data, day, 1)
    return None


def release(session: Session, data: TaggerData, day: date) -> None:
    """Give back a call that was counted on a day and was not billed."""
    _count(session, data, day, -1)


def _count(session: Session, data: TaggerData, day: date, calls: int) -> None:
    money = data.cost * calls
    session.execute(
        insert(TaggerSpend)
        .values(tagger=data.name, day=day, calls=max(calls, 0), money=max(money, Decimal(0)))
        .on_conflict_do_update(
            index_elements=["tagger", "day"],
            set_={
                "calls": func.greatest(TaggerSpend.calls + calls, 0),
                "money": func.greatest(TaggerSpend.money + money, 0),
            },
        )
    )


def _spent(session: Session, tagger: str, first: date, last: date) -> tuple[int, Decimal]:
    calls, money = session.execute(
        select(func.coalesce(func.sum(TaggerSpend.calls), 0), func.coalesce(func.sum(TaggerSpend.money), 0)).where(
            TaggerSpend.tagger == tagger, TaggerSpend.day.between(first, last)
        )
    ).one()
    return int(calls), Decimal(money)


def spent(session: Session, data: TaggerData) -> dict[str, Any]:
    """Return a tagger's calls and money today and this month, beside what it may take."""
    day = today()
    told: dict[str, Any] = {"tagger": data.name, "cost": data.cost, "budget": data.budget.model_dump(exclude_none=True)}
    for word, first in (("today", day), ("this_month", day.replace(day=1))):
        calls, money = _spent(session, data.name, first, day)
        told[word] = {"calls": calls, "money": money}
    return told
