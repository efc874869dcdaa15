"""
### Retention: what may go is destroyed, signed and certified

**Starts** at 05:00 UTC on the first day of each quarter. **Ends with** a certificate for each destroyed
version.

**What it does.** Lists what the policies in `include/taxonomy/retention.yaml` make due, minus legal
holds, and freezes the list with its SHA-256. The DAM admin signs that hash, or keeps everything. Then
every copy is destroyed and certified. List and signature are kept in the catalogue, and read from there
alone.

**When `sign` waits** the DAM admin has the next move. At the deadline nothing is destroyed.
**When `destroy` refuses** the list is not what was signed any more (a hold was placed, say): it names
what changed. Trigger the DAG again for a new list.

The param `today` looks from another day. One that has not come is a rehearsal: the list is made and filed,
and nothing can be signed or destroyed. Idempotent: a run has one list, and what is destroyed stays certified.
"""

from airflow.sdk import DAG, Param

from dam_operators.human import SignDestructionOperator
from dam_operators.retention import DestroyOperator, DestructionListOperator
from dam_operators.stage import clock, dag_settings

with DAG(
    dag_id="retention_sweep",
    schedule=clock("0 5 1 1,4,7,10 *"),
    doc_md=__doc__,
    params={"today": Param("", type=["string", "null"], title="Today", description="ISO date; empty: now.")},
    **dag_settings("archive", max_active_runs=4),
):
    (
        DestructionListOperator(task_id="due", today="{{ params.today or dag_run.run_after.date().isoformat() }}")
        >> SignDestructionOperator(task_id="sign")
        >> DestroyOperator(task_id="destroy")
    )
