"""``dam record …``: the signed record of a review, and its verification."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dam.commands import plainly
from dam.services import Services

app = typer.Typer(no_args_is_help=True, help="Signed records of reviews.")


@app.command("export")
@plainly
def export(
    package: str,
    pdf: Annotated[bool, typer.Option("--pdf", help="As PDF, which carries the JSON.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As canonical JSON.")] = False,
    into: Annotated[Path, typer.Option(help="The folder it goes to.", file_okay=False)] = Path(),
) -> None:
    """Write the signed record of a package; without --pdf and --json, both."""
    from dam.review import record, record_pdf

    services = Services.from_env()
    document = record.build(services, package_id=package)
    both = pdf == as_json
    into.mkdir(parents=True, exist_ok=True)
    for suffix, wanted in (("pdf", pdf or both), ("json", as_json or both)):
        if wanted:
            path = into / record.filename(document, suffix)
            content = record_pdf.export(services, document) if suffix == "pdf" else record.as_bytes(document)
            path.write_bytes(content)
            typer.echo(path)
    typer.echo(f"SHA-256 {document['sha256']}")


@app.command("verify")
@plainly
def verify(
    path: Annotated[Path, typer.Argument(help="A record, PDF or JSON.", exists=True, dir_okay=False)],
    key: Annotated[
        Path | None,
        typer.Option(
            help="The file of the public key (.pub) that must have signed it; ours unless named.", exists=True
        ),
    ] = None,
) -> None:
    """Verify a record by itself, without the database; ends with 1 and says what does not fit."""
    from dam import audit
    from dam.review import record_check
    from dam.settings import SIGNING_KEY

    ours = Path(os.environ.get("DAM_SIGNING_KEY") or SIGNING_KEY)
    report = record_check.verify(path, trusted_key=audit.known_key(key or ours))
    for problem in report.problems:
        typer.echo(f"DOES NOT FIT: {problem}", err=True)
    for note in report.notes:
        typer.echo(note)
    if not report.ok:
        raise typer.Exit(1)
    typer.echo(f"The record holds: SHA-256 {report.sha256}.")
