"""
### Review reminders: nobody misses a seat, and silence stays silence

**Starts** every quarter of an hour. **Ends with** a row in the table `reminders` for each message, and an event
`seat.reminded` or `seat.escalated` in the audit trail of its package.

**What it does.** Mails the people of each seat before, at and after its deadline, as the section `reminders` of
`include/templates/workflow.yaml` says, with links to the very proofs and the deadline for their calendar, told on the
clock of the seat's calendar (the first of `calendars` when it is due in hours); deputies of people who are away are
told too. What the mail server did not take when a seat opened is sent now. Guests get a new link with it, unless they
were in the review within the hour. Posts the same to the chat room, if there is one (connection `dam_chat` or
`DAM_CHAT_URL`). Tells the role under `escalate` when nobody signed: they can name a deputy and ask again on the
package's page. Takes the deadline back from calendars when a seat closes before it. Nothing here signs or approves.

**When `remind` fails** the mail server is down or refuses mails: the log says which. Everything else was sent; the
retries and the next run send just these, unless they are overtaken by then. A chat room that does not answer is a
warning in the log and keeps nothing back.

**After an outage** people get one message a seat, the latest that is due, and none of those that were missed. **When
somebody says they were not told**, the rows of `reminders` for their name say when and by what, or why not: `off` is
a mail server that is not set, `dropped` has its reason in `problem`.

Idempotent: a message is claimed before it is sent and sent once; a run that is killed leaves what it claimed to the
next one, under the same Message-ID.
"""

from airflow.sdk import DAG

from dam_operators.reminders import RemindOperator
from dam_operators.stage import clock, dag_settings

with DAG(
    dag_id="review_reminders",
    schedule=clock("*/15 * * * *"),
    doc_md=__doc__,
    **dag_settings("review", max_active_runs=1),
):
    RemindOperator(task_id="remind")
