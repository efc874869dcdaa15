"""
### Measure: usage and KPIs, every night

**Starts** at 01:30 UTC. **Ends with** a KPI report (HTML and JSON) under *DAM → Reports*.

**What it does.** Reads what is new in the origin's access log (combined or W3C format) into usage facts,
each line exactly once, then makes the report: approval time, reuse ratio, first-time-right rate, time to
publish, cost per asset; and how reviews go: time in a seat, what was overdue, rounds to an approval, must-fixes,
whom the work waits for. Every number carries its query, its inputs' time range and this run; `dam kpi explain NAME`
tells them as well.

Idempotent: the log is read from where the last run stopped; the same period makes the same report.
"""

from airflow.sdk import DAG

from dam_operators.measure import KpiReportOperator, UsageOperator
from dam_operators.stage import clock, dag_settings

with DAG(
    dag_id="measure_nightly",
    schedule=clock("30 1 * * *"),
    doc_md=__doc__,
    **dag_settings("measure", max_active_runs=1),
):
    usage = UsageOperator(task_id="read_access_log")
    report = KpiReportOperator(
        task_id="kpi_report",
        start="{{ (dag_run.run_after - macros.timedelta(days=90)).isoformat() }}",
        end="{{ dag_run.run_after.isoformat() }}",
    )
    usage >> report
