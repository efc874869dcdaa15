"""Create: tasks for creators, waiting for their deliverables, handing them over as a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from dam_operators.base import DamOperator, run_name, told_plainly
from dam_operators.services import get_services
from dam_operators.stage import workflow
from dam_operators.triggers import DeliverablesTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


@contextmanager
def _skipped_when_nobody_waits() -> Iterator[None]:
    """Skip a task whose run has nothing to do: a later brief was signed, or no creator of ours made the versions."""
    from dam.create.deliverables import Cancelled, NoDeliverable

    try:
        yield
    except (Cancelled, NoDeliverable) as told:
        raise AirflowSkipException(str(told)) from told


class OpenCreatorTasksOperator(DamOperator):
    """Opens tasks for creators and the drop folder their files belong in. Returns the batch's id.

    Skipped when a later brief of the campaign is signed, and for a package whose versions answer no deliverable:
    its supplier is to be asked for a new drop.

    :param key: a brief id (all its deliverables), a package id (only the versions for which changes were
        requested) or a batch id (only what the gate did not take of it) (templated).
    """

    template_fields: Sequence[str] = ("key",)

    def __init__(self, *, key: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.key = key

    def work(self, context: Context) -> str:
        """Open the tasks; the same key opens the same tasks."""
        from dam.create import deliverables

        run = run_name(context)
        with _skipped_when_nobody_waits():
            if self.key.startswith("brf_"):
                opened = deliverables.open_tasks(self.services, brief_id=self.key, run=run)
            elif self.key.startswith("bat_"):
                opened = deliverables.open_again(self.services, batch_id=self.key, run=run)
            else:
                opened = deliverables.reopen(self.services, package_id=self.key, run=run)
        self.log.info("Drop folder %s; tasks: %s", opened["location"], opened["tasks"])
        return str(opened["batch_id"])


class DeliverablesSensor(BaseSensorOperator):
    """Waits until every deliverable of a batch is in its drop folder under its conventional name.

    Waits in the triggerer, so it costs no worker slot, until the deadline of the stage ``create`` in
    ``workflow.yaml``, or the day on which the last deliverable is due where that is later. Skipped when a later
    brief was signed: nobody waits for these any more.

    :param batch_id: the batch (templated).
    """

    template_fields: Sequence[str] = ("batch_id",)

    def __init__(self, *, batch_id: str, **kwargs: Any) -> None:
        kwargs.setdefault("poke_interval", 3)
        self.own_timeout = "timeout" in kwargs
        kwargs.setdefault("timeout", timedelta(hours=workflow().stages["create"].deadline_hours))
        super().__init__(**kwargs)
        self.batch_id = batch_id

    def execute(self, context: Context) -> str:
        """Return at once when all is there, else wait in the triggerer."""
        from dam.create import deliverables

        with told_plainly():
            state = deliverables.arrived(get_services(), batch_id=self.batch_id)
        if state["cancelled"]:
            raise AirflowSkipException("a later brief was signed")
        if not state["complete"]:
            self.log.info("Waiting for %s; misnamed: %s", state["missing"], state["misnamed"])
            self.defer(
                trigger=DeliverablesTrigger(batch_id=self.batch_id, poll_seconds=float(self.poke_interval)),
                method_name="execute_complete",
                timeout=self._left(state["missing"]),
            )
        return self.batch_id

    def _left(self, missing: list[str]) -> timedelta:
        """Return how long to wait; the deadline is the batch's, so a retry or a clear gives no new time."""
        from dam.create import deliverables

        if self.own_timeout:
            return timedelta(seconds=float(self.timeout))
        left = deliverables.deadline(get_services(), batch_id=self.batch_id) - datetime.now(UTC)
        if left <= timedelta():
            raise AirflowSensorTimeout(
                f"The deadline is over and {', '.join(missing)} is missing. Put the files there and clear this task,"
                " or give the stage create more time in workflow.yaml."
            )
        return left

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        """Return the batch's id."""
        if event.get("cancelled"):
            raise AirflowSkipException("a later brief was signed")
        return str(event["batch_id"])


class SubmitDeliverablesOperator(DamOperator):
    """Closes the creators' tasks of a batch whose files are all there. Returns the batch's id.

    :param batch_id: the batch (templated).
    """

    template_fields: Sequence[str] = ("batch_id",)

    def __init__(self, *, batch_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id

    def work(self, context: Context) -> str:
        """Close the tasks."""
        from dam.create import deliverables

        with _skipped_when_nobody_waits():
            deliverables.submit(self.services, batch_id=self.batch_id, run=run_name(context))
        return self.batch_id
