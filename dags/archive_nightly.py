"""
### Archive: what is over goes to cold storage, every night

**Starts** at 02:30 UTC. **Ends with** an archive confirmation for each moved version, a fixity report
and the audit chain's signed head.

**What it does.** Superseded versions, and those of ended campaigns that are not live, move to cold
storage: copied, read back, compared, and only then removed from the hot store. A sample of the library
is read back (fixity). The audit chain is verified and its head anchored outside the database.

**When `cold_storage` fails** its log names the versions; the others are done. **When `fixity` fails**
a stored file does not match its SHA-256: restore it from backup before anything else.
**When `anchor_audit` fails** the audit chain was tampered with: `dam audit verify` names the first row.

A version on legal hold never moves. Idempotent: a move killed half-way is finished by the next run.
"""

from airflow.sdk import DAG

from dam_operators.retention import (
    ArchiveDueOperator,
    AuditAnchorOperator,
    ColdStorageOperator,
    FixityOperator,
)
from dam_operators.stage import clock, dag_settings

with DAG(
    dag_id="archive_nightly",
    schedule=clock("30 2 * * *"),
    doc_md=__doc__,
    **dag_settings("archive", max_active_runs=1),
):
    due = ArchiveDueOperator(task_id="due")
    ColdStorageOperator.partial(task_id="cold_storage").expand(version_ids=due.output)
    FixityOperator(task_id="fixity")
    AuditAnchorOperator(task_id="anchor_audit")
