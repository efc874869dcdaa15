"""
### Review: people decide on a frozen package

**Starts when** a package is frozen. **Ends with** a verdict: approved versions go to `activate_package`,
requested changes go back to `create_assets` for the named versions only, rejected ones stay where they
are.

**What it does.** Makes proofs, then asks every seat that `include/templates/workflow.yaml` names: those of one
stage at once (`seat`), those of the next when all of them have closed (`stage_2`, `seat_2`, …). A seat whose
conditions do not hold is skipped and its log says why; a package that no seat need sign is not frozen at all.
A seat signs the SHA-256 of the package's manifest: bytes, metadata and rights of its versions.

**When `seat` waits** the people listed as assigned have the next move, in *DAM → My approvals* or on
*Required Actions*; each was mailed once, with the deadline for the calendar. Who will be away names a deputy under
*DAM → My approvals → My absences*; a deputy who was named later answers in the room. Who made or uploaded a version
can't sign; nobody signs twice, for himself or for another. A seat that needs two signatures asks again after the first.
At the deadline (working days of a calendar) the seat expires and nothing is approved. Who signed may take it back until
a later stage has opened or there is a verdict: the room clears the seat's task, which asks again.

**When the package expired** a marketing lead or the DAM admin asks again on its page in *DAM → Review*:
the next round is frozen, and this DAG starts for it.

**When a version was withdrawn or restored** the same people send it to review again on its page in
*DAM → Asset*: it is frozen alone, and this DAG starts for it.

**When its metadata was to be completed** (a package of `ingest_batch` whose own run is over) nothing is approved:
what is complete is frozen for its review, and told to this DAG by `next_round`.

**When the package is void** something was changed after it was frozen, or a newer version of one of its assets was
frozen: the next round is frozen, says what changed, and its event starts this DAG again.

**When changes are requested** the next round is for just those versions. With `policy.rest: waits` nothing of the
package is told to `activate_package` until what answers them is approved; `freed` tells it then. A marketing lead
can let the rest go on the package's page.

**When a brief's package comes here** (it expired and was asked for again, or the run of `plan_brief` that waited for
its signature is gone) it ends with a signed brief, and nothing is activated.

**When you clear** a seat: one that is signed is skipped, one that is open asks again for what is left of its time,
never longer. `verdict`: it is drawn from the recorded signatures, and is the same; what it announces again makes a
run of the next DAG that ends at its `claim`. The whole run: all of that.
**Start it again** for a package: a run ends at `claim` when another has the package; with *Take over* it goes on from
the signatures that are there. A seat that the other run still asks for may be answered in either: it is signed once,
the run that hears the last answer goes on, and the other one ends at the deadline and adds nothing. A package is no
date, so Airflow offers no backfill.
**Pause it**: seats stay open and deadlines run; an answer in the room is recorded at once, one on *Required Actions*
is heard when the DAG goes on, and counts from when it was given.
**Mark a seat's task** as success or failed: that signs nothing; the package stays in review, and expires unless it is
signed in the room, where the last signature starts this DAG again for the verdict.
**Delete the run** (Airflow wants it marked as failed first): the signatures stay; the room records those that lack and
starts this DAG again for the verdict.

Idempotent: clearing a seat that is signed skips it; the verdict is drawn from the recorded signatures.
"""

from airflow.sdk import DAG, PartitionedAssetTimetable

from dam_operators.base import AnnounceOperator, ClaimOperator
from dam_operators.events import BRIEF_SIGNED, CHANGES_REQUESTED, PACKAGE_APPROVED, PACKAGE_READY
from dam_operators.groups import review
from dam_operators.stage import KEY_PARAMS, dag_settings

with DAG(
    dag_id="review_package",
    schedule=PartitionedAssetTimetable(assets=PACKAGE_READY),
    doc_md=__doc__,
    params=KEY_PARAMS,
    **dag_settings("review"),
):
    claim = ClaimOperator(task_id="claim")
    verdict = review(claim.output).output
    AnnounceOperator(task_id="approved", event=PACKAGE_APPROVED, keys=verdict["approved_package"])
    AnnounceOperator(task_id="changes_requested", event=CHANGES_REQUESTED, keys=verdict["changes_package"])
    AnnounceOperator(task_id="brief_signed", event=BRIEF_SIGNED, keys=verdict["signed_brief"])
