"""
### Create: from a signed brief to a complete batch

**Starts when** a brief is signed, when a review asked for changes (then only the named versions are asked for
again), or when the gate refused files that were delivered (then only these are). **Ends with** a complete
batch; its event starts `ingest_batch`.

**What it does.** Opens tasks for the creators with a drop folder in the inbox, waits until every
deliverable is there under its conventional name `PROJECT_CLIENT_YYYYMMDD_v01.ext` and nobody writes it any
more, and hands exactly these files over; what is misnamed stays where it is, with the reason in the receipt.

**When `wait_for_deliverables` waits** the designer has the next move; the Board lists what is missing and
which files are misnamed. Waiting costs no worker slot. **When it fails** the deadline of the stage is over,
and so is the day on which the last deliverable was due: put the files there and clear it.

**When a later brief is signed** what is still owed for the one before is cancelled, and its run ends. Files
that lie in its folder stay there; put them into the new brief's folder where they answer it.

Idempotent: the same brief or package opens the same tasks; an event told twice is dropped by `claim`.
"""

from airflow.sdk import DAG, PartitionedAssetTimetable

from dam_operators.base import AnnounceOperator, ClaimOperator
from dam_operators.create import DeliverablesSensor, OpenCreatorTasksOperator, SubmitDeliverablesOperator
from dam_operators.events import BATCH_READY, BRIEF_SIGNED, CHANGES_REQUESTED
from dam_operators.stage import KEY_PARAMS, dag_settings

with DAG(
    dag_id="create_assets",
    schedule=PartitionedAssetTimetable(assets=BRIEF_SIGNED | CHANGES_REQUESTED),
    doc_md=__doc__,
    params=KEY_PARAMS,
    **dag_settings("create"),
):
    claim = ClaimOperator(task_id="claim")
    opened = OpenCreatorTasksOperator(task_id="open_tasks", key=claim.output)
    arrived = DeliverablesSensor(task_id="wait_for_deliverables", batch_id=opened.output)
    submit = SubmitDeliverablesOperator(task_id="submit", batch_id=arrived.output)
    AnnounceOperator(task_id="batch_ready", event=BATCH_READY, keys=submit.output)
