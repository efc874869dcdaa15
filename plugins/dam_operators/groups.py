"""Task groups that stages and workflows of your own are wired from, in a line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow.sdk import TaskGroup

from dam_operators.activate import PublishOperator, RenditionOperator, RightsPreflightOperator
from dam_operators.base import AnnounceOperator
from dam_operators.events import PACKAGE_READY
from dam_operators.human import ClearRisksOperator, LibrarianOperator, SeatOperator
from dam_operators.ingest import (
    CloseBatchOperator,
    IngestChunkOperator,
    MetadataContractOperator,
    PlanBatchOperator,
    PlanTagsOperator,
    TagOperator,
)
from dam_operators.review import FreezePackageOperator, ProofsOperator, VerdictOperator


@dataclass(frozen=True)
class Ingested:
    """What :func:`ingest` hands on; each value is an XCom to pass to the next operator.

    :param batch_id: the batch. :param complete: version ids that meet the contract at once.
    :param completed: version ids the librarian completed; the task is skipped when none were missing.
    """

    batch_id: Any
    complete: Any
    completed: Any


def _part(task: Any, key: str) -> Any:
    """Return one of a task's outputs by key (an XCom)."""
    return task.output[key]


def ingest(batch_id: Any, *, max_bytes: int = 512_000_000) -> Ingested:
    """Take a batch through the gate, chunk by chunk, ask slow taggers, then hold it to its metadata contract.

    :param batch_id: the batch's id or an XCom of it. :param max_bytes: most bytes in a chunk.
    """
    with TaskGroup("ingest", prefix_group_id=False):
        plan = PlanBatchOperator(task_id="plan_chunks", batch_id=batch_id, max_bytes=max_bytes)
        chunks = IngestChunkOperator.partial(task_id="ingest_chunk", batch_id=batch_id).expand(file_ids=plan.output)
        plan_tags = PlanTagsOperator(task_id="plan_tags", batch_id=batch_id, trigger_rule="none_failed_min_one_success")
        tag = TagOperator.partial(task_id="tag").expand(version_ids=plan_tags.output)
        contract = MetadataContractOperator(
            task_id="metadata_contract", batch_id=batch_id, trigger_rule="none_failed_min_one_success"
        )
        librarian = LibrarianOperator(task_id="librarian", batch_id=batch_id, incomplete=_part(contract, "incomplete"))
        close = CloseBatchOperator(task_id="close", batch_id=batch_id, trigger_rule="none_failed_min_one_success")
        chunks >> plan_tags
        [chunks, tag] >> contract >> librarian >> close
    return Ingested(batch_id=batch_id, complete=_part(contract, "complete"), completed=librarian.output)


def send_to_review(ingested: Ingested) -> None:
    """Freeze what is complete at once, and what the librarian completed later, as packages for review."""
    for name, versions in (("complete", ingested.complete), ("completed", ingested.completed)):
        package = FreezePackageOperator(task_id=f"freeze_{name}", batch_id=ingested.batch_id, version_ids=versions)
        AnnounceOperator(task_id=f"package_{name}", event=PACKAGE_READY, keys=package.output)


def review(package_id: Any) -> VerdictOperator:
    """Make proofs, ask every seat of the package in parallel, and return the verdict's task."""
    with TaskGroup("review", prefix_group_id=False):
        proofs = ProofsOperator(task_id="proofs", package_id=package_id)
        seats = SeatOperator.partial(task_id="seat").expand(seat_id=proofs.output)
        verdict = VerdictOperator(task_id="verdict", package_id=package_id, trigger_rule="none_failed_min_one_success")
        seats >> verdict
    return verdict


def activate(package_id: Any, *, channels: list[str] | None = None) -> RightsPreflightOperator:
    """Ask the rights policy, render, publish and probe; return the preflight's task.

    What carries a risk waits for the digital team; everything else does not wait for it.

    :param package_id: the approved package. :param channels: the default is what the brief names.
    """
    with TaskGroup("activate", prefix_group_id=False):
        preflight = RightsPreflightOperator(task_id="preflight", package_id=package_id, channels=channels)
        cleared = ClearRisksOperator(task_id="clear_risks", publication_ids=_part(preflight, "risky"))
        for suffix, rows in (("", preflight.output), ("_cleared", cleared.output)):
            render = RenditionOperator.partial(task_id=f"render{suffix}").expand(
                version_ids=rows.map(lambda row: [row["version_id"]])
            )
            publish = PublishOperator.partial(task_id=f"publish{suffix}").expand(
                publication_ids=rows.map(lambda row: row["publication_ids"])
            )
            render >> publish
    return preflight
