"""What signatures say together: of a version, of a package, and whether anything may still be approved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dam.catalog.models import PackageStatus, Purpose, SeatStatus, Verdict, VersionState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dam.catalog.models import Decision, Package

STATE_OF = {
    Verdict.APPROVE: VersionState.APPROVED,
    Verdict.REQUEST_CHANGES: VersionState.CHANGES_REQUESTED,
    Verdict.REJECT: VersionState.REJECTED,
}


def said(decision: Decision, version_id: str) -> Verdict:
    """Return what a signature says of one version: its own verdict, or else the package's."""
    return Verdict(decision.versions.get(version_id, {}).get("verdict", decision.verdict))


def vetoed(package: Package) -> bool:
    """Return whether a signature on a veto seat rejects every version: the review is over at once."""
    return any(
        all(said(decision, entry.version_id) == Verdict.REJECT for entry in package.entries)
        for seat in package.seats
        if seat.veto
        for decision in seat.signatures
    )


def of_version(package: Package, version_id: str) -> Verdict:
    """Return what all signatures together say of one version of a review that is over.

    Approved when every signature approves it and no needed seat lacks one; rejected when a veto seat's signature
    rejects it; otherwise changes are requested. What is not complete when its metadata was to be filled in is left
    out, veto or not.
    """
    given = [(seat.veto, said(decision, version_id)) for seat in package.seats for decision in seat.signatures]
    complete = all(seat.status in (SeatStatus.SIGNED, SeatStatus.NOT_NEEDED) for seat in package.seats)
    if given and complete and all(verdict == Verdict.APPROVE for _, verdict in given):
        return Verdict.APPROVE
    if any(veto and verdict == Verdict.REJECT for veto, verdict in given):
        return Verdict.REJECT
    return Verdict.REJECT if package.purpose == Purpose.METADATA else Verdict.REQUEST_CHANGES


def may_approve(package: Package) -> bool:
    """Return whether a version is left that every signature so far approves: later stages need not ask otherwise."""
    decisions = [decision for seat in package.seats for decision in seat.signatures]
    return any(
        all(said(decision, entry.version_id) == Verdict.APPROVE for decision in decisions) for entry in package.entries
    )


def of_package(given: Iterable[str]) -> PackageStatus:
    """Return a package's status from its versions' verdicts: what is best of any of them."""
    verdicts = set(given)
    if Verdict.APPROVE in verdicts:
        return PackageStatus.APPROVED
    if Verdict.REQUEST_CHANGES in verdicts:
        return PackageStatus.CHANGES_REQUESTED
    return PackageStatus.REJECTED
