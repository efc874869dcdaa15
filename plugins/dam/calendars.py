"""Working time: calendars with a time zone, working hours, week days and holidays, and deadlines counted in them.

A working day is the span between a calendar's hours on a day that is worked. Deadlines count in such days, and
parts of them in parts of a day: two days from Monday, a third of the day gone, is Wednesday at a third. What
begins outside working time begins with the next one. The hours are those of the wall clock there, so a day on
which the clocks change is one working day like every other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dam.errors import BadInput
from dam.load import Mistake

if TYPE_CHECKING:
    from holidays import HolidayBase

WeekDay = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[WeekDay, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
#: Days without work that are looked over at most: a calendar that never works has no deadline.
IDLE = 1000
#: Names of the one zone whose abbreviation says all.
_UTC = ("UTC", "Etc/UTC")


class Calendar(BaseModel):
    """When a team works.

    :param time_zone: of the IANA database, e.g. ``Europe/Berlin``.
    :param hours: working hours on the wall clock there, ``09:00-17:00``; midnight at the end is ``24:00``.
    :param days: week days that are worked.
    :param holidays: country whose public holidays are free (ISO 3166-1, e.g. ``DE``), with a subdivision where
        that has holidays of its own (``DE-BY``).
    :param days_off: further days that are free.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    time_zone: str
    hours: str = "09:00-17:00"
    days: Annotated[list[WeekDay], Field(min_length=1)] = list(WEEK[:5])
    holidays: Annotated[str, Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,4})?$")] | None = None
    days_off: list[date] = []

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise Mistake(
                f"there is no time zone {value!r}", remedy="Use a name like Europe/Berlin or America/New_York."
            ) from error
        return value

    @field_validator("hours")
    @classmethod
    def _in_order(cls, value: str) -> str:
        found = _HOURS.fullmatch(value)
        numbers = [int(part) for part in found.groups()] if found else []
        if not numbers or not 0 <= _minutes(numbers[:2]) < _minutes(numbers[2:]) <= 24 * 60 or max(numbers[1::2]) > 59:
            raise Mistake(f"{value!r} are no hours of a day", remedy="Write them like 09:00-17:30.")
        return value

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.time_zone)

    @cached_property
    def _free(self) -> HolidayBase | dict[Any, Any]:
        return _holidays(self.holidays) if self.holidays else {}

    @cached_property
    def _span(self) -> tuple[int, int]:
        numbers = [int(part) for part in re.findall(r"\d+", self.hours)]
        return _minutes(numbers[:2]), _minutes(numbers[2:])

    def told(self, moment: datetime) -> str:
        """Return a moment as people there read it: on their wall clock, with the zone's abbreviation and name."""
        local = moment.astimezone(self.zone)
        short = local.tzname() or ""
        zone = "UTC" if self.time_zone in _UTC else f"{short} ({self.time_zone})" if short.isalpha() else self.time_zone
        return f"{local:%A, %-d %B %Y, %H:%M} {zone}"

    def works_on(self, day: date) -> bool:
        """Return whether a day is a working day."""
        return WEEK[day.weekday()] in self.days and day not in self.days_off and day not in self._free

    def span(self, day: date) -> tuple[datetime, datetime]:
        """Return when a day's working hours begin and end, in UTC."""
        start, end = (self._at(day, minutes) for minutes in self._span)
        return start, end

    def add(self, moment: datetime, days: float) -> datetime:
        """Return the moment that lies so many working days later (earlier, when negative), in UTC.

        Whole days later than a moment in working time is the same share of a later day. A deadline that falls on
        the end of a working day stays there; it does not slip to the next morning.
        """
        if days < 0:
            return self._back(moment, -days)
        day, gone = self._position(moment)
        left = gone + days
        for worked in self._worked(day, 1):
            if left <= 1:
                return self._share(worked, left)
            left -= 1
        raise _never(self)

    def _back(self, moment: datetime, days: float) -> datetime:
        day = moment.astimezone(self.zone).date()
        left = days
        for worked in self._worked(day, -1):
            start, stop = self.span(worked)
            gone = min(max((moment - start) / (stop - start), 0.0), 1.0) if worked == day else 1.0
            if left <= gone and (gone > 0 or days == 0):
                return self._share(worked, gone - left)
            left -= gone
        raise _never(self)

    def _position(self, moment: datetime) -> tuple[date, float]:
        """Return the working day that a moment is in, or else the next one, and which share of it is over."""
        today = moment.astimezone(self.zone).date()
        for day in self._worked(today, 1):
            start, stop = self.span(day)
            if moment < stop:
                return day, max((moment - start) / (stop - start), 0.0)
        raise _never(self)

    def _worked(self, day: date, step: int) -> Iterator[date]:
        """Yield the working days from a day on, forwards or backwards, while they come at all."""
        idle = 0
        while idle < IDLE:
            if self.works_on(day):
                idle = 0
                yield day
            idle += 1
            day += timedelta(days=step)

    def _share(self, day: date, share: float) -> datetime:
        start, stop = self.span(day)
        return start + (stop - start) * share

    def _at(self, day: date, minutes: int) -> datetime:
        # a time that the clocks jump over, or show twice, is taken as the standard library does: the first of both
        later, minutes = divmod(minutes, 24 * 60)
        wall = datetime.combine(day + timedelta(days=later), time(*divmod(minutes, 60)), tzinfo=self.zone)
        return wall.astimezone(UTC)


def known_holidays(code: str) -> bool:
    """Return whether the holidays of a country, or of a part of it, are known."""
    try:
        _holidays(code)
    except NotImplementedError:
        return False
    return True


#: Working time where a workflow has no calendar of its own: Monday to Friday, nine to five, UTC.
PLAIN = {"time_zone": "UTC"}


def _minutes(clock: list[int]) -> int:
    return clock[0] * 60 + clock[1]


def _holidays(code: str) -> HolidayBase:
    """Return a country's holidays, of every year that is asked for. :raises NotImplementedError: it is unknown."""
    import holidays  # not when a DAG is parsed, where nobody counts days

    country, _, part = code.partition("-")
    return holidays.country_holidays(country, subdiv=part or None)


def _never(calendar: Calendar) -> BadInput:
    return BadInput(
        f"a calendar in {calendar.time_zone} never works",
        where="workflow.yaml: calendars",
        remedy="Look at its days and days_off.",
    )
