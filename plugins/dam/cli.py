"""The command line: ``./dam …`` in the project's folder."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dam.commands import duplicates, kpi, plainly, record, seats, tags, taxonomy
from dam.errors import BadInput, DamError, NotFound, Refused
from dam.services import Services

if TYPE_CHECKING:
    from dam.ingest import local

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="airflow-dam on the command line."
)
audit_app = typer.Typer(no_args_is_help=True, help="The audit trail.")
batch_app = typer.Typer(no_args_is_help=True, help="What batches lack.")
hold_app = typer.Typer(no_args_is_help=True, help="Legal holds.")
rights_app = typer.Typer(no_args_is_help=True, help="What rights allow.")
for name, part in (
    ("audit", audit_app),
    ("batch", batch_app),
    ("duplicates", duplicates.app),
    ("hold", hold_app),
    ("kpi", kpi.app),
    ("record", record.app),
    ("rights", rights_app),
    ("seat", seats.app),
    ("tags", tags.app),
    ("taxonomy", taxonomy.app),
):
    app.add_typer(part, name=name)
app.command("decide")(seats.decide)


@app.command()
@plainly
def migrate() -> None:
    """Bring the catalogue to the newest migration."""
    from dam.catalog.session import upgrade

    upgrade(Services.from_env().settings.catalog_url)
    typer.echo("The catalogue is up to date.")


@audit_app.command("verify")
@plainly
def audit_verify() -> None:
    """Verify the whole chain and its anchors; ends with 1 and names the first bad row when it is broken."""
    from dam import audit

    report = audit.verify(Services.from_env())
    if not report.ok:
        where = f"event {report.first_bad_seq}: " if report.first_bad_seq else ""
        typer.echo(f"BROKEN: {where}{report.problem}", err=True)
        raise typer.Exit(1)
    typer.echo(f"The chain of {report.events} events holds.")


@audit_app.command("history")
@plainly
def audit_history(subject: str) -> None:
    """Show what happened to one thing, newest first."""
    from dam import audit

    services = Services.from_env()
    with services.session() as session:
        for event in audit.history(session, subject):
            details = json.dumps(event.data, ensure_ascii=False)
            typer.echo(f"{event.at:%Y-%m-%d %H:%M:%S} #{event.seq} {event.actor}: {event.action} {details}")


@batch_app.command("missing")
@plainly
def batch_missing(batch: str) -> None:
    """Write what a batch lacks as CSV, to be filled in."""
    from dam.enrich import sheet

    typer.echo(sheet.download(Services.from_env(), batch_id=batch), nl=False)


@batch_app.command("fill")
@plainly
def batch_fill(
    batch: str,
    path: Annotated[Path, typer.Argument(help="The CSV, filled in.", exists=True, dir_okay=False)],
    person: Annotated[str, typer.Option(help="Who filled it in: a librarian or DAM admin.")],
) -> None:
    """Fill in what a batch lacks from a CSV. Good lines are saved; ends with 1 when any could not be."""
    from dam.enrich import sheet

    services = Services.from_env()
    if not any(services.workflow.has_role(person, role) for role in ("librarian", "dam_admin")):
        raise Refused(
            f"{person} is neither librarian nor DAM admin",
            where="--person",
            remedy="Name one who is: see include/templates/workflow.yaml.",
        )
    told = sheet.upload(services, batch_id=batch, data=path.read_bytes(), person=person)
    for fault in told["faults"]:
        at = f"line {fault['line']}" + (f", {fault['column']}" if fault["column"] else "")
        typer.echo(" ".join(filter(None, (f"{at}: {fault['what']}.", fault["remedy"]))), err=True)
    typer.echo(f"{len(told['saved'])} versions saved, {len(told['complete'])} of them complete.")
    raise typer.Exit(1 if told["faults"] else 0)


@hold_app.command("place")
@plainly
def hold_place(
    reason: Annotated[str, typer.Option(help="Why; kept and shown.")],
    person: Annotated[str, typer.Option(help="Who places it.")],
    asset: Annotated[str | None, typer.Option(help="Id of an asset.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Slug of a campaign.")] = None,
) -> None:
    """Place a legal hold on one asset or one campaign."""
    from dam.catalog.lifecycle import place_hold

    typer.echo(place_hold(Services.from_env(), reason=reason, person=person, asset_id=asset, campaign_slug=campaign))


@hold_app.command("release")
@plainly
def hold_release(hold: str, person: Annotated[str, typer.Option(help="Who releases it.")]) -> None:
    """Release a legal hold."""
    from dam.catalog.lifecycle import release_hold

    release_hold(Services.from_env(), hold_id=hold, person=person)
    typer.echo("Released.")


@hold_app.command("list")
@plainly
def hold_list() -> None:
    """List the holds in force."""
    from sqlalchemy import select

    from dam.catalog.models import Hold

    services = Services.from_env()
    with services.session() as session:
        for hold in session.scalars(select(Hold).where(Hold.released_at.is_(None)).order_by(Hold.placed_at)):
            scope = hold.asset_id or hold.campaign_id
            typer.echo(f"{hold.id} {scope} since {hold.placed_at:%Y-%m-%d} by {hold.placed_by}: {hold.reason}")


@rights_app.command("ask")
@plainly
def rights_ask(
    version: str,
    channel: Annotated[str, typer.Option(help="Name of a channel.")],
    territory: Annotated[list[str], typer.Option(help="Country code; may be given several times.")],
    on: Annotated[str | None, typer.Option(help="Day of use, ISO date; today when left out.")] = None,
) -> None:
    """Ask whether a version may be used, cut as the channel's recipes cut it; ends with 1 when it may not."""
    from dam import channels
    from dam.rights import policy

    services = Services.from_env()
    day = date.fromisoformat(on) if on else date.today()
    with services.session() as session:
        answer = policy.ask(
            session,
            version_id=version,
            channel=channel,
            territories=territory,
            on=day,
            recipes=channels.recipes_of(services).get(channel, ()),
        )
    typer.echo(answer.explanation)
    raise typer.Exit(0 if answer.allowed else 1)


