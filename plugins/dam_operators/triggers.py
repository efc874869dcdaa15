"""Triggers: they look at the stores and the catalogue from the triggerer, without a worker slot."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from dam_operators.services import get_services


class DeliverablesTrigger(BaseTrigger):
    """Fires when every deliverable of a batch is in its drop folder, or nobody waits for them any more.

    :param batch_id: the batch.
    :param poll_seconds: seconds between looks.
    """

    def __init__(self, batch_id: str, poll_seconds: float) -> None:
        super().__init__()
        self.batch_id = batch_id
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make it again."""
        return (
            "dam_operators.triggers.DeliverablesTrigger",
            {"batch_id": self.batch_id, "poll_seconds": self.poll_seconds},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until all is there."""
        from dam.create import deliverables

        while True:
            state = await asyncio.to_thread(deliverables.arrived, get_services(), batch_id=self.batch_id)
            if state["complete"] or state["cancelled"]:
                yield TriggerEvent({"batch_id": self.batch_id, "cancelled": state["cancelled"]})
                return
            await asyncio.sleep(self.poll_seconds)


class VerdictTrigger(BaseTrigger):
    """Fires when a package has a verdict, wherever it was given.

    :param package_id: the package.
    :param poll_seconds: seconds between looks.
    """

    def __init__(self, package_id: str, poll_seconds: float) -> None:
        super().__init__()
        self.package_id = package_id
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make it again."""
        return (
            "dam_operators.triggers.VerdictTrigger",
            {"package_id": self.package_id, "poll_seconds": self.poll_seconds},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the package is closed."""
        from dam.review import packages

        while True:
            verdict = await asyncio.to_thread(packages.verdict, get_services(), package_id=self.package_id)
            if verdict["status"]:
                yield TriggerEvent({"package_id": self.package_id, "status": verdict["status"]})
                return
            await asyncio.sleep(self.poll_seconds)


class InboxTrigger(BaseEventTrigger):
    """Fires when drops in the inbox wait to be taken up; folder and S3 alike.

    A location is told once, and again after a while as long as it waits, because the run that heard of it
    may have failed. The DAG it starts registers them all, so a repeated or lost event neither doubles nor
    loses a batch.

    :param poll_seconds: seconds between looks.
    :param again_seconds: seconds after which what still waits is told again.
    """

    def __init__(self, poll_seconds: float = 3.0, again_seconds: float = 60.0) -> None:
        super().__init__()
        self.poll_seconds = poll_seconds
        self.again_seconds = again_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make it again."""
        return (
            "dam_operators.triggers.InboxTrigger",
            {"poll_seconds": self.poll_seconds, "again_seconds": self.again_seconds},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look for drops for ever."""
        from dam.ingest import drops

        told: dict[str, float] = {}
        while True:
            found = await asyncio.to_thread(drops.discover, get_services())
            now = time.monotonic()
            told = {location: when for location, when in told.items() if location in found}
            if any(now - told.get(location, -math.inf) >= self.again_seconds for location in found):
                yield TriggerEvent({"locations": found})
                told = dict.fromkeys(found, now)
            await asyncio.sleep(self.poll_seconds)
