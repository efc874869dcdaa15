"""
### Inbox watch: every complete drop becomes a batch

**Starts when** the triggerer sees a drop in the inbox (folder or S3) that is complete: its marker
`_COMPLETE` is there, or every file that its manifest lists (a BagIt bag, `SHA256SUMS` and its kin), or it has
been quiet for the set time. **Ends with** an event per batch, which starts `ingest_batch`, or the workflow that
`drops` in `include/templates/workflow.yaml` names for the folder.

Several drops at once are one run here and one run each from then on. Registering is idempotent by the
drop's location, and a drop is told again every minute until a workflow has claimed its batch: an event told
twice, or lost, neither doubles nor loses a batch.

**Batches of which something was released** from quarantine after they were checked are told of in the same way.

**Files that come late**, after their batch was done, are moved to a drop beside it (`<drop>~2`) and become a
batch of their own under the same card. The receipt of the first one names them. Files that lie in no folder
are a batch, too. What can't be taken up as it is, *DAM → Batches* names.
"""

from airflow.sdk import DAG

from dam_operators.base import AnnounceOperator
from dam_operators.events import BATCH_READY, INBOX, drop
from dam_operators.ingest import RegisterDropsOperator
from dam_operators.stage import dag_settings, workflow

with DAG(
    dag_id="inbox_watch",
    schedule=[INBOX],
    doc_md=__doc__,
    **dag_settings("ingest", max_active_runs=1),
):
    registered = RegisterDropsOperator(task_id="register")
    AnnounceOperator(task_id="batch_ready", event=BATCH_READY, keys=registered.output["default"])
    for name in workflow().drops:
        AnnounceOperator(task_id=f"drop_{name}", event=drop(name), keys=registered.output[name])
