"""``dam decide`` and ``dam seat …``: sign a package, take it back, hand it on, be away, by the rules of the room."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from dam.commands import plainly
from dam.errors import BadInput
from dam.services import Services

app = typer.Typer(no_args_is_help=True, help="The seats of packages.")
_Person = Annotated[str, typer.Option(help="Who does it.")]


@plainly
def decide(
    seat: str,
    person: Annotated[str, typer.Option(help="Who signs.")],
    verdict: Annotated[
        str, typer.Option(help="approve, request_changes or reject; of metadata approve (done) or reject (leave out).")
    ],
    comment: Annotated[str, typer.Option(help="Goes into the record; to reject takes one.")] = "",
    conditions: Annotated[str, typer.Option(help="What an approval is tied to.")] = "",
    version: Annotated[
        list[str] | None, typer.Option(help="Where one version differs: ver_…=reject, or ver_…=reject:why.")
    ] = None,
) -> None:
    """Sign a seat; the same rules hold as in the review room."""
    from dam.review import packages, seats

    services = Services.from_env()
    told = seats.decide(
        services,
        seat_id=seat,
        person=person,
        verdict=verdict,
        comment=comment,
        conditions=conditions,
        versions=dict(_single(text) for text in version or []),
        via="cli",
    )
    status = packages.verdict(services, package_id=told["package_id"])["status"]
    stood_in = f" for {told['on_behalf_of']}" if told["on_behalf_of"] else ""
    more = "; the seat needs more signatures" if told["seat_status"] == "open" else ""
    typer.echo(
        f"Signed{stood_in} over {told['manifest_sha256'][:12]}…{more}; the package is {status or 'still in review'}."
    )


def _single(text: str) -> tuple[str, dict[str, Any]]:
    version_id, _, said = text.partition("=")
    verdict, _, comment = said.partition(":")
    if not verdict:
        raise BadInput(f"{text!r} names no verdict", where="--version", remedy="Write it like ver_…=reject:Too dark.")
    return version_id, {"verdict": verdict, "comment": comment}


@app.command("list")
@plainly
def list_(package: str) -> None:
    """Show a package's seats: who may sign, until when, who has."""
    from dam.review import packages

    for seat in packages.seats(Services.from_env(), package_id=package):
        people = [*seat["eligible"], *(f"{deputy} for {person}" for deputy, person in seat["deputies"].items())]
        typer.echo(
            f"{seat['seat_id']} stage {seat['stage']} {seat['role']}: {seat['status']}, "
            f"{len(seat['signatures'])} of {seat['needed']} signed, due {seat['due_at']}; {', '.join(people)}"
            + (f". {seat['reason']}" if seat["reason"] else "")
        )
        for signed in seat["signatures"]:
            tied = f", on condition: {signed['conditions']}" if signed["conditions"] else ""
            typer.echo(f"  {signed['decision_id']} {signed['person']}: {signed['verdict']}{tied} {signed['comment']}")


@app.command("undo")
@plainly
def undo(seat: str, person: _Person) -> None:
    """Take one's own signature back, until the seat is closed."""
    from dam.review import seats

    told = seats.undo(Services.from_env(), seat_id=seat, person=person, via="cli")
    typer.echo(f"Taken back: {told['verdict']}. The seat is {told['seat_status']}.")


@app.command("delegate")
@plainly
def delegate(
    seat: str,
    person: _Person,
    to: Annotated[str, typer.Option(help="Who takes the seat.")],
    why: Annotated[str, typer.Option(help="Goes into the record.")],
) -> None:
    """Hand one's seat of a package to somebody else."""
    from dam.review import seats

    seats.delegate(Services.from_env(), seat_id=seat, person=person, to=to, why=why)
    typer.echo(f"{to} may sign for {person}.")


@app.command("met")
@plainly
def met(decision: str, person: _Person, note: Annotated[str, typer.Option(help="What was done.")] = "") -> None:
    """Tick off the condition of a conditional approval."""
    from dam.review import seats

    seats.condition_met(Services.from_env(), decision_id=decision, person=person, note=note)
    typer.echo("The condition is met.")


@app.command("away")
@plainly
def away(
    person: _Person,
    start: Annotated[datetime, typer.Option("--from", help="First moment, in this machine's time.")],
    until: Annotated[datetime, typer.Option(help="The moment they are back.")],
    deputy: Annotated[str | None, typer.Option(help="Who takes their seats meanwhile.")] = None,
    reason: Annotated[str, typer.Option(help="Told only to them and to who may enter it.")] = "",
) -> None:
    """Enter that somebody is away."""
    from dam.review import seats

    made = seats.away(
        Services.from_env(),
        person=person,
        deputy=deputy,
        start=start.astimezone(),
        until=until.astimezone(),
        reason=reason,
    )
    typer.echo(made)


@app.command("back")
@plainly
def back(absence: str, person: _Person) -> None:
    """Call an absence off."""
    from dam.review import seats

    seats.back(Services.from_env(), absence_id=absence, by=person)
    typer.echo("It ends now.")
