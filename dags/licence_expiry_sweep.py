"""
### Licence expiry: warn in time, withdraw at expiry, prove it

**Starts** daily at 04:00 UTC. **Ends with** a takedown receipt for each withdrawn publication.

**What it does.** Mails the owners of what expires in 90, 60, 30, 14, 7 or 1 days, each mark once.
Withdraws every publication whose licence has ended, at every endpoint (origin, each rendition, CMS), and
probes each of them dead; the receipt is kept.

**When `takedown` fails** an endpoint still answers: the log names its URL. Everything else is withdrawn;
clear the task to try again.

The param `today` looks from another day. One that has not come is a rehearsal: the tasks return what would
be mailed and withdrawn, and nothing is. Idempotent: marks are sent once, a publication that is withdrawn
stays so.
"""

from airflow.sdk import DAG, Param

from dam_operators.retention import ExpiryTakedownOperator, LicenceAlertOperator
from dam_operators.stage import clock, dag_settings

TODAY = "{{ params.today or dag_run.run_after.date().isoformat() }}"

with DAG(
    dag_id="licence_expiry_sweep",
    schedule=clock("0 4 * * *"),
    doc_md=__doc__,
    params={"today": Param("", type=["string", "null"], title="Today", description="ISO date; empty: now.")},
    **dag_settings("archive", max_active_runs=1),
):
    LicenceAlertOperator(task_id="alert", today=TODAY)
    ExpiryTakedownOperator(task_id="takedown", today=TODAY)
