"""
### Partner drop: files from partners to the CMS with one approval

A workflow of your own, to copy: a partner puts files below `drops/partners/` in the inbox; they are
ingested, the brand reviewer approves once, and the approved ones go live in the CMS.

**When `seat` waits** the brand reviewer has the next move, in *DAM → My approvals*. What is incomplete
waits in the batch's receipt; nothing of it is published.
"""

from airflow.sdk import DAG, PartitionedAssetTimetable

from dam_operators.base import ClaimOperator
from dam_operators.events import drop
from dam_operators.groups import activate, ingest, review
from dam_operators.review import FreezePackageOperator
from dam_operators.stage import KEY_PARAMS, dag_settings

with DAG(
    dag_id="partner_drop",
    schedule=PartitionedAssetTimetable(assets=drop("partners")),
    doc_md=__doc__,
    params=KEY_PARAMS,
    **dag_settings("ingest"),
):
    batch = ClaimOperator(task_id="claim").output
    ingested = ingest(batch)
    package = FreezePackageOperator(
        task_id="freeze", batch_id=batch, version_ids=ingested.complete, seats=["brand_reviewer"]
    )
    review(package.output) >> activate(package.output, channels=["cms"])
