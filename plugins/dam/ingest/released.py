"""Versions that leave quarantine when their batch was checked already, and how they catch up with it.

A file that waited for the malware scanner may be taken in while the librarian thinks about its siblings, or long
after its batch was closed. The batch is then taken up once more, by another run and for what was released alone:
it is checked, completed and packaged as its siblings were. Which versions these are stands with the batch's notes,
written in the transaction that releases them. The batch's claim goes in the same transaction, and from then on
:func:`dam.ingest.drops.discover` tells of it until a workflow took it up; nobody who is killed loses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from dam import audit
from dam.catalog import claims
from dam.catalog.models import Batch, BatchFile, Version, VersionState

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

KIND = "released"
#: Stands for a run where none is known: the command line's, or one of old.
NOBODY = "dam"


def lock(session: Session, batch: Batch) -> None:
    """Lock a batch of which something is about to be released, before the audit chain is: all do it in this order."""
    session.refresh(batch, with_for_update={"of": Batch})


def note(session: Session, row: BatchFile, *, run: str | None = None) -> None:
    """Note that a file's version was released, in the transaction that does it.

    A batch that was checked already is taken up again at once; of another, the run that has it in hand will see.

    :param row: its batch is locked (:func:`lock`).
    """
    batch = session.get_one(Batch, row.batch_id)
    batch.notes = [
        *batch.notes,
        {
            "kind": KIND,
            "where": row.path,
            "what": "It was scanned after it had waited for that, and goes the way of the others by itself.",
            "version_id": row.version_id,
            "after": [],  # the runs that had checked the batch before; none: the one that has it in hand will see
            "run": None,  # the run that took it
            "closed": False,
        },
    ]
    # the command line checks and closes at once: it has no librarian to wait for
    if batch.status == "done" or (batch.status == "waiting" and batch.source != "cli"):
        _take_up_again(session, batch, run)


def untaken() -> ColumnElement[bool]:
    """Return the condition that nobody took up yet what was released of a batch."""
    return Batch.status.in_(("ingesting", "waiting")) & Batch.notes.contains([{"kind": KIND, "run": None}])


def waits() -> ColumnElement[bool]:
    """Return the condition that something that was released of a batch is not handed on to the end yet."""
    return (Batch.status != "done") & Batch.notes.contains([{"kind": KIND, "closed": False}])


def take(session: Session, batch: Batch, run: str | None) -> tuple[list[str], bool]:
    """Return the versions that a run is to hand on, and whether these are late ones alone.

    The first run over a batch hands on whatever was ingested; one after it, what was released since. Asked again by
    the same run, the answer is the same.

    :param batch: its row is locked.
    """
    me = run or NOBODY
    mine = [one for one in _open(batch) if me not in one["after"] and one["run"] in (None, me)]
    late = any(one["after"] for one in mine)
    later = [one["version_id"] for one in _open(batch) if me in one["after"]]
    taken = [one["version_id"] for one in mine]
    _change(batch, taken, run=me)
    query = select(Version.id).where(Version.batch_id == batch.id, Version.state == VersionState.INGESTED)
    query = query.where(Version.id.in_(taken) if late else Version.id.not_in(later))
    return list(session.scalars(query)), late


def settle(batch: Batch, run: str | None) -> None:
    """Note that a run is through with what it took. :param batch: its row is locked."""
    _change(batch, [one["version_id"] for one in _open(batch) if one["run"] == (run or NOBODY)], closed=True)


def is_late(batch: Batch, run: str | None) -> bool:
    """Return whether a run took late versions alone, so that the batch itself is not its own to close."""
    me = run or NOBODY
    return any(one["run"] == me and one["after"] for one in _released(batch))


def close(session: Session, batch: Batch, run: str | None) -> None:
    """Close a batch, unless something of it is still to be handed on. :param batch: its row is locked."""
    if not any(_open(batch)):
        batch.status = "done"
    if _unseen(batch):
        _take_up_again(session, batch, run)


def _take_up_again(session: Session, batch: Batch, run: str | None) -> None:
    """Let another run take the batch, for what was released since the last one looked."""
    before = {one for told in _released(batch) for one in told["after"]}
    before |= {claims.let_go(session, key=batch.id) or f"{NOBODY} before"}
    fresh = _unseen(batch)
    _change(batch, fresh, after=sorted(before))
    if batch.status == "done":
        batch.status = "ingesting"
    audit.record(
        session, actor="airflow", action="batch.taken_up_again", subject_id=batch.id, data={"versions": fresh}, run=run
    )


def _unseen(batch: Batch) -> list[str]:
    """Return the versions that no run has taken, and that none was asked to take yet."""
    return [one["version_id"] for one in _open(batch) if not one["after"] and one["run"] is None]


def _released(batch: Batch) -> Iterator[dict[str, Any]]:
    return (one for one in batch.notes if one["kind"] == KIND)


def _open(batch: Batch) -> Iterator[dict[str, Any]]:
    return (one for one in _released(batch) if not one["closed"])


def _change(batch: Batch, version_ids: list[str], **fields: Any) -> None:
    """Change the notes of versions; a new list, as SQLAlchemy does not see changes inside one."""
    batch.notes = [one | fields if one.get("version_id") in version_ids else one for one in batch.notes]
