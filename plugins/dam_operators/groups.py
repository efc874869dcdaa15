"""Task groups that stages and workflows of your own are wired from, in a line each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from airflow.sdk import TaskGroup

from dam_operators.activate import PublishOperator, RenditionOperator, RightsPreflightOperator
from dam_operators.base import AnnounceOperator
from dam_operators.events import CHANGES_REQUESTED, PACKAGE_APPROVED, PACKAGE_READY
from dam_operators.human import SOON, ClearRisksOperator, SeatOperator
from dam_operators.ingest import (
    CloseBatchOperator,
    EmptyInboxOperator,
    IngestChunkOperator,
    MetadataContractOperator,
    PlanBatchOperator,
    PlanTagsOperator,
    RefusedDeliverablesOperator,
    TagOperator,
)
from dam_operators.review import (
    CompletedOperator,
    FreezePackageOperator,
    ProofsOperator,
    StageOperator,
    VerdictOperator,
)
from dam_operators.stage import workflow


@dataclass(frozen=True)
class Ingested:
    """What :func:`ingest` hands on; each value is an XCom to pass to the next operator.

    :param batch_id: the batch. :param complete: version ids that meet the contract at once.
    :param completed: version ids that were completed; the task is skipped when nothing was missing.
    """

    batch_id: Any
    complete: Any
    completed: Any


def _part(task: Any, key: str) -> Any:
    """Return one of a task's outputs by key (an XCom)."""
    return task.output[key]


def ingest(batch_id: Any, *, max_bytes: int | None = None) -> Ingested:
    """Take a batch through the gate, chunk by chunk, ask slow taggers, then hold it to its metadata contract.

    What is incomplete is frozen as a package of its own, whose seat (``librarian``) signs that it is filled in; the
    rest does not wait for it. Deliverables that the gate refuses are asked for again at once.

    :param batch_id: the batch's id or an XCom of it.
    :param max_bytes: most bytes in a chunk, if not the library's default.
    """
    with TaskGroup("ingest", prefix_group_id=False):
        plan = PlanBatchOperator(task_id="plan_chunks", batch_id=batch_id, max_bytes=max_bytes)
        chunks = IngestChunkOperator.partial(task_id="ingest_chunk", batch_id=batch_id).expand(file_ids=plan.output)
        plan_tags = PlanTagsOperator(task_id="plan_tags", batch_id=batch_id, trigger_rule="none_failed_min_one_success")
        tag = TagOperator.partial(task_id="tag").expand(version_ids=plan_tags.output)
        contract = MetadataContractOperator(
            task_id="metadata_contract", batch_id=batch_id, trigger_rule="none_failed_min_one_success"
        )
        lacking = FreezePackageOperator(
            task_id="freeze_incomplete",
            batch_id=batch_id,
            version_ids=_part(contract, "incomplete"),
            purpose="metadata",
        )
        completed = _complete(lacking.output)
        close = CloseBatchOperator(task_id="close", batch_id=batch_id, trigger_rule="none_failed_min_one_success")
        chunks >> plan_tags
        empty = EmptyInboxOperator(task_id="empty_inbox", batch_id=batch_id, trigger_rule="none_failed_min_one_success")
        [chunks, tag] >> contract
        completed >> close
        chunks >> empty >> close
        refused = RefusedDeliverablesOperator(
            task_id="refused_deliverables", batch_id=batch_id, trigger_rule="none_failed_min_one_success"
        )
        chunks >> refused
        AnnounceOperator(task_id="ask_again", event=CHANGES_REQUESTED, keys=refused.output)
    return Ingested(batch_id=batch_id, complete=_part(contract, "complete"), completed=_part(completed, "completed"))


def freeze(
    ingested: Ingested, *, seats: list[str] | None = None, channels: list[str] | None = None
) -> dict[str, FreezePackageOperator]:
    """Freeze what is complete at once, and what the librarian completed later, as a package each.

    Returns the tasks by name, ``complete`` and ``completed``; one without versions is skipped. Reviews that lost a
    version to a newer one go on in ``review_package`` with the rest.

    :param seats: roles that must sign; the default is the workflow's seats.
    :param channels: channels to publish to; the default is what the brief names.
    """
    frozen = {}
    for name, versions in (("complete", ingested.complete), ("completed", ingested.completed)):
        frozen[name] = FreezePackageOperator(
            task_id=f"freeze_{name}",
            batch_id=ingested.batch_id,
            version_ids=versions,
            seats=seats,
            channels=channels,
        )
        displaced = _part(frozen[name], "displaced")
        AnnounceOperator(task_id=f"displaced_{name}", event=PACKAGE_READY, keys=displaced)
    return frozen


def send_to_review(ingested: Ingested) -> None:
    """Freeze what is complete at once, and what the librarian completed later, as packages for review."""
    for name, package in freeze(ingested).items():
        AnnounceOperator(task_id=f"package_{name}", event=PACKAGE_READY, keys=package.output)


