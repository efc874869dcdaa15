"""
### Ingest: from files that landed to versions ready for review

**Starts when** a batch is complete: the brief's deliverables, a supplier's drop, an upload. **Ends with**
versions ingested and frozen as packages; each package's event starts `review_package`.

**What it does.** Unpacks archives, reads manifests, bags and sidecars, cuts the batch into chunks by bytes
and takes every file through the gate: checksum,
format by content, full decode, fingerprints, duplicates, embedded metadata, vault, tags, rights. Then
slow and paid taggers (`include/taxonomy/taggers.yaml`), where any is switched on, look at the versions within
their budgets, and the metadata contract (Great Expectations) divides the batch: what is complete goes on at
once, what is not is frozen as a package of its own (`freeze_incomplete`) and waits for its seat.

**Refused files** are in quarantine with a reason a person understands: see the batch's receipt under
*DAM*. Their siblings are not held up. Deliverables among them are asked for again at once (`ask_again` starts
`create_assets`, with the reasons as the tasks' notes).

**Files that waited for the malware scanner** and are released by `./dam rescan` when their batch was checked or
closed already are not left behind: the batch is told of again, and another run takes what was released, and that
alone, through the contract to its completion or to review.

**When `librarian` waits** the people whom `workflow.yaml` names under `sign_offs: metadata` have the next move, in
*DAM → My approvals*: they fill in what is missing in the review room, in the table of *DAM → Librarian* or by CSV,
and sign. *Done* is refused while something is missing; *Leave the rest out* lets go on what is complete. At the
deadline the same happens unsigned. `completed` hands on what is complete then. What was left unsigned a marketing
lead asks for again on the package's page, and `review_package` goes on with it.

Idempotent: a chunk run again skips what is done; the same drop is the same batch.
"""

from airflow.sdk import DAG, PartitionedAssetTimetable

from dam_operators.base import ClaimOperator
from dam_operators.events import BATCH_READY
from dam_operators.groups import ingest, send_to_review
from dam_operators.stage import KEY_PARAMS, dag_settings

with DAG(
    dag_id="ingest_batch",
    schedule=PartitionedAssetTimetable(assets=BATCH_READY),
    doc_md=__doc__,
    params=KEY_PARAMS,
    **dag_settings("ingest"),
):
    claim = ClaimOperator(task_id="claim")
    send_to_review(ingest(claim.output))
