"""When people are reminded of a seat: the section ``reminders`` of ``workflow.yaml``.

Times are spans of the clock (``90m``, ``4h``, ``2d``) before or after a seat's deadline, which itself is set in
working days: what is due on Monday at nine is told on Monday at five as well as on Saturday.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dam.load import Mistake

#: How long after its moment the last reminder, and the escalation, are still worth sending after an outage.
LAST = timedelta(days=7)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"([1-9]\d{0,4})([mhd])")
_LONGEST = timedelta(days=30)
Audience = Literal["seat", "escalation"]


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time as people write it: ``4h``."""

    written: str
    length: timedelta


def _span(value: Any) -> Any:
    if isinstance(value, Span):
        return value
    found = _SPAN.fullmatch(str(value).strip())
    if found is None or (length := timedelta(**{_UNITS[found[2]]: int(found[1])})) > _LONGEST:
        raise Mistake(
            f"{value!r} is no span of time", remedy="Write minutes, hours or days, at most 30 days: 90m, 4h, 2d."
        )
    return Span(found[0], length)


def _each_once(spans: Any) -> Any:
    lengths = [span.length for span in map(_span, spans if isinstance(spans, list) else [spans])]
    if len(set(lengths)) < len(lengths):
        raise Mistake("the same span stands there twice", remedy="Name each once.")
    return spans


OneSpan = Annotated[Span, BeforeValidator(_span)]
Spans = Annotated[list[OneSpan], Field(max_length=12), BeforeValidator(_each_once)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, arbitrary_types_allowed=True)


class Escalation(_Strict):
    """Who is told when nobody signed, and how long after the deadline."""

    after: OneSpan
    to: str = Field(pattern=r"^[a-z]+(_[a-z]+)*$")


@dataclass(frozen=True, slots=True)
class Mark:
    """One moment at which somebody is told of a seat.

    :param kind: its name in the record: ``before_48h``, ``at``, ``after_24h``, ``escalate_4h``.
    :param offset: from the seat's deadline; negative before it.
    :param until: from the deadline, when the mark is not worth sending any more: the next one takes its place.
    :param audience: ``seat``: who may sign it; ``escalation``: who looks after seats that nobody signed.
    """

    kind: str
    offset: timedelta
    until: timedelta
    audience: Audience


class Reminders(_Strict):
    """Reminders before, at and after a seat's deadline, and the escalation after it."""

    before: Spans = [Span("24h", timedelta(hours=24)), Span("4h", timedelta(hours=4))]
    at: bool = True
    after: Spans = []
    escalate: Escalation | None = None

    def marks(self) -> list[Mark]:
        """Return every moment, in order; of the marks of one audience only one is due at any time."""
        moments = [(f"before_{span.written}", -span.length) for span in self.before]
        moments += [("at", timedelta())] if self.at else []
        moments += [(f"after_{span.written}", span.length) for span in self.after]
        moments.sort(key=lambda moment: moment[1])
        ends = [following[1] for _, following in pairwise(moments)] + [moment[1] + LAST for moment in moments[-1:]]
        found = [
            # what is to come before the deadline never comes after it
            Mark(kind, offset, min(until, timedelta()) if offset < timedelta() else until, "seat")
            for (kind, offset), until in zip(moments, ends, strict=True)
        ]
        if self.escalate is not None:
            length = self.escalate.after.length
            found.append(Mark(f"escalate_{self.escalate.after.written}", length, length + LAST, "escalation"))
        return found

    def alarm(self) -> timedelta:
        """Return how long before the deadline a calendar rings: the last reminder before it, else an hour."""
        return min((span.length for span in self.before), default=timedelta(hours=1))
