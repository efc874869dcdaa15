"""Deadlines in working days: what is counted, where the clocks change, and what never works."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dam.calendars import WEEK, Calendar, known_holidays
from dam.errors import BadInput

BERLIN = ZoneInfo("Europe/Berlin")


def at(text, zone=BERLIN):
    """Return a moment on the wall clock of a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def wall(moment, zone=BERLIN):
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def is_open(calendar, moment):
    """Return whether a moment is in working time."""
    day = moment.astimezone(calendar.zone).date()
    start, end = calendar.span(day)
    return calendar.works_on(day) and start <= moment < end


def between(calendar, earlier, later):
    """Return how many working days lie between two moments, counted day by day."""
    total, day, end = 0.0, earlier.astimezone(calendar.zone).date(), later.astimezone(calendar.zone).date()
    while day <= end:
        if calendar.works_on(day):
            start, stop = calendar.span(day)
            part = min(later, stop) - max(earlier, start)
            total += max(part, timedelta()) / (stop - start)
        day += timedelta(days=1)
    return total


HOUSE = Calendar(time_zone="Europe/Berlin", hours="09:00-17:00", holidays="DE")
CASES = {
    "the same hour of a later day": ("2027-03-01 11:00", 2, "2027-03-03 11:00"),
    "over a weekend": ("2027-03-05 11:00", 1, "2027-03-08 11:00"),
    "before work it begins with the day": ("2027-03-01 06:00", 1, "2027-03-01 17:00"),
    "after work it begins with the next": ("2027-03-01 20:00", 1, "2027-03-02 17:00"),
    "on a Sunday it begins on Monday": ("2027-03-07 12:00", 0.5, "2027-03-08 13:00"),
    "over Good Friday and Easter Monday": ("2027-03-25 11:00", 1, "2027-03-30 11:00"),
    "over Christmas": ("2026-12-24 16:00", 0.5, "2026-12-28 12:00"),
    "a part of a day": ("2027-03-01 09:00", 0.25, "2027-03-01 11:00"),
    "no time at all": ("2027-03-01 11:00", 0, "2027-03-01 11:00"),
    "a day before, over a weekend": ("2027-03-08 11:00", -1, "2027-03-05 11:00"),
    "half a day before the morning": ("2027-03-08 09:00", -0.5, "2027-03-05 13:00"),
}


@pytest.mark.parametrize(("start", "days", "due"), CASES.values(), ids=CASES)
def test_working_days(start, days, due):
    assert wall(HOUSE.add(at(start), days)) == due


@pytest.mark.parametrize("start", ["2027-03-26 10:00", "2027-10-29 10:00"], ids=["to summer", "to winter"])
def test_the_wall_clock_rules_where_the_clocks_change(start):
    calendar = Calendar(time_zone="Europe/Berlin", hours="09:00-17:00")
    due = calendar.add(at(start), 1)
    assert wall(due)[-5:] == "10:00"
    hour = timedelta(hours=1)
    assert due - at(start).astimezone(UTC) in (3 * 24 * hour - hour, 3 * 24 * hour + hour)


@pytest.mark.parametrize(("day", "hours"), [("2027-03-28", 23), ("2027-10-31", 25), ("2027-06-06", 24)])
def test_a_day_on_which_the_clocks_change_is_a_working_day_like_others(day, hours):
    whole = Calendar(time_zone="Europe/Berlin", hours="00:00-24:00", days=list(WEEK))
    start, end = whole.span(date.fromisoformat(day))
    assert end - start == timedelta(hours=hours)
    assert whole.add(start, 1) == end
    assert between(whole, start, end) == pytest.approx(1)


def test_the_same_working_day_ends_at_another_time_elsewhere():
    hours = {"hours": "09:00-17:00"}
    start = at("2027-03-01 05:00", UTC)
    dues = [Calendar(time_zone=zone, **hours).add(start, 1) for zone in ("Asia/Tokyo", "UTC", "America/New_York")]
    assert [wall(due, UTC) for due in dues] == ["2027-03-02 05:00", "2027-03-01 17:00", "2027-03-01 22:00"]


