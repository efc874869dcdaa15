"""
### Ingest: from files that landed to versions ready for review

**Starts when** a batch is complete: the brief's deliverables, a supplier's drop, an upload. **Ends with**
versions ingested and frozen as packages; each package's event starts `review_package`.

**What it does.** Unpacks archives, reads manifests, bags and sidecars, cuts the batch into chunks by bytes
and takes every file through the gate: checksum,
format by content, full decode, fingerprints, duplicates, embedded metadata, vault, tags, rights. Then
slow and paid taggers (`include/taxonomy/taggers.yaml`), where any is switched on, look at the versions within
their budgets, and the metadata contract (Great Expectations) divides the batch: what is complete goes on at
once, what is not waits for the librarian.

**Refused files** are in quarantine with a reason a person understands: see the batch's receipt under
*DAM*. Their siblings are not held up. Deliverables among them are asked for again at once (`ask_again` starts
`create_assets`, with the reasons as the tasks' notes).

**Files that waited for the malware scanner** and are released by `./dam rescan` when their batch was checked or
closed already are not left behind: the batch is told of again, and another run takes what was released, and that
alone, through the contract to the librarian or to review.

**When `librarian` waits** the librarian has the next move, in *DAM → Librarian*.

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
