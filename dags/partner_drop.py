"""
### Partner drop: files from partners to the CMS with one approval

A workflow of your own, to copy: a partner puts files below `drops/partners/` in the inbox; they are
ingested, the brand reviewer approves once, and what is approved goes live in the CMS. What lacks metadata
is completed first and follows as a package of its own. A batch from elsewhere is refused: it has more seats to
pass.

**When a `seat` waits** the brand reviewer has the next move, in *DAM → My approvals*. What is rejected, sent
back or left unsigned ends here: ask the partner for a new drop. A package that became void goes on in
`review_package`, with the same seat and for the same channel.

Idempotent, as its parts are.
"""

from airflow.sdk import DAG, PartitionedAssetTimetable

from dam_operators.base import ClaimOperator
from dam_operators.events import drop
from dam_operators.groups import activate, freeze, ingest, review
from dam_operators.stage import KEY_PARAMS, dag_settings

with DAG(
    dag_id="partner_drop",
    schedule=PartitionedAssetTimetable(assets=drop("partners")),
    doc_md=__doc__,
    params=KEY_PARAMS,
    **dag_settings("ingest"),
):
    batch = ClaimOperator(task_id="claim", drop="partners").output
    for name, package in freeze(ingest(batch), seats=["brand_reviewer"], channels=["cms"]).items():
        verdict = review(package.output, suffix=f"_{name}")
        activate(verdict.output["approved_package"], suffix=f"_{name}")
