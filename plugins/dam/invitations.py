"""Calendar entries of deadlines (RFC 5545), as invitations that a mail carries (RFC 5546, RFC 6047).

An entry is known by its UID. The same UID with a higher SEQUENCE takes its place, and CANCEL takes it away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from icalendar import Alarm, Calendar, Event, vCalAddress, vText

Method = Literal["REQUEST", "CANCEL"]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment by which somebody must have done something.

    :param uid: the same for as long as the thing is the same, whatever its deadline.
    :param at: the deadline, aware. :param alarm: how long before it the calendar rings.
    :param link: the page to open; empty where there is none for everybody who reads the calendar.
    :param organiser: address that the mail comes from. :param person: address of who is invited.
    """

    uid: str
    at: datetime
    title: str
    text: str
    link: str
    organiser: str
    person: str
    name: str
    alarm: timedelta


def calendar_file(deadline: Deadline, *, method: Method, sequence: int, stamp: datetime) -> bytes:
    """Return a calendar file with one entry, in UTC.

    :param method: ``REQUEST`` puts the entry into a calendar or moves it, ``CANCEL`` takes it away.
    :param sequence: never smaller than that of the entry it follows. :param stamp: when it was made, aware.
    """
    calendar = Calendar()
    calendar.add("prodid", "-//airflow-dam//review//EN")
    calendar.add("version", "2.0")
    calendar.add("method", method)
    event = Event()
    event.add("uid", deadline.uid)
    event.add("sequence", sequence)
    event.add("dtstamp", stamp.astimezone(UTC).replace(microsecond=0))
    event.add("dtstart", deadline.at.astimezone(UTC).replace(microsecond=0))  # a moment: it has no duration
    event.add("summary", deadline.title)
    event.add("description", "\n\n".join(filter(None, [deadline.text, deadline.link])))
    if deadline.link:
        event.add("url", deadline.link)
    event.add("status", "CANCELLED" if method == "CANCEL" else "CONFIRMED")
    event.add("transp", "TRANSPARENT")  # nobody is busy because of it
    event.add("organizer", vCalAddress(f"mailto:{deadline.organiser}"))
    person = vCalAddress(f"mailto:{deadline.person}")
    person.params["cn"] = vText(deadline.name)
    person.params["rsvp"] = vText("FALSE")  # the answer is a signature, not a reply to this mail
    event.add("attendee", person, encode=False)
    if method == "REQUEST":
        alarm = Alarm()
        alarm.add("action", "DISPLAY")
        alarm.add("description", deadline.title)
        alarm.add("trigger", -deadline.alarm)
        event.add_component(alarm)
    calendar.add_component(event)
    content: bytes = calendar.to_ical()
    return content
