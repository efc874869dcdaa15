"""One run per brief, batch and package, however often its event is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from dam.catalog.models import Batch, StageClaim
from dam.errors import NotFound, Refused

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: The stage that is told of a batch too, when creators must send a file again. It never takes the batch up.
ASKING = "create_assets"


def claim(services: Services, *, stage: str, key: str, run: str, take_over: bool = False) -> str:
    """Claim a stage's work on one key for a run, and return the run that owns it now.

    The first run to ask owns the key; asking again from the same run (a retry, a cleared task) changes
    nothing. A person who repeats lost work by hand passes ``take_over``.

    :param stage: the DAG's id. :param key: a brief, batch or package id. :param run: ``dag_id/run_id``.
    """
    with services.session() as session:
        row = insert(StageClaim).values(stage=stage, key=key, run=run)
        if take_over:
            row = row.on_conflict_do_update(index_elements=["stage", "key"], set_={"run": run})
        else:
            row = row.on_conflict_do_nothing()
        session.execute(row)
        return session.scalars(select(StageClaim.run).where(StageClaim.stage == stage, StageClaim.key == key)).one()


def owner(services: Services, *, stage: str, key: str) -> str | None:
    """Return the run that claimed a stage's work on a key; None when nobody did."""
    with services.session() as session:
        return session.scalar(select(StageClaim.run).where(StageClaim.stage == stage, StageClaim.key == key))


def let_go(session: Session, *, key: str) -> str | None:
    """Let another run take up a batch; return the run that had it, None when nobody had."""
    gone = delete(StageClaim).where(StageClaim.key == key, StageClaim.stage != ASKING).returning(StageClaim.run)
    return session.scalars(gone).first()


def check_drop(services: Services, *, batch_id: str, drop: str) -> None:
    """Refuse a batch that did not come through a drop: a workflow's own rules are for its own files.

    :param drop: the folder below ``drops/`` in the inbox.
    :raises Refused: the batch lies elsewhere. :raises NotFound: there is no such batch.
    """
    with services.session() as session:
        location = session.scalar(select(Batch.location).where(Batch.id == batch_id))
    if location is None:
        raise NotFound("there is no such batch", where=batch_id)
    if not location.startswith(f"drops/{drop}/"):
        raise Refused(
            f"it lies in {location}, not below drops/{drop}/",
            where=f"batch {batch_id}",
            remedy="Start the workflow of its own folder; ingest_batch takes every other batch.",
        )
