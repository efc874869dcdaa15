"""Triggers: they look at the stores and the catalogue from the triggerer, without a worker slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from dam_operators.services import get_services


class DeliverablesTrigger(BaseTrigger):
    """Fires when every deliverable of a batch is in its drop folder.

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
            if state["complete"]:
                yield TriggerEvent({"batch_id": self.batch_id})
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
    """Fires when drops in the inbox are complete and not registered; folder and S3 alike.

    Each set of locations is told once by this trigger; the DAG it starts registers them all, so a
    repeated or lost event neither doubles nor loses a batch.

    :param poll_seconds: seconds between looks.
    """

    def __init__(self, poll_seconds: float = 3.0) -> None:
        super().__init__()
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make it again."""
        return "dam_operators.triggers.InboxTrigger", {"poll_seconds": self.poll_seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look for complete drops for ever."""
        from dam.ingest import drops

        told: set[str] = set()
        while True:
            found = set(await asyncio.to_thread(drops.discover, get_services()))
            if found - told:
                yield TriggerEvent({"locations": sorted(found)})
            told = found
            await asyncio.sleep(self.poll_seconds)
