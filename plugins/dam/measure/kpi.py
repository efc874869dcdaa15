"""What a KPI is, and how its numbers are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["hours", "working", "share", "parts", "number", "money"]


@dataclass(frozen=True, slots=True)
class Kpi:
    """A number we report.

    ``query`` gives one row: ``value``, ``rows`` (how many inputs), ``first`` and ``last`` (their time range),
    and what its format shows beside it: ``spread`` (fastest, quartiles, slowest) and perhaps ``p90`` of hours,
    ``part`` of a share, ``breakdown`` of money, parts and numbers. ``empty`` says why there is no value when there is
    nothing to compute it from. ``aim`` says what is better: the most or the least. ``section`` is where it is shown,
    ``beside`` what a number's breakdown counts.
    """

    name: str
    label: str
    format: Format
    unit: str
    definition: str
    query: str
    empty: str
    aim: Literal["most", "least"] = "least"
    section: Literal["", "reviews"] = ""
    beside: str = ""


_CLOCK = ((24.0, 24.0 * 3, "days"), (1.0, 1.0, "h"), (1 / 60, 1 / 60, "min"), (1 / 3600, 0.0, "s"))


def shown(form: str, value: float | None) -> str:
    """Return a KPI's value as people read it: ``14 min``, ``78 %``, ``1.4``, ``4,800.00``; a dash for None.

    Hours become days by the clock, three of them and more; working hours stay hours: a working day has no one length.
    """
    if value is None:
        return "–"
    if form in ("share", "parts"):
        return f"{100 * value:.0f} %"
    if form == "money":
        return f"{value:,.2f}"
    if form == "number":
        return f"{value:.2f}".rstrip("0").rstrip(".")
    for size, longest, unit in _CLOCK[1:] if form == "working" else _CLOCK:
        if value >= longest:
            return f"{value / size:.1f}".removesuffix(".0") + f" {unit}"
    return "0 s"
