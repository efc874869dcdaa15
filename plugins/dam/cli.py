"""The command line: ``./dam …`` in the project's folder."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from dam.commands import plainly, tags, taxonomy
from dam.errors import BadInput, NotFound
from dam.services import Services

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="airflow-dam on the command line."
)
audit_app = typer.Typer(no_args_is_help=True, help="The audit trail.")
hold_app = typer.Typer(no_args_is_help=True, help="Legal holds.")
rights_app = typer.Typer(no_args_is_help=True, help="What rights allow.")
for name, part in (
    ("audit", audit_app),
    ("hold", hold_app),
    ("rights", rights_app),
    ("tags", tags.app),
    ("taxonomy", taxonomy.app),
):
    app.add_typer(part, name=name)


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
    """Ask whether a version may be used; ends with 1 when it may not."""
    from dam.rights import policy

    services = Services.from_env()
    day = date.fromisoformat(on) if on else date.today()
    with services.session() as session:
        answer = policy.ask(session, version_id=version, channel=channel, territories=territory, on=day)
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
            .where(Description.search.op("@@")(query))
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
def decide(
    seat: str,
    person: Annotated[str, typer.Option(help="Who signs.")],
    verdict: Annotated[str, typer.Option(help="approve, request_changes or reject.")],
    comment: Annotated[str, typer.Option(help="Goes into the record.")] = "",
) -> None:
    """Sign a seat; the same rules hold as in the review room."""
    from dam.review import packages, seats

    services = Services.from_env()
    told = seats.decide(services, seat_id=seat, person=person, verdict=verdict, comment=comment, via="cli")
    status = packages.verdict(services, package_id=told["package_id"])["status"]
    typer.echo(f"Signed over {told['manifest_sha256'][:12]}…; the package is {status or 'still in review'}.")


@app.command()
@plainly
def ingest(
    path: Annotated[Path, typer.Argument(help="A file or a folder.")],
    campaign: Annotated[str | None, typer.Option(help="Slug of a campaign.")] = None,
    sent_by: Annotated[str, typer.Option(help="Who made or sent the files.")] = "cli",
    supplier: Annotated[str | None, typer.Option(help="Name of the supplier.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a file.")] = False,
) -> None:
    """Ingest files with the library alone, without Airflow. The same files again change nothing.

    Ends with 0 unless the batch itself could not be taken; what was refused is told file by file.
    """
    from dam.enrich import contracts
    from dam.enrich import tags as tagging
    from dam.ingest import batches, gate

    services = Services.from_env()
    files = _files(path)
    location = f"{batches.DROPS}cli-{_fingerprint(files)}"
    batch_id = _known(services, location)
    if batch_id is None:
        for name, file in files.items():
            services.storage.inbox.put(f"{location}/{name}", file)
        batch_id = batches.register(
            services, location=location, source="cli", sent_by=sent_by, supplier=supplier, campaign_slug=campaign
        )
    for chunk in batches.plan_chunks(services, batch_id=batch_id):
        for file_id in chunk:
            gate.ingest_chunk(services, batch_id=batch_id, file_ids=[file_id])
            if not as_json:
                typer.echo(".", nl=False)
    for chunk in tagging.plan_later(services, batch_id=batch_id):
        tagging.tag_later(services, version_ids=chunk)
    report = contracts.check(services, batch_id=batch_id)
    batches.close(services, batch_id=batch_id)
    rows = batches.receipt(services, batch_id=batch_id)
    if as_json:
        for row in rows:
            told = {key: row[key] for key in ("path", "sha256", "outcome", "reason", "media_type", "asset")}
            typer.echo(json.dumps(told, ensure_ascii=False))
        return
    typer.echo("")
    for row in rows:
        if row["reason"]:
            typer.echo(f"{row['outcome']}: {row['path']}: {row['reason']}")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(Counter(r["outcome"] for r in rows).items()))
    typer.echo(f"Batch {batch_id}: {counts}; {len(report.incomplete)} incomplete.")


def _files(path: Path) -> dict[str, Path]:
    """Return the files to ingest by their relative names."""
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise BadInput("is neither a file nor a folder", where=str(path), remedy="Name one that is there.")
    found = {
        file.relative_to(path).as_posix(): file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.is_symlink() and not file.name.startswith(".")
    }
    if not found:
        raise BadInput("has no files", where=str(path), remedy="Put files into it.")
    return found


def _fingerprint(files: dict[str, Path]) -> str:
    """Return a name for exactly these files with exactly these bytes."""
    digest = hashlib.sha256()
    for name, file in files.items():
        with file.open("rb") as stream:
            digest.update(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:24]


def _known(services: Services, location: str) -> str | None:
    from sqlalchemy import select

    from dam.catalog.models import Batch

    with services.session() as session:
        return session.scalar(select(Batch.id).where(Batch.location == location, Batch.status == "done"))


if __name__ == "__main__":
    sys.exit(app(prog_name="dam"))
