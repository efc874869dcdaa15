"""The day that a sweep looks from, when it is not today."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from dam.catalog.models import utcnow

if TYPE_CHECKING:
    from dam.services import Services


def real_today() -> date:
    """Return the day it is, in UTC."""
    return utcnow().date()


def is_rehearsal(services: Services, today: date) -> bool:
    """Return whether a sweep from this day may only tell what it would do: the day has not come.

    Whoever may start a sweep chooses its day, so a day ahead of the clock must not withdraw or destroy what is
    not due. The setting ``clock_may_run_ahead`` allows it where nothing real is at stake: in a demo, in tests.
    """
    return today > real_today() and not services.settings.clock_may_run_ahead