class ReviewRound(TaskGroup):
    """A sign-off, anywhere in a DAG: proofs, every seat that the package asks, the verdict.

    ::

        package = FreezePackageOperator(task_id="freeze", batch_id=batch, version_ids=done, seats=["brand_reviewer"])
        sign_off = ReviewRound(package.output)
        activate(sign_off.approved)

    The seats are those the package was frozen with. Those of one stage of ``workflow.yaml`` are asked at once, those
    of the next when all of them have closed: ``seat``, then ``seat_2`` and so on, each a mapped task that waits without
    a worker, a trigger or polling. A seat that the package does not need is skipped and says why. The next round of
    a package that became void is announced, and ``review_package`` takes it from there; so are packages that waited
    for this one's approval.

    **Cleared**, a seat that is signed is skipped and one that is open asks again, for what is left of its time; the
    verdict is drawn from the recorded signatures. **Paused**, answers are recorded at once in the room, and heard
    when the DAG goes on from Airflow's own page, counting from when they were given. **Deleted**, the run takes no
    signature with it: the room records what is missing and starts ``review_package``.

    :param package_id: the package's id or an XCom of it.
    :param suffix: of the tasks' names, where a workflow reviews several packages.
    :param purpose: what the package is for, whose seats' stages the tasks are wired by: ``release`` or ``brief``.
    """

    #: The task that draws the verdict; see :class:`~dam_operators.review.VerdictOperator` for its outputs.
    verdict: VerdictOperator

    def __init__(self, package_id: Any, *, suffix: str = "", purpose: str = "release") -> None:
        super().__init__(group_id=f"review{suffix}", prefix_group_id=False)
        with self:
            self.verdict = _review(package_id, suffix, purpose)

    @property
    def approved(self) -> Any:
        """The package's id when versions of it are approved and may go out, else empty (an XCom)."""
        return _part(self.verdict, "approved_package")

    @property
    def changes(self) -> Any:
        """The package's id when changes to versions of it are asked for, else empty (an XCom)."""
        return _part(self.verdict, "changes_package")

    @property
    def signed(self) -> Any:
        """The brief's id when the package was for a brief and it is signed, else empty (an XCom)."""
        return _part(self.verdict, "signed_brief")


def _seats(package_id: Any, suffix: str, *, seat: str, purpose: str = "release") -> list[Any]:
    """Make proofs and ask the seats of a package, stage by stage; return the tasks that its verdict comes after.

    :param seat: what the tasks that ask are called, with a place for the stage: ``seat{}``.
    """
    first, *later = workflow().review_stages(purpose)
    proofs = ProofsOperator(task_id=f"proofs{suffix}", package_id=package_id, upto=first if later else None)
    seats: Any = SeatOperator.partial(task_id=seat.format(""), **SOON).expand(seat_id=proofs.output)
    for after, stage in itertools.pairwise([first, *later]):
        opened = StageOperator(
            task_id=f"stage_{stage}{suffix}",
            package_id=package_id,
            after=after,
            upto=None if stage == later[-1] else stage,
            trigger_rule="none_failed",
        )
        seats >> opened
        seats = SeatOperator.partial(task_id=seat.format(f"_{stage}"), **SOON).expand(seat_id=opened.output)
    return [proofs, seats]


def _review(package_id: Any, suffix: str, purpose: str) -> VerdictOperator:
    asked = _seats(package_id, suffix, seat=f"seat{{}}{suffix}", purpose=purpose)
    verdict = VerdictOperator(
        task_id=f"verdict{suffix}", package_id=package_id, trigger_rule="none_failed_min_one_success"
    )
    asked >> verdict  # drawn also when every seat is skipped, since all have signed elsewhere
    AnnounceOperator(task_id=f"next_round{suffix}", event=PACKAGE_READY, keys=_part(verdict, "next_package"))
    AnnounceOperator(task_id=f"freed{suffix}", event=PACKAGE_APPROVED, keys=_part(verdict, "freed"))
    return verdict


def _complete(package_id: Any, suffix: str = "_incomplete") -> CompletedOperator:
    """Ask the seats of a package whose metadata is to be completed; return the task that says what was."""
    asked = _seats(package_id, suffix, seat="librarian{}", purpose="metadata")
    completed = CompletedOperator(
        task_id="completed", package_id=package_id, trigger_rule="none_failed_min_one_success"
    )
    asked >> completed
    AnnounceOperator(task_id=f"next_round{suffix}", event=PACKAGE_READY, keys=_part(completed, "next_package"))
    return completed


def review(package_id: Any, *, suffix: str = "") -> VerdictOperator:
    """Put a sign-off in a DAG as :class:`ReviewRound` does, and return the verdict's task.

    :param suffix: of the tasks' names, where a workflow reviews several packages.
    """
    return ReviewRound(package_id, suffix=suffix).verdict


def activate(package_id: Any, *, channels: list[str] | None = None, suffix: str = "") -> RightsPreflightOperator:
    """Ask the rights policy, render, publish and probe; return the preflight's task.

    What carries a risk waits for the digital team; everything else does not wait for it. When the approval
    turns out to be void, before or while it is published, the next round is announced for review.

    :param package_id: the approved package; without one (an empty key) everything is skipped.
    :param channels: the default is what the package was frozen for, or else what the brief names.
    :param suffix: of the tasks' names, where a workflow activates several packages.
    """
    with TaskGroup(f"activate{suffix}", prefix_group_id=False):
        preflight = RightsPreflightOperator(task_id=f"preflight{suffix}", package_id=package_id, channels=channels)
        AnnounceOperator(task_id=f"review_instead{suffix}", event=PACKAGE_READY, keys=_part(preflight, "next_package"))
        cleared = ClearRisksOperator(task_id=f"clear_risks{suffix}", publication_ids=_part(preflight, "risky"))
        for which, rows in ((suffix, preflight.output), (f"{suffix}_cleared", cleared.output)):
            render = RenditionOperator.partial(task_id=f"render{which}").expand(
                version_ids=rows.map(lambda row: row["version_ids"])
            )
            # also after a rendering that failed: it is some versions' only, and publishing them says so
            publish = PublishOperator.partial(
                task_id=f"publish{which}", trigger_rule="all_done_min_one_success"
            ).expand(publication_ids=rows.map(lambda row: row["publication_ids"]))
            render >> publish
            # a teardown: it runs also after a publication that failed, and leaves the run failed then
            AnnounceOperator(
                task_id=f"review_again{which}", event=PACKAGE_READY, keys=_part(publish, "next_packages")
            ).as_teardown()
    return preflight
