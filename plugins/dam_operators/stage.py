"""What every stage's DAG has in common, read from ``include/templates/workflow.yaml``."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache
from typing import Any

from airflow.sdk import Param

from dam import PROJECT
from dam.errors import BadInput
from dam.workflow import Workflow

#: Params of a stage that is started by an event, for a run that a person starts by hand.
KEY_PARAMS = {
    "key": Param("", type="string", title="Key", description="Id of the brief, batch or package to work."),
    "take_over": Param(
        False,
        type="boolean",
        title="Take over",
        description="Work the key although another run has it (that run failed and was given up).",
    ),
}


def clock(cron: str) -> str | None:
    """Return a DAG's schedule by the clock (UTC); None with ``DAM_SCHEDULES=off``, so that only people start it.

    Use it for every schedule that is a time: rehearsals and tests then come out alike at any hour.

    :raises BadInput: ``DAM_SCHEDULES`` is neither ``on`` nor ``off``.
    """
    given = os.environ.get("DAM_SCHEDULES") or "on"
    if given not in ("on", "off"):
        raise BadInput(f"{given!r} is neither on nor off", where="DAM_SCHEDULES", remedy="Set one of them, or nothing.")
    return cron if given == "on" else None


@cache
def workflow() -> Workflow:
    """Return the workflow template."""
    return Workflow.load(PROJECT / "include" / "templates" / "workflow.yaml")


def dag_settings(stage: str, **more: Any) -> dict[str, Any]:
    """Return the keyword arguments every stage's DAG shares: owner, tags, retries, many waiting runs.

    :param stage: name of the stage in ``workflow.yaml``, e.g. ``review``.
    :param more: further arguments of the DAG; they win.
    """
    shared: dict[str, Any] = {
        "catchup": False,
        "tags": ["dam", stage],
        # a run that waits for a person still counts as active
        "max_active_runs": 500,
        "max_active_tasks": 500,
        "default_args": {
            "owner": workflow().stages[stage].owner,
            "retries": 3,
            "retry_delay": timedelta(seconds=10),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=5),
        },
        "render_template_as_native_obj": True,
    }
    return shared | more
