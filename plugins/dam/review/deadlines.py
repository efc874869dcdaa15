"""The entries that a seat's deadline has in people's calendars: put there, moved and taken back by mail.

An entry is known by its seat and person. What is mailed is noted, so that the next mail of the same entry has the
sequence that calendars need to take it for the newer one (RFC 5545), and so that it can be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dam.catalog.models import DeadlineInvitation
from dam.review import messages

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam import mail
    from dam.services import Services


def put(
    services: Services,
    session: Session,
    room: messages.Room,
    seat: Mapping[str, Any],
    person: str,
    moment: datetime,
) -> mail.Invitation | None:
    """Return the calendar file of a deadline that is still to come, and note in ``session`` that it is mailed.

    The note must not be committed unless the mail goes out.
    """
    due_at = datetime.fromisoformat(seat["due_at"])
    if due_at <= moment:
        return None
    entry = session.get(DeadlineInvitation, (seat["seat_id"], person), with_for_update=True)
    if entry is None:
        entry = DeadlineInvitation(seat_id=seat["seat_id"], person=person, sequence=0)
        session.add(entry)
    elif not entry.standing or entry.due_at != due_at:  # it was taken back, or the deadline moved
        entry.sequence += 1
    entry.due_at, entry.standing, entry.changed_at = due_at, True, moment
    return messages.invitation(services, room, seat, person, "REQUEST", entry.sequence, moment)
