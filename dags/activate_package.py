"""
### Activate: approved versions go live, and are proved to be live

**Starts when** a package is approved. **Ends with** publications whose live URLs were probed and stored.

**What it does.** Checks that the approval still belongs to the very bytes, metadata and rights; asks the
rights policy for every version and channel, and of every version what must be known before it is published (the
`activate` contracts in `include/taxonomy/contracts`); makes the channel's renditions by recipe; publishes with an
idempotency key; probes every endpoint. An embargo is waited for without a worker slot.

**What an earlier version of the same asset has live** on the channel is withdrawn once the new one is proved
to be live, with its own takedown proof.

**When a publication carries a risk** that the rights allow (`policy.risks` in
`include/templates/workflow.yaml`: a licence that ends soon, a kind of licence with duties, a legal hold), the
digital team is asked: *Publish* puts the person's name to it, *Hold back* keeps it in, and so does silence.
Publications without a risk don't wait for the answer.

**When something is refused** the preflight's log, the publication, *DAM → Asset* and the package's page say why,
in words; everything else goes out. Mend the rights or fill in what is missing: that is reviewed again, and then goes
out. A licence that was only renewed needs no review: clear `preflight`.

**When the approval is void** nothing is published: `review_instead` sends the new package to review, and
`review_again` does when the change came after the preflight.

Idempotent: killed at any moment and run again, nothing is published twice.
"""

from airflow.sdk import DAG, PartitionedAssetTimetable

from dam_operators.base import ClaimOperator
from dam_operators.events import PACKAGE_APPROVED
from dam_operators.groups import activate
from dam_operators.stage import KEY_PARAMS, dag_settings

with DAG(
    dag_id="activate_package",
    schedule=PartitionedAssetTimetable(assets=PACKAGE_APPROVED),
    doc_md=__doc__,
    params=KEY_PARAMS,
    **dag_settings("activate"),
):
    claim = ClaimOperator(task_id="claim")
    activate(claim.output)
