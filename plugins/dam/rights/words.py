"""What a grant allows, as sentences for people who never read a licence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from dam.rights.policy import day, listed
from dam.rights.terms import DEEDS, OWED

if TYPE_CHECKING:
    from dam.catalog.models import Grant

_RELEASES = {"not_needed": "is not needed", "signed": "is signed", "missing": "is missing"}


def of(grant: Grant) -> dict[str, Any]:
    """Return a grant as a package's manifest holds it, which :func:`sentences` and :func:`changes` read.

    Signatures name the manifest's hash: a field more or less here is a change to every package that is in review.
    """
    return {
        "licence": grant.licence.reference,
        "holder": grant.licence.holder,
        "territories": sorted(grant.territories),
        "channels": sorted(grant.channels),
        "starts_on": grant.starts_on.isoformat(),
        "ends_on": grant.ends_on.isoformat() if grant.ends_on else None,
        "model_release": grant.model_release,
        "property_release": grant.property_release,
        "permissions": sorted(grant.permissions),
        "duties": sorted(grant.duties),
        "max_count": grant.max_count,
    }


def sentences(grant: Mapping[str, Any]) -> list[str]:
    """Return what a grant allows, asks for and lacks, a sentence each."""
    told = [
        f"The licence {grant['licence']} from {grant['holder']} lets you {_deeds(grant['permissions'])},"
        f" {_where(grant['territories'])}, {_channels(grant['channels'])}, {_until(grant)}."
    ]
    if grant["max_count"]:
        told.append(f"It is for {_places(grant['max_count'])}.")
    if owed := [words for duty, words in OWED.items() if duty in grant["duties"]]:
        told.append(f"It asks you to {listed(owed)}.")
    told += [
        f"The {release} release {_RELEASES[grant[f'{release}_release']]}."
        for release in ("model", "property")
        if grant[f"{release}_release"] != "not_needed"
    ]
    return told


def changes(older: Mapping[str, Any], newer: Mapping[str, Any]) -> list[str]:
    """Return what differs between two states of a grant, a sentence each."""
    how: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
        "permissions": ("What it allows", lambda grant: _deeds(grant["permissions"])),
        "territories": ("Where", lambda grant: _where(grant["territories"])),
        "channels": ("Channels", lambda grant: _channels(grant["channels"])),
        "starts_on": ("First day", lambda grant: day(date.fromisoformat(grant["starts_on"]))),
        "ends_on": ("Last day", lambda grant: _day(grant["ends_on"])),
        "max_count": ("Places", lambda grant: _places(grant["max_count"])),
        "duties": ("Duties", lambda grant: listed(OWED[duty] for duty in OWED if duty in grant["duties"])),
        "model_release": ("Model release", lambda grant: _RELEASES[grant["model_release"]]),
        "property_release": ("Property release", lambda grant: _RELEASES[grant["property_release"]]),
    }
    return [
        f"{name}: {said(older)} became {said(newer)}."
        for column, (name, said) in how.items()
        if older[column] != newer[column]
    ]


def _deeds(permissions: list[str]) -> str:
    if "*" in permissions:
        return "do everything with it"
    return listed(words for deed, words in DEEDS.items() if deed in permissions)


def _where(territories: list[str]) -> str:
    return "everywhere" if "*" in territories else f"in {listed(territories)}"


def _channels(channels: list[str]) -> str:
    return "on every channel" if "*" in channels else f"on {listed(channels)}"


def _until(grant: Mapping[str, Any]) -> str:
    starts = day(date.fromisoformat(grant["starts_on"]))
    return f"from {starts} {'until ' if grant['ends_on'] else ''}{_day(grant['ends_on'])}"


def _day(text: str | None) -> str:
    return day(date.fromisoformat(text)) if text else "without end"


def _places(count: int | None) -> str:
    if count is None:
        return "any number of places"
    return "one place" if count == 1 else f"{count} places"
