"""The terms of a grant, and what two sets of terms under one licence allow together: the strictest of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dam.catalog.models import Grant

#: Columns of a grant that say what it allows. Each of them has a stricter and a wider side.
TERMS = (
    "territories", "channels", "permissions", "duties", "starts_on", "ends_on", "max_count", "model_release",
    "property_release",
)  # fmt: skip
#: States of a release, the strictest last.
RELEASES = ("not_needed", "signed", "missing")
#: What ODRL's permissions and duties say, in plain words.
DEEDS = {"distribute": "publish it", "modify": "cut or recolour it", "derive": "make something else of it"}
OWED = {
    "attribute": "credit its maker", "inform": "tell the holder of each use", "compensate": "pay for each use",
    "obtainConsent": "ask before each use",
}  # fmt: skip


def of(grant: Grant) -> dict[str, Any]:
    """Return a grant's terms by column."""
    return {name: getattr(grant, name) for name in TERMS}


def together(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the terms that both allow. Lists that mean the same stay as ``one`` has them.

    :param one: terms as :func:`of` returns them. :param other: likewise.
    :returns: terms; where both have nothing in common a list is empty, or ``ends_on`` lies before ``starts_on``.
    """
    return {
        **{name: _common(one[name], other[name]) for name in ("territories", "channels", "permissions")},
        "duties": [*one["duties"], *sorted(set(other["duties"]) - set(one["duties"]))],
        "starts_on": max(one["starts_on"], other["starts_on"]),
        **{
            name: min((terms[name] for terms in (one, other) if terms[name] is not None), default=None)
            for name in ("ends_on", "max_count")
        },
        **{name: max(one[name], other[name], key=RELEASES.index) for name in ("model_release", "property_release")},
    }


def no_day(terms: Mapping[str, Any]) -> bool:
    """Return whether terms allow no day at all."""
    return terms["ends_on"] is not None and terms["ends_on"] < terms["starts_on"]


def _common(one: list[str], other: list[str]) -> list[str]:
    """Return what both lists allow; ``*`` allows everything."""
    if "*" in other:
        return one
    return other if "*" in one else [word for word in one if word in other]
