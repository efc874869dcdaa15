"""Versions that leave quarantine when their batch was checked already, and how they catch up with it.

A file that waited for the malware scanner may be taken in while the librarian thinks about its siblings, or long
after its batch was closed. The batch is then taken up once more, by another run and for what was released alone:
it is checked, completed and packaged as its siblings were. Which versions these are is written down in the
transaction that releases them (``late_versions``). The batch's claim goes in the same transaction, and from then on
:func:`dam.ingest.drops.discover` tells of it until a workflow took it up; nobody who is killed loses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import any_, func, literal, select, true, update

from dam import audit
from dam.catalog import claims
from dam.catalog.models import Batch, BatchFile, LateVersion, Version, VersionState, utcnow

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import InstrumentedAttribute, Session

#: Stands for a run where none is known: the command line's, or one of old.
NOBODY = "dam"
_OPEN = LateVersion.closed_at.is_(None)
#: No run has taken it, and none was asked to.
_UNSEEN = _OPEN & LateVersion.run.is_(None) & (func.cardinality(LateVersion.after) == 0)


def lock(session: Session, batch: Batch) -> None:
    """Lock a batch of which something is about to be released, before the audit chain is: all do it in this order."""
    session.refresh(batch, with_for_update={"of": Batch})


def note(session: Session, row: BatchFile, *, run: str | None = None) -> None:
    """Note that a file's version was released, in the transaction that does it.

    A batch that was checked already is taken up again at once; of another, the run that has it in hand will see.

    :param row: its batch is locked (:func:`lock`).
    """
    batch = session.get_one(Batch, row.batch_id)
    row.notes = [*row.notes, "It was scanned after it had waited for that, and goes the way of the others by itself."]
    session.add(LateVersion(version_id=row.version_id, batch_id=batch.id))
    session.flush()
    # the command line checks and closes at once: it has no librarian to wait for
    if batch.status == "done" or (batch.status == "waiting" and batch.source != "cli"):
        _take_up_again(session, batch, run)


def untaken() -> ColumnElement[bool]:
    """Return the condition that nobody took up yet what was released of a batch."""
    return Batch.status.in_(("ingesting", "waiting")) & _any(Batch.id, _OPEN & LateVersion.run.is_(None))


def waits() -> ColumnElement[bool]:
    """Return the condition that something that was released of a batch is not handed on to the end yet."""
    return _any(Batch.id, _OPEN)


def take(session: Session, batch: Batch, run: str | None) -> tuple[list[str], bool]:
    """Return the versions that a run is to hand on, and whether these are late ones alone.

    The first run over a batch hands on whatever was ingested; one after it, what was released since. What was
    released after a run had looked is left to the next one, also when it is asked again.

    :param batch: its row is locked.
    """
    me = run or NOBODY
    looked = literal(me) == any_(LateVersion.after)
    mine = _OPEN & (LateVersion.batch_id == batch.id) & ~looked & func.coalesce(LateVersion.run == me, true())
    taken = session.execute(update(LateVersion).where(mine).values(run=me).returning(LateVersion.after)).all()
    alone = any(after for (after,) in taken)
    query = select(Version.id).where(Version.batch_id == batch.id, Version.state == VersionState.INGESTED)
    late = select(LateVersion.version_id).where(LateVersion.batch_id == batch.id)
    of_me = late.where(_OPEN, ~looked, LateVersion.run == me)
    query = query.where(Version.id.in_(of_me) if alone else Version.id.not_in(late.where(looked)))
    return list(session.scalars(query.order_by(Version.id))), alone


def settle(session: Session, batch: Batch, run: str | None) -> None:
    """Note that a run is through with what it took. :param batch: its row is locked."""
    of_me = _OPEN & (LateVersion.batch_id == batch.id) & (LateVersion.run == (run or NOBODY))
    session.execute(update(LateVersion).where(of_me).values(closed_at=utcnow()))


def is_late(session: Session, batch: Batch, run: str | None) -> bool:
    """Return whether a run took late versions alone, so that the batch itself is not its own to close."""
    return _is_any(session, batch, (LateVersion.run == (run or NOBODY)) & (func.cardinality(LateVersion.after) > 0))


def close(session: Session, batch: Batch, run: str | None) -> None:
    """Close a batch, unless something of it is still to be handed on. :param batch: its row is locked."""
    if not _is_any(session, batch, _OPEN):
        batch.status = "done"
    if _is_any(session, batch, _UNSEEN):
        _take_up_again(session, batch, run)


def _take_up_again(session: Session, batch: Batch, run: str | None) -> None:
    """Let another run take the batch, for what was released since the last one looked."""
    of_batch = LateVersion.batch_id == batch.id
    before = set(session.scalars(select(func.unnest(LateVersion.after)).where(of_batch).distinct()))
    before |= {claims.let_go(session, key=batch.id) or f"{NOBODY} before"}
    fresh = update(LateVersion).where(of_batch, _UNSEEN).values(after=sorted(before)).returning(LateVersion.version_id)
    versions = sorted(session.scalars(fresh))
    if batch.status == "done":
        batch.status = "ingesting"
    audit.record(
        session,
        actor="airflow",
        action="batch.taken_up_again",
        subject_id=batch.id,
        data={"versions": versions},
        run=run,
    )


def _any(batch_id: ColumnElement[str] | InstrumentedAttribute[str], which: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(LateVersion.version_id).where(LateVersion.batch_id == batch_id, which).exists()


def _is_any(session: Session, batch: Batch, which: ColumnElement[bool]) -> bool:
    return bool(session.scalar(select(select(LateVersion).where(LateVersion.batch_id == batch.id, which).exists())))
