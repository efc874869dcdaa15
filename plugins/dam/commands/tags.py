"""``dam tags …``: the taggers, what they took, and re-tagging as a diff."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from dam.commands import plainly
from dam.errors import BadInput
from dam.services import Services

app = typer.Typer(no_args_is_help=True, help="Tags: who says them, and re-tagging as a diff.")
_AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
_Person = Annotated[str, typer.Option(help="Who decides: a librarian.")]
_Approved = Annotated[
    bool, typer.Option("--approved-too", help="Also versions in packages under review or approved: voids them.")
]


@app.command("taggers")
@plainly
def taggers_(as_json: _AsJson = False) -> None:
    """Show every tagger: whether it is asked, what it lacks, and what it took of its budget."""
    from dam.enrich import budget
    from dam.enrich.taggers import afterwards, named, threshold

    services = Services.from_env()
    rows = []
    known = services.taxonomy.taggers
    with services.session() as session:
        for tagger in named(services, [data.name for data in known.taggers]):
            lacks = tagger.unready()
            rows.append(
                budget.spent(session, tagger.data)
                | {
                    "enabled": tagger.data.enabled,
                    "when": "afterwards" if afterwards(tagger) else "in the gate",
                    "threshold": threshold(services, tagger),
                    "model": tagger.model,
                    "version": None if lacks else tagger.version,
                    "lacks": lacks,
                }
            )
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2, default=str))
        return
    for row in rows:
        state = "on, " + str(row["when"]) if row["enabled"] else "off"
        took = f"; took {row['this_month']['calls']} calls, {row['this_month']['money']:g} {known.currency} this month"
        limits = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in row["budget"].items())
        typer.echo(
            f"{row['tagger']}: {state}, from {row['threshold']} on it is applied"
            + (f"; budget: {limits}{took}" if limits else "")
            + (f"; {row['lacks']}" if row["lacks"] else "")
        )


@app.command("learn")
@plainly
def learn() -> None:
    """Let the tagger that learns learn now, from what people tagged and approved."""
    from dam.enrich.taggers import named
    from dam.enrich.taggers.learned import Learned, train

    services = Services.from_env()
    [tagger] = named(services, ["learned"])
    assert isinstance(tagger, Learned)
    row = train(services, tagger, now=True)
    if row is None:
        raise BadInput(str(tagger.unready()), where="learned", remedy="Tag and approve more, then try again.")
    told = row.measured
    precision = f"{told['precision'] * 100:.1f} %" if told["precision"] is not None else "not known"
    typer.echo(
        f"Learned {told['terms']} terms from {row.examples} versions. Measured precision of sure tags: {precision}"
        f" ({told['sure']} of them). It {'applies' if told['passes'] else 'only suggests'}."
    )


@app.command("retag")
@plainly
def retag_(
    tagger: Annotated[
        list[str] | None, typer.Option(help="Which; may be given several times. Default: the gate's.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only versions that came in from this day on (ISO).")] = None,
    person: Annotated[str, typer.Option(help="Who asks for it.")] = "cli",
    as_json: _AsJson = False,
) -> None:
    """Compare what taggers say now with the tags that are there. Nothing is applied."""
    from dam.enrich import retag

    services = Services.from_env()
    run_id = retag.propose(services, person=person, tagger_names=tagger or (), since=_moment(since))
    _show(services, run_id, as_json)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text!r} is no date", where="--since", remedy="Write it like 2027-03-01.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@app.command("runs")
@plainly
def runs() -> None:
    """List the newest retag runs."""
    from dam.enrich import retag

    for row in retag.runs(Services.from_env()):
        typer.echo(
            f"{row['run_id']} {row['status'].replace('_', ' ')}: {', '.join(row['taggers'])}, {row['versions']} of"
            f" {row['looked_at']} versions change; {row['made_by']}, {row['made_at'][:16]}"
        )


@app.command("show")
@plainly
def show(run: str, as_json: _AsJson = False) -> None:
    """Show what a retag run comes to."""
    _show(Services.from_env(), run, as_json)


@app.command("apply")
@plainly
def apply(
    run: str,
    person: _Person,
    approved_too: _Approved = False,
    unsampled: Annotated[bool, typer.Option("--unsampled", help="Although nobody looked at a sample.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Apply a retag run as one."""
    from dam.enrich import retag

    services = Services.from_env()
    retag.apply(services, run_id=run, person=person, approved=approved_too, unsampled=unsampled)
    _show(services, run, as_json)


@app.command("rollback")
@plainly
def rollback(run: str, person: _Person, approved_too: _Approved = False, as_json: _AsJson = False) -> None:
    """Undo an applied retag run as one; what people changed since stays."""
    from dam.enrich import retag

    services = Services.from_env()
    retag.roll_back(services, run_id=run, person=person, approved=approved_too)
    _show(services, run, as_json)


def _show(services: Services, run_id: str, as_json: bool) -> None:
    from dam.enrich import retag

    told = retag.summary(services, run_id=run_id)
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    for line in _lines(told):
        typer.echo(line)


def _lines(told: dict[str, Any]) -> list[str]:
    kinds = ", ".join(f"{count} {kind}" for kind, count in told["tags"].items())
    outcomes = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in told["outcomes"].items())
    lines = [
        f"{told['run_id']} is {told['status'].replace('_', ' ')}: {', '.join(told['taggers'])} over"
        f" {told['looked_at']} versions. {told['versions']} change: {kinds}."
    ]
    if outcomes:
        lines.append(f"Changes: {outcomes}.")
    lines += [f"  {t['term_id']}: +{t['added']} −{t['removed']} ~{t['changed']}" for t in told["terms"][:15]]
    if told["judged"]:
        share = f"at least {told['at_least'] * 100:.0f} % of all are right"
        lines.append(f"Sample: {told['accepted']} of {told['judged']} accepted; {share}.")
    elif told["status"] == "proposed" and told["versions"]:
        lines.append(f"Nobody has looked yet: {told['sample']} versions wait at /dam/retags/{told['run_id']}.")
    if told["protected"]:
        lines.append("Under review or approved; where their applied terms change, they are left out:")
        lines += [f"  {row['version_id']} in {row['package_id']}" for row in told["protected"]]
    lines += [f"Left out, {count} changes: {reason}." for reason, count in told["left_out"].items()]
    return lines + [f"Note: {note}." for note in told["notes"]]