def test_holidays_of_a_country_of_a_part_of_it_and_days_off():
    fronleichnam = date(2027, 5, 27)
    own = date(2027, 5, 28)
    assert HOUSE.works_on(fronleichnam)
    bavaria = Calendar(time_zone="Europe/Berlin", holidays="DE-BY", days_off=[own])
    assert not bavaria.works_on(fronleichnam)
    assert not bavaria.works_on(own)
    assert not bavaria.works_on(date(2027, 5, 29))  # a Saturday
    assert bavaria.works_on(date(2027, 5, 26))
    assert known_holidays("US-NY")
    assert not known_holidays("XX")
    assert not known_holidays("DE-XX")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"time_zone": "Europe/Berlinn"}, "there is no time zone"),
        ({"time_zone": "../etc/passwd"}, "there is no time zone"),
        ({"hours": "17:00-09:00"}, "are no hours of a day"),
        ({"hours": "09:00-24:30"}, "are no hours of a day"),
        ({"hours": "09:70-17:00"}, "are no hours of a day"),
        ({"hours": "9-17"}, "are no hours of a day"),
        ({"days": []}, "at least 1"),
        ({"days": ["monday"]}, "Input should be"),
        ({"holidays": "Germany"}, "should match"),
    ],
)
def test_a_calendar_that_can_not_be_is_refused(fields, told):
    with pytest.raises(ValidationError, match=told):
        Calendar.model_validate({"time_zone": "UTC"} | fields)


def test_a_calendar_that_never_works_says_so():
    days_off = [date(2027, 1, 1) + timedelta(days=number) for number in range(2500)]
    never = Calendar(time_zone="UTC", days_off=days_off)
    for days in (1, -1):
        with pytest.raises(BadInput, match="never works"):
            never.add(at("2030-06-01 10:00", UTC), days)


CALENDARS = st.builds(
    lambda zone, start, length, days, country: Calendar(
        time_zone=zone, hours=f"{start:02}:00-{start + length:02}:30", days=days, holidays=country
    ),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
    start=st.integers(4, 10),
    length=st.integers(1, 12),
    days=st.lists(st.sampled_from(WEEK), min_size=1, max_size=7, unique=True),
    country=st.sampled_from([None, "DE", "US", "JP"]),
)


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("Europe/Berlin", "Wednesday, 30 June 2027, 14:00 CEST (Europe/Berlin)"),
        ("America/New_York", "Wednesday, 30 June 2027, 08:00 EDT (America/New_York)"),
        ("America/Sao_Paulo", "Wednesday, 30 June 2027, 09:00 America/Sao_Paulo"),  # it has no abbreviation
        ("UTC", "Wednesday, 30 June 2027, 12:00 UTC"),
    ],
)
def test_a_moment_is_told_on_the_clock_there(zone, words):
    assert Calendar(time_zone=zone).told(datetime(2027, 6, 30, 12, tzinfo=UTC)) == words


MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC))
DAYS = st.floats(0.01, 15)
NEAR = timedelta(milliseconds=5)


@given(calendar=CALENDARS, moment=MOMENTS, days=DAYS)
def test_a_deadline_is_in_working_time_and_just_that_far_away(calendar, moment, days):
    due = calendar.add(moment, days)
    assert due > moment
    assert is_open(calendar, due - NEAR)
    assert between(calendar, moment, due) == pytest.approx(days, abs=1e-6)


@given(calendar=CALENDARS, moment=MOMENTS, one=DAYS, other=DAYS)
def test_time_adds_up_and_more_of_it_is_later(calendar, moment, one, other):
    both = calendar.add(moment, one + other)
    assert abs(calendar.add(calendar.add(moment, one), other) - both) < NEAR
    assert calendar.add(moment, one) < both


@given(calendar=CALENDARS, moment=MOMENTS, days=DAYS)
def test_back_is_the_way_there(calendar, moment, days):
    moment = calendar.add(moment, 0.5)  # in working time
    assert abs(calendar.add(calendar.add(moment, days), -days) - moment) < NEAR
    assert calendar.add(moment, -days) < moment


@given(calendar=CALENDARS, moment=MOMENTS, later=st.timedeltas(timedelta(seconds=1), timedelta(days=20)), days=DAYS)
def test_who_begins_later_ends_no_sooner(calendar, moment, later, days):
    assert calendar.add(moment, days) <= calendar.add(moment + later, days) + NEAR