@app.command()
@plainly
def search(words: list[str]) -> None:
    """Find assets by words in their title, description, creator or alt text."""
    from sqlalchemy import func, select

    from dam.catalog.models import Asset, Description, Version

    services = Services.from_env()
    query = func.websearch_to_tsquery("simple", " ".join(words))
    with services.session() as session:
        rows = session.execute(
            select(Asset.id, Asset.name, Version.number, Version.state, Description.title)
            .join(Version, Version.asset_id == Asset.id)
            .join(Description, Description.version_id == Version.id)
            .where(Description.search.op("@@")(query), Version.merged_into_id.is_(None))
            .order_by(Asset.name, Version.number)
            .limit(100)
        ).all()
    for asset_id, asset_name, number, state, title in rows:
        typer.echo(f"{asset_id} {asset_name} v{number} [{state}] {title or ''}")
    if not rows:
        typer.echo("Nothing found.")


@app.command()
@plainly
def explain(identifier: str) -> None:
    """Tell the story of anything by its id: what the catalogue holds of it, and what happened to it."""
    from dam import audit
    from dam.catalog.models import Base

    services = Services.from_env()
    with services.session() as session:
        for mapper in Base.registry.mappers:
            if "id" in mapper.columns and (row := session.get(mapper.class_, identifier)) is not None:
                typer.echo(f"{mapper.class_.__name__} {identifier}")
                for column in mapper.columns:
                    typer.echo(f"  {column.key}: {getattr(row, column.key)}")
                break
        else:
            raise NotFound("nothing has this id", where=identifier, remedy="Ids look like ver_…, ast_…, pkg_….")
        for event in audit.history(session, identifier):
            typer.echo(f"  {event.at:%Y-%m-%d %H:%M:%S} {event.actor}: {event.action} {event.data.get('why') or ''}")


@app.command()
@plainly
def ingest(
    path: Annotated[Path, typer.Argument(help="A file or a folder.")],
    campaign: Annotated[str | None, typer.Option(help="Slug of a campaign.")] = None,
    sent_by: Annotated[
        str | None, typer.Option(help="Who made or sent the files, and so can't sign them; you when left out.")
    ] = None,
    supplier: Annotated[str | None, typer.Option(help="Name of the supplier.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with what becomes complete in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a file; the summary goes to stderr.")] = False,
) -> None:
    """Ingest files with the library alone, without Airflow. The same files again change nothing.

    Ends with 0 unless the batch itself could not be taken; what was refused is told file by file. With --watch it
    takes in what becomes complete in a folder, each of its folders as a batch, until Ctrl-C.
    """
    from dam.ingest import local
    from dam.progress import Bar

    services = Services.from_env()
    sender = local.Sender(sent_by or _known_login(services), campaign, supplier)
    if not watch:
        with Bar(hidden=as_json) as bar:
            taken = local.take(services, local.find(path), sender, bar)
        _tell(taken, as_json=as_json)
        return
    batches = 0
    try:
        for found in local.watch(services, path):
            try:
                with Bar(hidden=as_json) as bar:
                    taken = local.take(services, found, sender, bar)
            except DamError as error:  # one that can't be taken does not end the watch
                typer.echo(str(error), err=True)
                continue
            batches += 1
            _tell(taken, as_json=as_json)
    except KeyboardInterrupt:
        typer.echo(f"Watched {path}: {batches} batches.", err=as_json)


def _tell(taken: local.Taken, *, as_json: bool) -> None:
    """Print what became of each file, or of each that needs a word, then a summary."""
    for row in taken.rows:
        if as_json:
            told = {key: row[key] for key in ("path", "sha256", "outcome", "reason", "media_type", "asset")}
            typer.echo(json.dumps(told, ensure_ascii=False))
        elif row["reason"]:
            typer.echo(f"{row['outcome']}: {row['path']}: {row['reason']}")
    counts = Counter(row["outcome"] for row in taken.rows)
    counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    left_out = f"; {len(taken.left_out)} left out" if taken.left_out else ""
    typer.echo(f"Batch {taken.batch_id}: {counted}; {taken.incomplete} incomplete{left_out}.", err=as_json)


def _known_login(services: Services) -> str:
    """Return the log-in name, if it is a person's of ``workflow.yaml``."""
    login = os.environ.get("USER", "")
    if login not in services.workflow.people:
        raise BadInput(
            f"the log-in {login!r} is nobody in workflow.yaml, and who made or sent files can't sign them",
            where="--sent-by",
            remedy="Say who it was: --sent-by NAME, a username or a supplier's name.",
        )
    return login


@app.command()
@plainly
def rescan() -> None:
    """Scan what was set aside for want of a malware scanner, and take in what is clean."""
    from dam.ingest import local

    counts = local.rescan(Services.from_env())
    typer.echo(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "Nothing waits.")


if __name__ == "__main__":
    sys.exit(app(prog_name="dam"))
