"""
### Review: people decide on a frozen package

**Starts when** a package is frozen. **Ends with** a verdict: approved versions go to `activate_package`,
requested changes go back to `create_assets` for the named versions only, rejected ones stay where they
are.

**What it does.** Makes proofs, then opens every seat that `include/templates/workflow.yaml` asks for, in
parallel. A seat signs the SHA-256 of the package's manifest: bytes, metadata and rights of its versions.

**When `seat` waits** the people listed as assigned have the next move, in *DAM → My approvals* or on
*Required Actions*. Who made or uploaded a version can't sign; nobody signs twice; at the deadline the
seat expires and nothing is approved.

**When the package expired** a marketing lead or the DAM admin asks again on its page in *DAM → Review*:
the next round is frozen, and this DAG starts for it.

**When a version was withdrawn or restored** the same people send it to review again on its page in
*DAM → Asset*: it is frozen alone, and this DAG starts for it.

**When the package is void** something was changed after it was frozen: the next round is frozen and its
event starts this DAG again.

Idempotent: clearing a seat that is signed skips it; the verdict is drawn from the recorded signatures.
"""

from airflow.sdk import DAG, PartitionedAssetTimetable

from dam_operators.base import AnnounceOperator, ClaimOperator
from dam_operators.events import CHANGES_REQUESTED, PACKAGE_APPROVED, PACKAGE_READY
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
