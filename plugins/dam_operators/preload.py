"""What tasks import, imported once, before a process forks for each task.

Imported by the plugin where ``DAM_PRELOAD`` is set: in the scheduler of a machine with LocalExecutor, and in Celery
workers. A task then starts without the seconds that these imports take, and shares their memory. Nothing here may
start a thread or open a connection when it is imported: it would not live on in a forked process.
"""

from __future__ import annotations

import great_expectations  # noqa: F401, TID253 - the one place where it is worth its two seconds
import holidays.countries  # noqa: F401 - a module a country, which the workflow takes all of for its calendars

import dam.channels.publish
import dam.enrich.contracts
import dam.enrich.tags
import dam.ingest.batches
import dam.ingest.gate
import dam.measure.kpis
import dam.renditions.render
import dam.retention.archive
import dam.review.packages
import dam.review.seats  # noqa: F401
